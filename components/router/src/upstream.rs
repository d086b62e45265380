//! Asking backends until one answers: the plan of `routing`, driven.

use crate::attempt::{self, Failed, Given, Stream};
use crate::call::Call;
use crate::error::UpstreamFailed;
use crate::host;
use crate::pools::{self, Flight};
use crate::story::Asked;
use gateway_config::{Deployment, Settings};
use relay::{Failure, Resume, Resumed, Spoken};
use routing::{Attempt, LastWord, Past, Plan, Step};
use std::rc::Rc;
use std::time::Duration;

/// What came of the attempts.
pub struct Outcome {
    /// The deployment that gave this, or the last one tried.
    pub deployment: Option<&'static Deployment>,
    /// The model that it answered for: another one after a fallback.
    pub model: String,
    /// Attempts made.
    pub attempts: u32,
    /// How it came to this.
    pub explanation: String,
    /// What it gave.
    pub given: Given,
    /// The request at the deployment, while its answer is being taken.
    pub flight: Option<Flight>,
    /// For going on elsewhere.
    pub past: Past,
}

/// Asks until a deployment answers or the plan gives up; then the failure that tells the client most counts.
pub async fn ask(call: Rc<Call>) -> Outcome {
    let mut outcome = Outcome::none_yet(&call);
    let Some(target) = call.target() else { return outcome };
    let mut plan = Plan::new(pools::fleet(call.config), target, call.wish(), host::epoch_ms());
    let mut asking = Asking { call: &call, plan: &mut plan, outcome: &mut outcome, is_over: false };
    let answered = pursue(&call, asking.plan, asking.outcome, async |attempt, settings| {
        attempt::ask(&call, attempt, settings).await
    });
    if let Some((given, flight)) = answered.await {
        asking.outcome.given = given;
        asking.outcome.flight = Some(flight);
    }
    asking.is_over = true;
    drop(asking);
    outcome.past = plan.into_past();
    outcome
}

impl Outcome {
    /// What it gave; in its place nothing is left.
    pub fn take_given(&mut self) -> Given {
        let nothing = Given::Nothing(UpstreamFailed::NoneLeft { retry_after_s: None });
        std::mem::replace(&mut self.given, nothing)
    }

    fn none_yet(call: &Call) -> Self {
        Outcome {
            deployment: None,
            model: call.model.clone(),
            attempts: 0,
            explanation: String::new(),
            given: Given::Nothing(UpstreamFailed::NoneLeft { retry_after_s: None }),
            flight: None,
            past: Past::default(),
        }
    }
}

/// An asking under way, which explains itself when it is over: where it is dropped halfway, because its client has left, to
/// the books.
struct Asking<'a, 'n> {
    call: &'a Call,
    plan: &'a mut Plan<'static, 'n>,
    outcome: &'a mut Outcome,
    is_over: bool,
}

impl Drop for Asking<'_, '_> {
    fn drop(&mut self) {
        let Asking { call, plan, outcome, is_over } = self;
        let last = if *is_over { outcome.deployment } else { call.story.last().or(outcome.deployment) };
        outcome.attempts = plan.attempts();
        plan.target().name.clone_into(&mut outcome.model);
        outcome.explanation = pools::view(call.config, |view| routing::explain(plan, call.led(), last, view));
        if !*is_over {
            call.story.explain(std::mem::take(&mut outcome.explanation));
        }
    }
}

