//! What a request took: the answer's tokens, and those of attempts that failed before it.

/// Most tokens of one kind in one settlement: far above any real request.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;

/// What a request took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken<'s> {
    /// Nothing, not even its turn: the call failed or was answered from the cache. All is given back, requests too.
    Nothing,
    /// Tokens of a deployment.
    Tokens {
        /// How many.
        usage: Usage,
        /// The public name of the model that answered.
        model: &'s str,
        /// Label of the deployment that answered.
        deployment: &'s str,
        /// What failed attempts took besides.
        retried: &'s [Retried<'s>],
    },
}

/// What one failed attempt took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retried<'s> {
    /// The public name of the model that was asked.
    pub model: &'s str,
    /// Label of its deployment.
    pub deployment: &'s str,
    /// What it took.
    pub usage: Usage,
}

/// Tokens really used, each at most [`MAX_TOKENS`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// In the prompt, cached ones included.
    pub prompt_tokens: u64,
    /// Of these, read from the provider's own prompt cache.
    pub cached_tokens: u64,
    /// Generated, reasoning included.
    pub completion_tokens: u64,
    /// Of these, reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// The first field that holds more than any request can take.
    fn impossible(&self) -> Option<&'static str> {
        [
            ("usage.prompt_tokens", self.prompt_tokens),
            ("usage.cached_tokens", self.cached_tokens),
            ("usage.completion_tokens", self.completion_tokens),
            ("usage.reasoning_tokens", self.reasoning_tokens),
        ]
        .into_iter()
        .find(|(_, tokens)| *tokens > MAX_TOKENS)
        .map(|(field, _)| field)
    }

    /// With what failed attempts took.
    pub(crate) fn with(self, retried: &[Retried<'_>]) -> Self {
        retried.iter().fold(self, |sum, Retried { usage, .. }| Usage {
            prompt_tokens: sum.prompt_tokens.saturating_add(usage.prompt_tokens),
            cached_tokens: sum.cached_tokens.saturating_add(usage.cached_tokens),
            completion_tokens: sum.completion_tokens.saturating_add(usage.completion_tokens),
            reasoning_tokens: sum.reasoning_tokens.saturating_add(usage.reasoning_tokens),
        })
    }
}

impl Taken<'_> {
    /// The first field that holds more than any request can take.
    pub(crate) fn impossible(&self) -> Option<&'static str> {
        let Taken::Tokens { usage, retried, .. } = self else { return None };
        let is_too_much = |attempt: &Retried<'_>| attempt.usage.impossible().is_some();
        usage.impossible().or_else(|| retried.iter().any(is_too_much).then_some("retried"))
    }
}
