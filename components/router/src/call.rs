//! A request that was admitted and is to be answered: all that asking a backend needs, owned, because the asking may go on
//! after the client has got the head of its answer.

use crate::host::{Arrival, Stopwatch};
use crate::pools;
use crate::story::Story;
use gateway_config::RouterConfig;
use http::HeaderMap;
use openai_types::ChatRequest;
use relay::{Heard, Options};
use routing::{Led, Target, Wish};
use std::cell::Cell;

/// The request.
pub struct Call {
    /// The document.
    pub config: &'static RouterConfig,
    /// The client's request.
    pub chat: ChatRequest,
    /// What of the client's headers goes upstream.
    pub headers: HeaderMap,
    /// The model that was asked for, its alias resolved; of `*`, the name.
    pub asked: String,
    /// The model that answers, aliases and routes resolved; of `*`, the name that is passed on.
    pub model: String,
    /// The route that decided so.
    pub route: Option<&'static str>,
    /// The pool that was sent a copy.
    pub mirror: Cell<Option<&'static str>>,
    /// Where the client says that it is.
    pub region: Option<String>,
    /// Hash of its session.
    pub session: Option<u64>,
    /// Tokens of the prompt, estimated.
    pub prompt_tokens: u64,
    /// Tokens of the answer at most, assumed where the request does not say; 0 where nobody asks.
    pub completion_tokens: u64,
    /// How its stream is handed on.
    pub options: Options,
    /// How long the head of its stream waits for the answer to begin, in ms; 0 for as long as it takes.
    pub promise_ms: u64,
    /// Whether its whole answer is asked for as a stream, and put together here.
    pub is_gathered: Cell<bool>,
    /// What is heard of the upstream that is being opened.
    pub heard: Heard,
    /// When it came, and under which id.
    pub arrival: Arrival,
    /// The time since deployments began to be asked: what came before, a slow upload say, is not the answer's.
    pub clock: Stopwatch,
    /// Whom it was given to.
    pub story: Story,
}

impl Call {
    /// The pool that it is for.
    pub fn target(&self) -> Option<Target<'static, '_>> {
        pools::fleet(self.config).target(&self.model)
    }

    /// What the model is called at the deployment that comes first by the document; `None` when that passes on the name.
    pub fn first_upstream_model(&self) -> Option<&'static str> {
        let deployments = &self.target()?.pool.model.deployments;
        deployments.iter().find(|deployment| deployment.weight > 0)?.model.as_deref()
    }

    /// What an attempt at it took that gave no answer: nothing where the provider gave nothing.
    pub fn tokens(&self, spent: relay::Spent) -> u64 {
        let generated = tokens::estimate_tokens(&spent.generated);
        match spent.usage {
            Some(usage) => usage.total(),
            None if generated > 0 => self.prompt_tokens.saturating_add(generated),
            None => 0,
        }
    }

    /// Whether upstreams are asked for a stream.
    pub fn is_streamed(&self) -> bool {
        self.chat.stream || self.is_gathered.get()
    }

    /// How it came to its model, while nothing is known of the deployment.
    pub fn decision(&self) -> String {
        routing::explain_decision(self.led(), &self.model)
    }

    /// What the document's routes made of it.
    pub fn led(&self) -> Led<'static> {
        Led { route: self.route, mirror: self.mirror.get() }
    }

    /// What of it matters for where it goes.
    pub fn wish(&self) -> Wish<'_> {
        Wish {
            region: self.region.as_deref(),
            session: self.session,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            ..Wish::default()
        }
    }
}