/// Drives a plan until an attempt gives something; notes in `outcome` who was asked, and the failure that tells most.
async fn pursue<T>(
    call: &Call,
    plan: &mut Plan<'static, '_>,
    outcome: &mut Outcome,
    try_it: impl AsyncFn(&Attempt<'static, '_>, &'static Settings) -> Result<T, Box<Failed>>,
) -> Option<(T, Flight)> {
    let mut chance = pools::chance();
    loop {
        let attempt = match pools::view(call.config, |view| plan.next(view, &mut chance)) {
            Step::Wait { ms } => {
                host::sleep(Duration::from_millis(ms)).await;
                continue;
            }
            Step::GiveUp(LastWord::Attempt { .. }) => return None,
            Step::GiveUp(LastWord::Unavailable { retry_after_s }) => {
                outcome.given = Given::Nothing(UpstreamFailed::NoneLeft { retry_after_s });
                return None;
            }
            Step::Ask(attempt) => attempt,
        };
        let (id, deployment) = (attempt.choice.id, attempt.choice.deployment);
        let pool = plan.target().pool;
        let settings = &pool.model.settings;
        let mut claim = None;
        if attempt.choice.is_probe {
            let lease_ms = pools::fleet(call.config).probe_lease_ms(id, pool.model);
            claim = pools::claim_probe(id, lease_ms).await;
            if claim.is_none() {
                plan.not_asked();
                continue;
            }
        }
        call.story.begins(Asked { deployment, pool: attempt.model.to_owned() });
        let mut flight = Flight::begin(&attempt.choice, call.wish().tokens());
        let asked_ms = call.arrival.elapsed_ms();
        let came = try_it(&attempt, settings).await;
        let took_ms = call.arrival.elapsed_ms().saturating_sub(asked_ms);
        match came {
            Ok(given) => {
                call.story.answers();
                pools::answered_after(id, took_ms);
                pools::succeeded(id, &settings.breaker, claim);
                outcome.deployment = Some(deployment);
                return Some((given, flight));
            }
            Err(failed) => {
                let failed = *failed;
                if let Given::Nothing(why) = &failed.given {
                    host::log(&format!("{} gave no answer: {why:?}", deployment.label));
                }
                call.story.fails(failed.spent);
                flight.used(call.tokens(failed.spent));
                drop(flight);
                pools::failed_after(id, &failed.failure, took_ms);
                pools::failed(id, pool, &failed.failure, claim).await;
                if plan.failed(failed.failure, host::epoch_ms()) {
                    outcome.deployment = Some(deployment);
                    outcome.given = failed.given;
                }
            }
        }
    }
}

/// Goes on elsewhere with an answer that broke off.
pub struct Elsewhere {
    call: Rc<Call>,
    /// What came of the attempts so far; `deployment` and `flight` are of the one that answers now.
    outcome: Outcome,
    began_ms: u64,
}

impl Elsewhere {
    /// For an answer that has begun.
    pub fn new(call: Rc<Call>, outcome: Outcome) -> Self {
        let began_ms = host::epoch_ms().saturating_sub(call.clock.elapsed_ms());
        Elsewhere { call, outcome, began_ms }
    }

    /// The one that answers now, or did last.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Ends the request at its deployment, which took so many tokens; and notes why its answer broke off, if it did.
    pub async fn end(&mut self, tokens: u64, failure: Option<&Failure>) {
        let Some(mut flight) = self.outcome.flight.take() else { return };
        flight.used(tokens);
        let id = flight.id();
        drop(flight);
        let Some(target) = pools::fleet(self.call.config).target(&self.outcome.model) else { return };
        let settings = &target.pool.model.settings;
        if let Some(failure) = failure.and_then(|failure| attempt::broke_off(failure, settings)) {
            pools::broke_off(id, target.pool, &failure).await;
        }
    }
}

impl Resume for Elsewhere {
    type Source = Stream;

    async fn resume(&mut self, failure: &Failure, spoken: &Spoken) -> Option<Resumed<Stream>> {
        let call = self.call.clone();
        let used = call.prompt_tokens.saturating_add(u64::try_from(spoken.text_bytes() / 4).unwrap_or(0));
        self.end(used, Some(failure)).await;
        let (model, deployment) = (self.outcome.model.clone(), self.outcome.deployment);
        let fleet = pools::fleet(call.config);
        let target = fleet.target(&model)?;
        let why = attempt::broke_off(failure, &target.pool.model.settings)?;
        let past = std::mem::take(&mut self.outcome.past);
        let times = (self.began_ms, host::epoch_ms());
        let mut plan = Plan::after(fleet, target, call.wish(), past, why, times);
        let went_on = pursue(&call, &mut plan, &mut self.outcome, async |attempt, settings| {
            attempt::go_on(&call, attempt, settings, spoken).await
        });
        let went_on = went_on.await;
        self.outcome.attempts = plan.attempts();
        let Some((resumed, flight)) = went_on else {
            // All that the client got, and all that was spent, is still the last one's who spoke.
            self.outcome.deployment = deployment;
            self.outcome.past = plan.into_past();
            return None;
        };
        plan.target().name.clone_into(&mut self.outcome.model);
        self.outcome.explanation = pools::view(call.config, |view| {
            routing::explain(&plan, call.led(), self.outcome.deployment, view)
        });
        self.outcome.past = plan.into_past();
        self.outcome.flight = Some(flight);
        Some(resumed)
    }
}
