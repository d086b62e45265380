//! What happens to a gate of limits, one after the other: requests, settlements however late, operators' resets.

use crate::plan::{CONFIG, Plan, RULES, plan, taken};
use crate::serial::{Charged, Model};
use crate::world::{Fault, Move, Task, View, World};
use proptest::prelude::*;
use proptest::sample::Index;
use quota::{
    Alert, Demand, Outcome, Pace, Settlement, Standing, corrections, counters, inspect, reserve, reset,
    settle, unchanged,
};

/// One of them.
#[derive(Debug, Clone)]
pub enum Deed {
    /// A request comes.
    Ask(Plan),
    /// One of those that were admitted ends: it took so many tokens, or nothing.
    Settle(Index, Option<u64>),
    /// An operator sets the counters of a rule to zero.
    Reset(&'static str, usize),
    /// Time passes.
    Wait(u64),
}

pub fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let took = prop_oneof![1 => Just(None), 4 => (0..120_u64).prop_map(Some)];
    let rule = prop::sample::select(RULES.map(|(name, _)| name).to_vec());
    let one = prop_oneof![
        6 => plan().prop_map(|plan| Deed::Ask(Plan { settle_to: None, ..plan })),
        5 => (any::<Index>(), took).prop_map(|(which, took)| Deed::Settle(which, took)),
        2 => (rule, 0..2_usize).prop_map(|(rule, consumer)| Deed::Reset(rule, consumer)),
        2 => prop_oneof![4 => 0..30_000_u64, 1 => 0..2_000_000_u64].prop_map(Deed::Wait),
    ];
    prop::collection::vec(one, 1..40)
}

