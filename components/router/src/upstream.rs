//! Asking backends until one answers: the plan of `routing`, driven.

use crate::attempt::{self, Failed, Given, Stream};
use crate::call::Call;
use crate::error::UpstreamFailed;
use crate::host;
use crate::pools::{self, Flight};
use gateway_config::{Deployment, Settings};
use relay::{Failure, Resume, Resumed, Spent, Spoken};
use routing::{Attempt, LastWord, Past, Plan, Step};
use std::rc::Rc;
use std::time::Duration;

/// What came of the attempts.
pub struct Outcome {
    /// The deployment that gave this, or the last one tried.
    pub deployment: Option<&'static Deployment>,
    /// The deployment that is being asked now.
    pub asked: Option<&'static Deployment>,
    /// The model that it answered for: another one after a fallback.
    pub model: String,
    /// Attempts made.
    pub attempts: u32,
    /// How it came to this.
    pub explanation: String,
    /// What attempts cost that gave no answer: each with its deployment.
    pub wasted: Vec<(&'static Deployment, Spent)>,
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
    fn none_yet(call: &Call) -> Self {
        Outcome {
            deployment: None,
            asked: None,
            model: call.model.clone(),
            attempts: 0,
            explanation: String::new(),
            wasted: Vec::new(),
            given: Given::Nothing(UpstreamFailed::NoneLeft { retry_after_s: None }),
            flight: None,
            past: Past::default(),
        }
    }
}

/// An asking under way. One that is dropped halfway, because its client has left, leaves to the books ([`Call::left`])
/// whom it had asked and what that had cost.
struct Asking<'a, 'n> {
    call: &'a Call,
    plan: &'a mut Plan<'static, 'n>,
    outcome: &'a mut Outcome,
    is_over: bool,
}

impl Drop for Asking<'_, '_> {
    fn drop(&mut self) {
        let Asking { call, plan, outcome, is_over } = self;
        if !*is_over {
            outcome.deployment = outcome.asked.or(outcome.deployment);
        }
        outcome.attempts = plan.attempts();
        plan.target().name.clone_into(&mut outcome.model);
        outcome.explanation =
            pools::view(call.config, |view| routing::explain(plan, call.route, outcome.deployment, view));
        if !*is_over {
            call.left.replace(Some(std::mem::replace(outcome, Outcome::none_yet(call))));
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
        let model = plan.target().pool.model;
        let settings = &model.settings;
        let mut probe = None;
        if attempt.choice.is_probe {
            let lease_ms = pools::fleet(call.config).probe_lease_ms(id, model);
            probe = pools::claim_probe(id, lease_ms).await;
            if probe.is_none() {
                plan.not_asked();
                continue;
            }
        }
        outcome.attempts = plan.attempts();
        outcome.asked = Some(deployment);
        let flight = Flight::begin(id, call.wish().tokens());
        let asked_ms = call.arrival.elapsed_ms();
        let came = try_it(&attempt, settings).await;
        outcome.asked = None;
        pools::answered_after(id, call.arrival.elapsed_ms().saturating_sub(asked_ms));
        match came {
            Ok(given) => {
                pools::succeeded(id, &settings.breaker, probe).await;
                outcome.deployment = Some(deployment);
                return Some((given, flight));
            }
            Err(failed) => {
                let failed = *failed;
                if let Given::Nothing(why) = &failed.given {
                    host::log(&format!("{} gave no answer: {why:?}", deployment.label));
                }
                if failed.spent.is_something() {
                    outcome.wasted.push((deployment, failed.spent));
                }
                pools::failed(id, &settings.breaker, &failed.failure, probe).await;
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
    /// Who gave each part of the answer, in order.
    parts: Vec<&'static Deployment>,
}

impl Elsewhere {
    /// For an answer that has begun.
    pub fn new(call: Rc<Call>, outcome: Outcome) -> Self {
        let parts = outcome.deployment.into_iter().collect();
        let began_ms = host::epoch_ms().saturating_sub(call.arrival.elapsed_ms());
        Elsewhere { call, outcome, began_ms, parts }
    }

    /// The one that answers now, or did last.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Who gave each part of the answer.
    pub fn parts(&self) -> &[&'static Deployment] {
        &self.parts
    }

    /// Ends the request at its deployment, which took so many tokens; with `is_broken_off` that is the deployment's failure.
    pub async fn end(&mut self, tokens: u64, is_broken_off: bool) {
        let Some(mut flight) = self.outcome.flight.take() else { return };
        flight.used(tokens);
        if is_broken_off && let Some(target) = pools::fleet(self.call.config).target(&self.outcome.model) {
            pools::broke_off(flight.id(), &target.pool.model.settings.breaker).await;
        }
    }
}

impl Resume for Elsewhere {
    type Source = Stream;

    async fn resume(&mut self, _: &Failure, spoken: &Spoken) -> Option<Resumed<Stream>> {
        let call = self.call.clone();
        let used = call.prompt_tokens.saturating_add(u64::try_from(spoken.text_bytes() / 4).unwrap_or(0));
        self.end(used, true).await;
        let model = self.outcome.model.clone();
        let fleet = pools::fleet(call.config);
        let target = fleet.target(&model)?;
        let past = std::mem::take(&mut self.outcome.past);
        let mut plan = Plan::after(fleet, target, call.wish(), past, self.began_ms, host::epoch_ms());
        let went_on = pursue(&call, &mut plan, &mut self.outcome, async |attempt, settings| {
            attempt::go_on(&call, attempt, settings, spoken).await
        });
        let went_on = went_on.await;
        self.outcome.attempts = plan.attempts();
        plan.target().name.clone_into(&mut self.outcome.model);
        self.outcome.past = plan.into_past();
        let (resumed, flight) = went_on?;
        self.outcome.flight = Some(flight);
        self.parts.extend(self.outcome.deployment);
        Some(resumed)
    }
}
