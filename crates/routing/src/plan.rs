//! What to do next for one request: ask a deployment, wait, or give up; pure, driven by the router.
//!
//! ```text
//! loop { match plan.next(…) { Wait → sleep; Ask → claim the probe if it is one, send, and on failure plan.failed(…); GiveUp → … } }
//! ```
//!
//! # What holds
//! - No attempt begins after the budget's time, none beyond its number in a pool (one more in place of a probe that was the last), and every
//!   plan ends.
//! - A deployment that was silent, or will not have us, is asked once. None is asked before its own `retry-after`.
//! - Another deployment comes before the same one, and a fallback before waiting for one that is to be left alone.
//! - What speaks of the prompt is never tried again in the same pool.

use crate::DeploymentId;
use crate::failure::Failure;
use crate::fleet::{Fleet, Target};
use crate::hash::Chance;
use crate::select::{Choice, Skip, View, Wish, earliest_in_service_ms, select, skipped};
use gateway_config::{ErrorClass, Retries};

/// Waits that one plan may ask for: far more than any budget of attempts needs.
const WAITS_MAX: u32 = 100;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step<'c, 'n> {
    /// Wait, then ask for the next step.
    Wait {
        /// How long, in ms; at least 1.
        ms: u64,
    },
    /// Ask this deployment. If it fails before anything was sent on: [`Plan::failed`], then the next step.
    Ask(Attempt<'c, 'n>),
    /// Answer with this.
    GiveUp(LastWord),
}

/// One attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt<'c, 'n> {
    /// The deployment. A probe must be claimed first; if it is not to be had: [`Plan::not_asked`], then the next step.
    pub choice: Choice<'c>,
    /// The public name of the model that answers: of the fallback, after one.
    pub model: &'n str,
    /// What the deployment is asked for.
    pub upstream_model: &'n str,
    /// What is left of the request's total, in ms; at least 1.
    pub left_ms: u64,
    /// 1 for the first.
    pub number: u32,
}

/// The answer when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastWord {
    /// What this attempt came to: its status and body, or why it gave none. Of all failures the one that tells the client most.
    Attempt {
        /// Its number.
        number: u32,
    },
    /// Nothing was asked, because nothing is in service: 503.
    Unavailable {
        /// Seconds until something may be, at least 1; `None` when that cannot be said.
        retry_after_s: Option<u64>,
    },
}

/// The course of one request.
#[derive(Debug)]
pub struct Plan<'c, 'n> {
    fleet: &'c Fleet<'c>,
    target: Target<'c, 'n>,
    wish: Wish<'n>,
    started_ms: u64,
    retries_until_ms: u64,
    total_until_ms: u64,
    attempts: u32,
    attempts_in_pool: u32,
    waits: u32,
    has_waited: bool,
    /// Whether the last attempt was a probe.
    is_after_probe: bool,
    asked: Option<DeploymentId>,
    failure: Option<Failure>,
    tried: Vec<Tried>,
    /// Fallbacks that have not been taken, nearest first.
    offers: Vec<(&'c str, &'c [ErrorClass])>,
    /// Names of the pools that were asked, and what led away from them.
    left: Vec<(&'n str, ErrorClass)>,
    most_telling: Option<(u8, u32)>,
    in_service_ms: Option<u64>,
}

#[derive(Debug, Clone)]
struct Tried {
    id: DeploymentId,
    is_final: bool,
    not_before_ms: u64,
}

/// What a plan leaves behind: enough for another one to go on with the same request.
#[derive(Debug, Clone, Default)]
pub struct Past {
    attempts: u32,
    tried: Vec<Tried>,
}

impl Past {
    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl<'c: 'n, 'n> Plan<'c, 'n> {
    /// A plan for going on with an answer that broke off after it had begun; `past` is the plan's that began it, `failure` why it
    /// broke off: fallbacks go by it as by any other. Whoever was asked, the one that broke off included, is not asked again. The budgets of attempts and of retries begin anew: what
    /// was sent cannot be taken back, and trying again is all that is left; the total is the request's.
    pub fn after(
        fleet: &'c Fleet<'c>,
        target: Target<'c, 'n>,
        wish: Wish<'n>,
        past: Past,
        failure: Failure,
        (began_ms, now_ms): (u64, u64),
    ) -> Self {
        let mut plan = Plan::new(fleet, target, wish, now_ms);
        plan.total_until_ms = began_ms.saturating_add(target.pool.model.settings.timeouts.total_ms);
        plan.retries_until_ms = plan.retries_until_ms.min(plan.total_until_ms);
        plan.attempts = past.attempts;
        plan.failure = Some(failure);
        plan.tried = past.tried;
        plan.tried.iter_mut().for_each(|tried| tried.is_final = true);
        plan
    }

    /// What is left behind when an attempt has answered, or none will.
    pub fn into_past(mut self) -> Past {
        if let Some(id) = self.asked.take() {
            self.tried.retain(|tried| tried.id != id);
            self.tried.push(Tried { id, is_final: true, not_before_ms: 0 });
        }
        Past { attempts: self.attempts, tried: self.tried }
    }

