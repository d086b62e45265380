//! What is known of one request while it runs, and what becomes of it in the books: its record and its settlement.

use crate::after;
use crate::call::Call;
use crate::host::Arrival;
use crate::story::{Asked, Attempts};
use crate::upstream;
use bytes::Bytes;
use contracts::limiter::{SettleOutcome, SettledUsage, Settlement};
use contracts::record::{MAX_RETRIED, MAX_USER_BYTES};
use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use gateway_config::{Consumer, RouterConfig};
use openai_types::{Answer, Characters, ChatRequest, Usage};

/// The books of one request. Closed exactly once, on every way out.
pub struct Ledger {
    record: UsageRecord,
    reservation: Option<String>,
    /// As the limiter counted the prompt, if it did.
    prompt_tokens: Option<u64>,
    arrival: Arrival,
    request: Bytes,
}

/// Tokens of an answer.
pub enum Spent {
    /// None: refused, failed before an answer, or answered from the cache.
    Nothing,
    /// As the provider counted.
    Counted(Usage),
    /// The provider gave no usage: this was generated.
    Generated(Characters),
}

impl Spent {
    /// What a whole answer took.
    pub fn on_whole(body: &[u8]) -> Self {
        match Answer::parse(body) {
            Ok(answer) => match answer.usage() {
                Some(usage) => Spent::Counted(usage),
                None => Spent::Generated(answer.generated()),
            },
            Err(_) => Spent::Nothing, // it parsed a moment ago
        }
    }
}

impl From<relay::Spent> for Spent {
    fn from(spent: relay::Spent) -> Self {
        match spent.usage {
            Some(usage) => Spent::Counted(usage),
            None => Spent::Generated(spent.generated),
        }
    }
}

impl Ledger {
    /// Opens the books when the caller is known.
    pub fn open(arrival: &Arrival, consumer: Option<&Consumer>) -> Self {
        let record = UsageRecord {
            record_id: arrival.record_id.clone(),
            request_id: arrival.request_id.clone(),
            at_ms: arrival.at_ms,
            consumer: consumer.map(|c| c.id.clone()).unwrap_or_default(),
            team: consumer.and_then(|c| c.team.clone()).unwrap_or_default(),
            app: consumer.and_then(|c| c.app.clone()).unwrap_or_default(),
            tags: consumer.map(|c| c.tags.clone()).unwrap_or_default(),
            ..UsageRecord::default()
        };
        Ledger {
            record,
            reservation: None,
            prompt_tokens: None,
            arrival: arrival.clone(),
            request: Bytes::new(),
        }
    }

    /// Notes what is asked for, and for whom, unless the document does not want to know.
    pub fn asked(&mut self, chat: &ChatRequest, config: &RouterConfig) {
        self.record.model.clone_from(&chat.model);
        self.record.stream = chat.stream;
        self.request = chat.body().clone();
        if config.user_ids {
            let user = chat.user();
            let kept = user.get(..user.floor_char_boundary(MAX_USER_BYTES)).unwrap_or_default();
            kept.clone_into(&mut self.record.user);
        }
    }

    /// Takes the model's name out again if the document has none such: it is the client's invention, and each one would be a
    /// group of its own in everybody's reports.
    pub fn forget_unknown_model(&mut self, config: &RouterConfig) {
        if config.model(&self.record.model).is_none_or(|known| known.name == "*") {
            self.record.model.clear();
        }
    }

    /// Notes what must be settled, the size of the prompt if it is known, the limits that only observed, and whether none
    /// could count.
    pub fn reserved(
        &mut self,
        reservation: Option<String>,
        prompt_tokens: Option<u64>,
        observed: Vec<String>,
        uncounted: bool,
    ) {
        self.record.observed = observed;
        self.record.uncounted = uncounted;
        self.reservation = reservation;
        self.prompt_tokens = prompt_tokens;
    }

    /// Notes what the cache said.
    pub fn looked_up(&mut self, outcome: CacheOutcome) {
        self.record.cache = outcome;
    }

    /// Notes that this is a copy of a request, made for another pool.
    pub fn mirrors(&mut self, call: &Call) {
        self.asked(&call.chat, call.config);
        self.record.model.clone_from(&call.model);
        self.record.mirror = true;
    }

    /// Notes how it came to its model, where no deployment was needed.
    pub fn decided(&mut self, call: &Call, decision: String) {
        self.record.pool.clone_from(&call.model);
        self.record.route = decision;
    }

    /// Notes who answered, or was asked last, how that was decided, and what was spent on attempts that gave no answer.
    pub fn answered_by(&mut self, call: &Call, outcome: &upstream::Outcome) {
        let attempts = call.story.so_far();
        self.record.attempts = attempts.made;
        self.record.route.clone_from(&outcome.explanation);
        // Whoever spoke last, whoever was asked in vain to go on after that.
        if let Some(Asked { deployment, pool }) = attempts.answered.last() {
            self.record.deployment.clone_from(&deployment.label);
            self.record.pool.clone_from(pool);
        } else {
            self.record.deployment = outcome.deployment.map(|d| d.label.clone()).unwrap_or_default();
            self.record.pool.clone_from(&outcome.model);
        }
        self.wasted(&attempts);
    }

