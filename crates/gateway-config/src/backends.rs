//! `[[backends]]`: one provider account or server each.

use crate::fields::{Fields, Taken};
use crate::names::shown;
use crate::secret::Secrets;
use crate::{BaseUrl, Secret};
use std::sync::Arc;

/// Keys of `[[backends]]`.
pub(crate) const KEYS: &[&str] = &["id", "provider", "base_url", "api_key"];

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

/// The backends of a document while it is read.
#[derive(Default)]
pub(crate) struct Backends<'a> {
    pub valid: Vec<Arc<Backend>>,
    /// Every id that is written, so that a reference to a broken backend is not reported as well.
    pub ids: Vec<&'a str>,
}

/// Reads `[[backends]]`.
pub(crate) fn read<'a>(root: &Fields<'a, '_>, secrets: &Secrets) -> Backends<'a> {
    let mut backends = Backends::default();
    let mut taken = Taken::new();
    let tables = root.tables("backends", KEYS);
    if tables.is_empty() && !root.has("backends") {
        root.refuse("backends", "is missing; at least one [[backends]] must say where models are");
    } else if tables.is_empty() {
        root.refuse("backends", "is empty; at least one [[backends]] must say where models are");
    }
    for fields in tables {
        backends.ids.extend(fields.peek_text("id"));
        let id = fields.unique_name("id", &mut taken);
        let provider = read_provider(&fields);
        let base_url = read_base_url(&fields);
        let api_key = read_api_key(&fields, secrets);
        if let (Some(id), Some(provider), Some(base_url)) = (id, provider, base_url) {
            backends.valid.push(Arc::new(Backend { id, base_url, api_key, provider }));
        }
    }
    backends
}

fn read_provider(fields: &Fields<'_, '_>) -> Option<Provider> {
    if !fields.has("provider") {
        return Some(Provider::OpenAi);
    }
    match fields.text("provider")? {
        "openai" => Some(Provider::OpenAi),
        other => {
            let allowed = "must be \"openai\" (OpenAI, or a server compatible with it)";
            fields.refuse("provider", format!("is {}, {allowed}", shown(other)));
            None
        }
    }
}

fn read_base_url(fields: &Fields<'_, '_>) -> Option<BaseUrl> {
    let text = fields.required_text("base_url")?;
    BaseUrl::parse(text)
        .inspect_err(|reason| {
            // A user name, a password or a key in the query stays unseen.
            let value = if text.contains(['@', '?', '#']) { "***".to_owned() } else { shown(text) };
            fields.refuse("base_url", format!("is {value}, {reason}"));
        })
        .ok()
}

fn read_api_key(fields: &Fields<'_, '_>, secrets: &Secrets) -> Option<Secret> {
    if fields.peek_text("api_key").is_some() {
        let reason = "must not stand in the document, which is no secret";
        let instead = "write api_key = { secret = \"name\" } and give the value in secrets";
        fields.refuse("api_key", format!("{reason}; {instead}"));
        return None;
    }
    let reference = fields.table("api_key", &["secret"])?;
    let name = reference.required_text("secret")?;
    secrets.resolve(name, &reference.path_of("secret"), reference.report())
}