    /// A plan for a request to `target` that begins now. The budget of time is that of its model.
    pub fn new(fleet: &'c Fleet<'c>, target: Target<'c, 'n>, wish: Wish<'n>, now_ms: u64) -> Self {
        let settings = &target.pool.model.settings;
        let total_until_ms = now_ms.saturating_add(settings.timeouts.total_ms);
        Plan {
            fleet,
            target,
            wish,
            started_ms: now_ms,
            retries_until_ms: now_ms.saturating_add(settings.retries.total_ms).min(total_until_ms),
            total_until_ms,
            attempts: 0,
            attempts_in_pool: 0,
            waits: 0,
            has_waited: false,
            is_after_probe: false,
            asked: None,
            failure: None,
            tried: Vec::new(),
            offers: target.pool.fallbacks.clone(),
            left: Vec::new(),
            most_telling: None,
            in_service_ms: None,
        }
    }

    /// The pool that is asked now.
    pub fn target(&self) -> Target<'c, 'n> {
        self.target
    }

    /// What of the request matters.
    pub fn wish(&self) -> &Wish<'n> {
        &self.wish
    }

    /// Attempts made.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Pools that were left for a fallback, and upon what.
    pub fn left(&self) -> &[(&'n str, ErrorClass)] {
        &self.left
    }

    /// Whether this request has tried a deployment.
    pub fn has_tried(&self, id: DeploymentId) -> bool {
        self.tried.iter().any(|tried| tried.id == id)
    }

    /// Notes that the last attempt failed. True if of all failures so far it tells the client most: then the caller keeps what it said.
    pub fn failed(&mut self, failure: Failure, now_ms: u64) -> bool {
        if let Some(id) = self.asked.take() {
            let not_before_ms = failure.retry_after_ms.map_or(0, |ms| now_ms.saturating_add(ms));
            self.tried.retain(|tried| tried.id != id);
            self.tried.push(Tried { id, is_final: failure.is_final_here, not_before_ms });
        }
        self.failure = Some(failure);
        self.has_waited = false;
        let tells = failure.tells();
        // Of those that tell as much, the last.
        let is_most_telling = self.most_telling.is_none_or(|(most, _)| tells >= most);
        if is_most_telling {
            self.most_telling = Some((tells, self.attempts));
        }
        is_most_telling
    }

    /// Notes that the last attempt was not made after all: its probe was not to be had.
    pub fn not_asked(&mut self) {
        if self.asked.take().is_some() {
            self.attempts = self.attempts.saturating_sub(1);
            self.attempts_in_pool = self.attempts_in_pool.saturating_sub(1);
            self.is_after_probe = false;
        }
    }

    /// What to do now.
    pub fn next(&mut self, view: &View<'_>, chance: &mut Chance) -> Step<'c, 'n> {
        // Each turn leaves a pool for another that was not asked yet, or returns.
        loop {
            let now_ms = view.now_ms;
            if now_ms >= self.retries_until_ms && self.attempts > 0 {
                return self.give_up(view);
            }
            let retries = &self.target.pool.model.settings.retries;
            // A request that asked whether a deployment is well did so for all: it has another attempt in place of that one.
            let is_in_place = self.is_after_probe && self.attempts_in_pool == retries.max_attempts;
            let is_last = is_in_place || self.attempts_in_pool + 1 == retries.max_attempts;
            self.wish.leaves_probes = is_last && self.attempts_in_pool > 0;
            let may_try = (is_in_place || self.attempts_in_pool < retries.max_attempts)
                && self.failure.is_none_or(|failure| failure.is_retryable);
            let choice = if may_try { self.choose(view, chance) } else { None };
            if let Some(choice) = choice.filter(|choice| !is_in_place || !self.has_tried(choice.id)) {
                let wait_ms = if self.has_waited { 0 } else { self.backoff_ms(retries, &choice, chance) };
                if wait_ms == 0 {
                    return self.ask(choice, now_ms);
                }
                if wait_ms < self.retries_until_ms.saturating_sub(now_ms) {
                    return self.wait(wait_ms, view);
                }
            }
            let may_try = may_try && !is_in_place;
            let class = self.failure.map_or_else(|| self.why_out_of_service(view), |failure| failure.class);
            if self.fall_back(class, view) {
                continue;
            }
            return match self.worth_waiting_ms(retries, view).filter(|_| may_try) {
                Some(wait_ms) => self.wait(wait_ms, view),
                None => self.give_up(view),
            };
        }
    }

    /// Another deployment, or else one that was tried and may be asked again.
    fn choose(&self, view: &View<'_>, chance: &mut Chance) -> Option<Choice<'c>> {
        select(self.target, &self.wish, view, |id| self.has_tried(id), chance).or_else(|| {
            select(self.target, &self.wish, view, |id| !self.may_ask_again(id, view.now_ms), chance)
        })
    }

    fn may_ask_again(&self, id: DeploymentId, now_ms: u64) -> bool {
        let tried = self.tried.iter().find(|tried| tried.id == id);
        tried.is_none_or(|tried| !tried.is_final && now_ms >= tried.not_before_ms)
    }

    /// Exponential backoff with full jitter: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>.
    /// The first retry is not delayed, unless it would go where too much was asked for already.
    fn backoff_ms(&self, retries: &Retries, choice: &Choice<'_>, chance: &mut Chance) -> u64 {
        let doublings = match self.attempts_in_pool {
            0 => return 0,
            1 => {
                let is_rate_limited = self.failure.is_some_and(|f| f.class == ErrorClass::RateLimit);
                if !is_rate_limited || !self.has_tried(choice.id) {
                    return 0;
                }
                0
            }
            attempts => attempts - 2,
        };
        let longest_ms =
            retries.backoff_ms.saturating_mul(1 << doublings.min(32)).min(retries.backoff_max_ms);
        chance.below(longest_ms.saturating_add(1))
    }

    fn ask(&mut self, choice: Choice<'c>, now_ms: u64) -> Step<'c, 'n> {
        self.attempts += 1;
        self.attempts_in_pool += 1;
        self.asked = Some(choice.id);
        self.is_after_probe = choice.is_probe;
        let left_ms = self.total_until_ms.saturating_sub(now_ms).max(1);
        Step::Ask(Attempt {
            choice,
            model: self.target.name,
            upstream_model: self.target.pool.upstream_model(choice.deployment, self.target.name),
            left_ms,
            number: self.attempts,
        })
    }

    fn wait(&mut self, ms: u64, view: &View<'_>) -> Step<'c, 'n> {
        self.waits += 1;
        self.has_waited = true;
        if self.waits > WAITS_MAX { self.give_up(view) } else { Step::Wait { ms } }
    }

    /// How long until a deployment that was told to be left alone may be asked again, if a request that has been told so itself can wait for it.
    fn worth_waiting_ms(&self, retries: &Retries, view: &View<'_>) -> Option<u64> {
        self.failure?;
        let now_ms = view.now_ms;
        let is_final = |id| self.tried.iter().any(|tried| tried.id == id && tried.is_final);
        let opens = skipped(self.target, &self.wish, view, is_final).filter_map(|(_, skip)| match skip {
            Skip::Open { until_ms, .. } => Some(until_ms),
            Skip::Tried | Skip::AtCapacity | Skip::Drained => None,
        });
        let is_here = |id| self.target.ids().any(|here| here == id);
        let told = self.tried.iter().filter(|tried| !tried.is_final && is_here(tried.id));
        let told = told.map(|tried| tried.not_before_ms);
        // Where it is both open and told to wait, the later counts: the next turn finds out.
        let until_ms = opens.chain(told).filter(|until_ms| *until_ms > now_ms).min()?;
        let wait_ms = until_ms - now_ms;
        let is_short = wait_ms <= retries.backoff_max_ms && until_ms < self.retries_until_ms;
        is_short.then_some(wait_ms)
    }

    /// Why a pool that nothing of was asked is out of service: too much was asked of it, or it fails.
    fn why_out_of_service(&self, view: &View<'_>) -> ErrorClass {
        let is_too_much =
            |(_, skip): (_, Skip)| matches!(skip, Skip::AtCapacity | Skip::Open { said_when: true, .. });
        let is_any = skipped(self.target, &self.wish, view, |_| false).any(is_too_much);
        if is_any { ErrorClass::RateLimit } else { ErrorClass::Server }
    }

    /// Moves to the first fallback that takes this class and was not asked yet.
    fn fall_back(&mut self, class: ErrorClass, view: &View<'_>) -> bool {
        while let Some(at) = self.offers.iter().position(|(_, on)| on.contains(&class)) {
            let (name, _) = self.offers.remove(at);
            let Some(target) = self.fleet.target(name) else { continue };
            let is_asked =
                self.left.iter().any(|(left, _)| *left == target.name) || target.name == self.target.name;
            if is_asked {
                continue;
            }
            self.note_in_service(view);
            self.left.push((self.target.name, class));
            self.target = target;
            self.offers.splice(0..0, target.pool.fallbacks.iter().copied());
            self.attempts_in_pool = 0;
            self.failure = None;
            self.has_waited = false;
            self.is_after_probe = false;
            return true;
        }
        false
    }

    fn note_in_service(&mut self, view: &View<'_>) {
        let until_ms = earliest_in_service_ms(self.target, &self.wish, view);
        self.in_service_ms = self.in_service_ms.into_iter().chain(until_ms).min();
    }

    fn give_up(&mut self, view: &View<'_>) -> Step<'c, 'n> {
        self.note_in_service(view);
        let word = match self.most_telling {
            Some((_, number)) => LastWord::Attempt { number },
            None => LastWord::Unavailable {
                retry_after_s: self
                    .in_service_ms
                    .map(|at| at.saturating_sub(view.now_ms).div_ceil(1_000).max(1)),
            },
        };
        Step::GiveUp(word)
    }

    /// Milliseconds since the plan began.
    pub fn elapsed_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.started_ms)
    }
}
