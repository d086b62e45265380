//! Who asks, and by which values a rule counts it.

use gateway_config::{CounterPart, Limit};

/// Who asks, for what. What is unknown or does not exist is empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Id of the consumer.
    pub consumer: &'a str,
    /// Its team.
    pub team: &'a str,
    /// Its app.
    pub app: &'a str,
    /// Its tags.
    pub tags: &'a [&'a str],
    /// Whom the client says it acts for.
    pub user: &'a str,
    /// Public model name, as asked for.
    pub model: &'a str,
    /// Public name of the model that serves it: another one where a route decided so.
    pub served: &'a str,
    /// Name of the `[[models]]` entry that serves it.
    pub pool: &'a str,
    /// Address of the connection's peer, without the port.
    pub client_ip: &'a str,
    /// Headers of the client's that rules count by: lower-case name and value.
    pub headers: &'a [(&'a str, &'a str)],
    /// Claims of its token that rules count by: name and value.
    pub claims: &'a [(&'a str, &'a str)],
}

impl<'a> Subject<'a> {
    /// Whether the rule counts this request.
    pub(crate) fn is_matched_by(&self, limit: &Limit) -> bool {
        limit.matches.is_met([self.model, self.served], self.team, self.tags.iter().copied())
    }

    /// The values that the rule counts it by, in the order of its `counter_key`.
    ///
    /// A value that is absent is counted like any other: those without a team share one counter, so that no limit can
    /// be slipped past by having none.
    pub fn values(&self, limit: &Limit) -> Vec<&'a str> {
        limit.counter_key.iter().map(|part| self.value(part)).collect()
    }

    fn value(&self, part: &CounterPart) -> &'a str {
        let named = |pairs: &'a [(&'a str, &'a str)], name: &str| {
            pairs.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| *value)
        };
        match part {
            CounterPart::Consumer => self.consumer,
            CounterPart::Team => self.team,
            CounterPart::App => self.app,
            CounterPart::User => self.user,
            CounterPart::Model => self.model,
            CounterPart::Pool => self.pool,
            CounterPart::ClientIp => self.client_ip,
            CounterPart::Header(name) => named(self.headers, name),
            CounterPart::Claim(name) => named(self.claims, name),
        }
    }
}