/// The limits over some store.
pub trait Gate {
    fn ask(&self, plan: &Plan, now_ms: u64) -> Outcome<'static>;
    fn settle(&self, reservation: &str, took: Option<u64>, now_ms: u64) -> Vec<Alert<'static>>;
    fn reset(&self, checks: &[Demand<'static>], now_ms: u64);
    fn inspect(&self, checks: &[Demand<'static>], now_ms: u64) -> Vec<Standing<'static>>;
}

/// The counters of a rule for a consumer.
pub fn checks(rule: &str, consumer: usize) -> Vec<Demand<'static>> {
    let limit = CONFIG.limit(rule).unwrap();
    let value = [["a", "b"][consumer]];
    counters(limit, if limit.counter_key.is_empty() { &[] } else { &value })
}

/// An admitted request: what each gate gave it, and what the definition charges it.
struct Running {
    reservations: Vec<String>,
    charges: Vec<Charged>,
}

/// What of alerts is the same in every store.
fn named(alerts: &[Alert<'_>]) -> Vec<String> {
    let name = |alert: &Alert<'_>| {
        format!("{} {} {}/{} {}", alert.limit, alert.permille, alert.used, alert.size, alert.slot.counter)
    };
    let mut names: Vec<_> = alerts.iter().map(name).collect();
    names.sort();
    names
}

/// What a client, the log and an operator are told.
fn told(outcome: &Outcome<'_>) -> String {
    match outcome {
        Outcome::Admitted(admission) => {
            let charges = admission.reservation.charges.iter();
            let mut charges: Vec<_> =
                charges.map(|charge| format!("{} {}", charge.slot.counter, charge.amount)).collect();
            charges.sort();
            let alerts = named(&admission.alerts);
            format!("{:?} {:?} {charges:?} {alerts:?}", admission.tightest, admission.would_refuse)
        }
        Outcome::Refused(refusal) => {
            let quota::Refusal { by, counter, amount, retry_after_s, tightest, alerts } = refusal;
            format!("{by:?} {counter} {amount} {retry_after_s} {tightest:?} {:?}", named(alerts))
        }
        never @ Outcome::NeverFits { .. } => format!("{never:?}"),
    }
}

/// Does all of it to every gate, and holds them to the definition and to each other.
pub fn agree(gates: &[&dyn Gate], start_ms: u64, deeds: &[Deed]) -> Result<(), TestCaseError> {
    let (mut model, mut now_ms, mut running) = (Model::default(), start_ms, Vec::new());
    for deed in deeds {
        match deed {
            Deed::Wait(ms) => now_ms += ms,
            Deed::Ask(plan) => {
                let expected = model.ask(&plan.demands(), now_ms);
                let outcomes: Vec<_> = gates.iter().map(|gate| gate.ask(plan, now_ms)).collect();
                for outcome in &outcomes {
                    prop_assert_eq!(
                        matches!(outcome, Outcome::Admitted(_)),
                        expected.is_some(),
                        "{:?}",
                        outcome
                    );
                    prop_assert_eq!(told(outcome), told(&outcomes[0]));
                }
                if let Some(charges) = expected.filter(|charges| !charges.is_empty()) {
                    let reservation = |outcome: &Outcome<'_>| match outcome {
                        Outcome::Admitted(admission) => admission.reservation.to_string(),
                        _ => String::new(),
                    };
                    let reservations = outcomes.iter().map(reservation).collect();
                    running.push(Running { reservations, charges });
                }
            }
            Deed::Settle(which, took) if !running.is_empty() => {
                let ended = running.swap_remove(which.index(running.len()));
                model.settle(&ended.charges, *took, now_ms);
                let alerts: Vec<_> = (gates.iter().zip(&ended.reservations))
                    .map(|(gate, reservation)| named(&gate.settle(reservation, *took, now_ms)))
                    .collect();
                for told in &alerts {
                    prop_assert_eq!(told, &alerts[0]);
                }
            }
            Deed::Settle(..) => {}
            Deed::Reset(rule, consumer) => {
                let checks = checks(rule, *consumer);
                model.reset(&checks, now_ms);
                gates.iter().for_each(|gate| gate.reset(&checks, now_ms));
            }
        }
        for (rule, _) in RULES {
            for consumer in 0..2 {
                let checks = checks(rule, consumer);
                for gate in gates {
                    let used = gate.inspect(&checks, now_ms)[0].used;
                    prop_assert_eq!(used, model.used(&checks[0], now_ms), "{} after {:?}", rule, deed);
                }
            }
        }
    }
    Ok(())
}

/// Counters and texts in memory.
pub struct Counted(pub World);

const QUIET: [Move; 1] = [Move { pick: 0, advance_ms: 0, fault: Fault::None }];

impl Counted {
    fn run<T>(&self, now_ms: u64, work: impl AsyncFnOnce(View) -> T) -> T {
        self.0.go_to(now_ms);
        let task: Task<'_, T> = Box::pin(work(self.0.view(0)));
        self.0.run(vec![task], &QUIET).remove(0)
    }
}

impl Gate for Counted {
    fn ask(&self, plan: &Plan, now_ms: u64) -> Outcome<'static> {
        let demands = plan.demands();
        self.run(now_ms, async move |view| {
            reserve(&view, &Pace::new(), || view.now_ms(), &demands).await.unwrap()
        })
    }

    fn settle(&self, reservation: &str, took: Option<u64>, now_ms: u64) -> Vec<Alert<'static>> {
        let settlement = Settlement { reservation, taken: taken(took) };
        let (corrections, rejected) = corrections(&CONFIG, [settlement], now_ms);
        assert!(rejected.is_empty());
        let unchanged = unchanged(&CONFIG, [reservation], &corrections);
        let work = async move |view: View| settle(&view, &CONFIG, &corrections, &unchanged).await.unwrap();
        self.run(now_ms, work)
    }

    fn reset(&self, checks: &[Demand<'static>], now_ms: u64) {
        self.run(now_ms, async |view| reset(&view, now_ms, checks).await.unwrap());
    }

    fn inspect(&self, checks: &[Demand<'static>], now_ms: u64) -> Vec<Standing<'static>> {
        self.run(now_ms, async |view| inspect(&view, now_ms, checks).await.unwrap())
    }
}