    /// Notes the same of a request that is over while somebody is being asked, and returns what that one had taken by then.
    /// With `has_left`, the client's leaving is why.
    pub fn left_asking(&mut self, call: &Call, has_left: bool) -> Spent {
        let attempts = call.story.so_far();
        self.decided(call, attempts.explanation.clone());
        self.record.attempts = attempts.made;
        if let Some(Asked { deployment, pool }) = &attempts.last {
            self.record.deployment.clone_from(&deployment.label);
            self.record.pool.clone_from(pool);
        }
        self.wasted(&attempts);
        let heard = call.heard.spent();
        match attempts.under_way {
            Some(_) if heard.is_something() => Spent::from(heard),
            // It has got the prompt; what it made of it, nobody hears.
            Some(_) if has_left => Spent::Generated(Characters::default()),
            _ => Spent::Nothing,
        }
    }

    fn wasted(&mut self, attempts: &Attempts) {
        for (asked, spent) in &attempts.wasted {
            self.also_spent(asked, &Spent::from(*spent));
        }
    }

    /// Adds what another deployment took for the same request: for a part of the answer that broke off, or an attempt that failed.
    pub fn also_spent(&mut self, asked: &Asked, spent: &Spent) {
        let usage = self.usage_of(spent);
        let retried = &mut self.record.retried_usage;
        if usage == Usage::default() || retried.len() >= MAX_RETRIED {
            return;
        }
        retried.push(RetriedUsage {
            pool: asked.pool.clone(),
            deployment: asked.deployment.label.clone(),
            prompt_tokens: usage.prompt_tokens,
            cached_tokens: usage.cached_tokens,
            completion_tokens: usage.completion_tokens,
            reasoning_tokens: usage.reasoning_tokens,
        });
    }

    /// What the request took in all, failed attempts included, if the answer took so much.
    pub fn consumed(&self, spent: &Spent) -> u64 {
        let retried = self.record.retried_usage.iter();
        let each = retried.map(|attempt| attempt.prompt_tokens.saturating_add(attempt.completion_tokens));
        each.fold(self.tokens(spent), u64::saturating_add)
    }

    /// Tokens that were spent, estimated where nobody counted.
    pub fn tokens(&self, spent: &Spent) -> u64 {
        match spent {
            Spent::Nothing => 0,
            Spent::Counted(usage) => usage.total(),
            Spent::Generated(text) => self.estimate(text).total(),
        }
    }

    fn usage_of(&mut self, spent: &Spent) -> Usage {
        match spent {
            Spent::Nothing => Usage::default(),
            Spent::Counted(usage) => *usage,
            Spent::Generated(text) => {
                self.record.estimated = true;
                self.estimate(text)
            }
        }
    }

    /// Milliseconds since the request arrived.
    pub fn elapsed_ms(&self) -> u64 {
        self.arrival.elapsed_ms()
    }

    /// Notes when the first content was handed on, in milliseconds since the arrival.
    pub fn first_content_at(&mut self, ttft_ms: Option<u64>) {
        self.record.ttft_ms = ttft_ms;
    }

    /// Closes the books: settles what was reserved, and records the request.
    pub fn close(mut self, status: u16, outcome: Outcome, error_code: &str, spent: Spent) {
        let is_nothing = matches!(spent, Spent::Nothing) && self.record.retried_usage.is_empty();
        let settled = if is_nothing { SettleOutcome::Returned } else { SettleOutcome::Used };
        let usage = self.usage_of(&spent);
        self.book(usage);
        self.finish(status, outcome, error_code, settled);
    }

    /// Closes the books on a cache hit: its tokens are reported, nothing is charged.
    pub fn close_hit(mut self, status: u16, outcome: Outcome, usage: Usage) {
        self.book(usage);
        self.finish(status, outcome, "", SettleOutcome::Returned);
    }

    fn book(&mut self, usage: Usage) {
        self.record.prompt_tokens = usage.prompt_tokens;
        self.record.completion_tokens = usage.completion_tokens;
        self.record.cached_tokens = usage.cached_tokens;
        self.record.reasoning_tokens = usage.reasoning_tokens;
    }

    fn finish(mut self, status: u16, outcome: Outcome, error_code: &str, settled: SettleOutcome) {
        self.record.status = status;
        self.record.outcome = outcome;
        error_code.clone_into(&mut self.record.error_code);
        self.record.latency_ms = self.arrival.elapsed_ms();
        let settlement = self.reservation.take().map(|reservation| self.settlement(reservation, settled));
        after::enqueue(settlement, self.record);
    }

    /// What the limiter is told: the record's figures.
    fn settlement(&self, reservation: String, outcome: SettleOutcome) -> Settlement {
        let record = &self.record;
        match outcome {
            SettleOutcome::Returned => after::returned(reservation),
            SettleOutcome::Used => Settlement {
                reservation,
                outcome,
                usage: SettledUsage {
                    prompt_tokens: record.prompt_tokens,
                    cached_tokens: record.cached_tokens,
                    completion_tokens: record.completion_tokens,
                    reasoning_tokens: record.reasoning_tokens,
                },
                model: record.pool.clone(),
                deployment: record.deployment.clone(),
                retried: record.retried_usage.clone(),
            },
        }
    }

    /// The prompt and the text that was generated: the limiter's count of the prompt, else both by their characters.
    fn estimate(&self, generated: &Characters) -> Usage {
        let by_characters = || {
            let view = tokens::ChatRequestView::parse(&self.request);
            let prompt = view.and_then(|view| tokens::estimate_prompt(&self.record.model, &view));
            prompt.map_or(0, |count| count.tokens)
        };
        Usage {
            prompt_tokens: self.prompt_tokens.unwrap_or_else(by_characters),
            completion_tokens: tokens::estimate_tokens(generated),
            ..Usage::default()
        }
    }
}
