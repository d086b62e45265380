//! What is known of one request while it runs, and what becomes of it in the books: its record and its settlement.

use crate::after;
use crate::call::Call;
use crate::host::Arrival;
use crate::upstream;
use bytes::Bytes;
use contracts::limiter::{SettleOutcome, SettledUsage, Settlement};
use contracts::record::MAX_RETRIED;
use contracts::{CacheOutcome, Outcome, RetriedUsage, UsageRecord};
use gateway_config::{Consumer, Deployment};
use openai_types::Usage;

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
    /// The provider gave no usage: so many bytes of text were generated.
    Generated { bytes: usize },
}

impl From<relay::Spent> for Spent {
    fn from(spent: relay::Spent) -> Self {
        match spent.usage {
            Some(usage) => Spent::Counted(usage),
            None => Spent::Generated { bytes: spent.generated_bytes },
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

    /// Notes what is asked for.
    pub fn asked(&mut self, model: &str, stream: bool, request: &Bytes) {
        model.clone_into(&mut self.record.model);
        self.record.stream = stream;
        self.request = request.clone();
    }

    /// Notes what must be settled, the size of the prompt if it is known, and the limits that only observed.
    pub fn reserved(
        &mut self,
        reservation: Option<String>,
        prompt_tokens: Option<u64>,
        observed: Vec<String>,
    ) {
        self.record.observed = observed;
        self.reservation = reservation;
        self.prompt_tokens = prompt_tokens;
    }

    /// Notes what the cache said.
    pub fn looked_up(&mut self, outcome: CacheOutcome) {
        self.record.cache = outcome;
    }

    /// Notes that this is a copy of a request, made for another pool.
    pub fn mirrors(&mut self, call: &Call) {
        self.asked(&call.model, call.chat.stream, call.chat.body());
    }

    /// Notes how it came to its model, where no deployment was needed.
    pub fn decided(&mut self, call: &Call, decision: String) {
        self.record.pool.clone_from(&call.model);
        self.record.route = decision;
    }

    /// Notes what was left of an asking that was dropped halfway; what its last attempt had taken by then.
    pub fn left(&mut self, call: &Call) -> Spent {
        if let Some(left) = call.left.take() {
            self.answered_by(&left);
        }
        let spent = call.heard.spent();
        if spent.is_something() { Spent::from(spent) } else { Spent::Nothing }
    }

    /// Notes who answered, or was asked last, how that was decided, and what was spent on attempts that gave no answer.
    pub fn answered_by(&mut self, outcome: &upstream::Outcome) {
        self.record.deployment = outcome.deployment.map(|d| d.label.clone()).unwrap_or_default();
        self.record.attempts = outcome.attempts;
        self.record.pool.clone_from(&outcome.model);
        self.record.route.clone_from(&outcome.explanation);
        for (deployment, spent) in &outcome.wasted {
            self.also_spent(deployment, &Spent::from(*spent));
        }
    }

    /// Adds what another deployment took for the same request: for a part of the answer that broke off, or an attempt that failed.
    pub fn also_spent(&mut self, deployment: &Deployment, spent: &Spent) {
        let usage = self.usage_of(spent);
        let retried = &mut self.record.retried_usage;
        if usage == Usage::default() || retried.len() >= MAX_RETRIED {
            return;
        }
        retried.push(RetriedUsage {
            deployment: deployment.label.clone(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
        });
    }

    /// Tokens that were spent, estimated where nobody counted.
    pub fn tokens(&self, spent: &Spent) -> u64 {
        match spent {
            Spent::Nothing => 0,
            Spent::Counted(usage) => usage.total(),
            Spent::Generated { bytes } => self.estimate(*bytes).total(),
        }
    }

    fn usage_of(&mut self, spent: &Spent) -> Usage {
        match spent {
            Spent::Nothing => Usage::default(),
            Spent::Counted(usage) => *usage,
            Spent::Generated { bytes } => {
                self.record.estimated = true;
                self.estimate(*bytes)
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

    /// What the limiter is told: the record's figures, with those of failed attempts.
    fn settlement(&self, reservation: String, outcome: SettleOutcome) -> Settlement {
        let record = &self.record;
        let with_retried = |own: u64, of: fn(&RetriedUsage) -> u64| {
            record.retried_usage.iter().map(of).fold(own, u64::saturating_add)
        };
        let (usage, model, deployment) = match outcome {
            SettleOutcome::Returned => (SettledUsage::default(), String::new(), String::new()),
            SettleOutcome::Used => (
                SettledUsage {
                    prompt_tokens: with_retried(record.prompt_tokens, |retried| retried.prompt_tokens),
                    cached_tokens: record.cached_tokens,
                    completion_tokens: with_retried(record.completion_tokens, |retried| {
                        retried.completion_tokens
                    }),
                    reasoning_tokens: record.reasoning_tokens,
                },
                record.model.clone(),
                record.deployment.clone(),
            ),
        };
        Settlement { reservation, outcome, usage, model, deployment }
    }

    /// The prompt and the text that was generated: the limiter's count of the prompt, else both by their bytes.
    fn estimate(&self, generated_bytes: usize) -> Usage {
        let by_bytes = || {
            let view = tokens::ChatRequestView::parse(&self.request);
            let prompt = view.and_then(|view| tokens::estimate_prompt(&self.record.model, &view));
            prompt.map_or(0, |count| count.tokens)
        };
        Usage {
            prompt_tokens: self.prompt_tokens.unwrap_or_else(by_bytes),
            completion_tokens: u64::try_from(generated_bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX),
            ..Usage::default()
        }
    }
}

/// English text takes about four bytes a token: <https://platform.openai.com/tokenizer>.
const BYTES_PER_TOKEN: usize = 4;
