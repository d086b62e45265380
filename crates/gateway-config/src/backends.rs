//! `[[backends]]`: one provider account or server each.

use crate::{BaseUrl, Secret};

/// One provider account or server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique name; `[A-Za-z0-9._-]`, 1 to 64.
    pub id: String,
    /// Where it is; the API's paths (`/chat/completions`) follow the prefix.
    pub base_url: BaseUrl,
    /// Credential; `None` for a server that wants none.
    pub api_key: Option<Secret>,
    /// What it speaks.
    pub provider: Provider,
}

/// The API that a backend speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// OpenAI, or a server compatible with it: `provider = "openai"`.
    OpenAi,
}
