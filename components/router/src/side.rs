//! What is done beside a request, and never makes it wait: copies to other pools, and health checks.

use crate::attempt::{self, Given};
use crate::call::Call;
use crate::host;
use crate::ledger::{Ledger, Spent};
use crate::pools;
use crate::story::Story;
use crate::upstream::{self, Elsewhere};
use contracts::Outcome;
use gateway_config::Consumer;
use relay::{ClientGone, End, NoResume, Sink};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Most copies that one instance has under way; beyond it none is made, for a copy must not harm what it is a copy of.
const MAX_COPIES: u32 = 32;

thread_local! {
    static COPIES: Cell<u32> = const { Cell::new(0) };
}

/// Sends a copy to another pool. Its answer is read to the end, recorded with what it cost, and thrown away.
pub fn mirror(call: &Rc<Call>, consumer: &'static Consumer, pool: &'static str) {
    let Some(place) = Place::take() else { return };
    call.mirror.set(Some(pool));
    let copy = Call {
        config: call.config,
        chat: call.chat.clone(),
        headers: call.headers.clone(),
        asked: call.asked.clone(),
        model: pool.to_owned(),
        route: call.route,
        mirror: Cell::new(None),
        region: call.region.clone(),
        session: call.session,
        prompt_tokens: call.prompt_tokens,
        completion_tokens: call.completion_tokens,
        options: relay::Options {
            keep_bytes: 0,
            hold: relay::Hold::UntilItSpeaks,
            mid_stream: relay::MidStream::Fail,
            beat: relay::Beat { keepalive_ms: 0, probe_ms: 0 },
            ..call.options
        },
        promise_ms: 0,
        is_gathered: Cell::new(false),
        heard: relay::Heard::default(),
        arrival: call.arrival.copied(),
        clock: host::Stopwatch::start(),
        story: Story::default(),
    };
    host::spawn(async move {
        answer_copy(Rc::new(copy), consumer).await;
        drop(place);
    });
}

/// One of the places for copies.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        COPIES.with(|copies| {
            let is_free = copies.get() < MAX_COPIES;
            copies.set(copies.get() + u32::from(is_free));
            is_free.then_some(Place)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        COPIES.with(|copies| copies.set(copies.get().saturating_sub(1)));
    }
}

async fn answer_copy(call: Rc<Call>, consumer: &'static Consumer) {
    let mut ledger = Ledger::open(&call.arrival, Some(consumer));
    ledger.mirrors(&call);
    let mut outcome = upstream::ask(call.clone()).await;
    ledger.answered_by(&call, &outcome);
    let given = outcome.take_given();
    let mut asked = Elsewhere::new(call.clone(), outcome);
    let mut broke_off = None;
    let (end, spent) = match given {
        Given::Whole { body, .. } => (Outcome::Completed, Spent::on_whole(&body)),
        Given::Stream { source, .. } => {
            let first = std::future::ready(Some(*source));
            let options = call.options;
            let report =
                relay::relay(first, &mut NoResume::default(), &mut Nobody, &options, &call.clock).await;
            let spent = report.spent.last().map_or(Spent::Nothing, |spent| Spent::from(*spent));
            match report.end {
                End::Complete => (Outcome::Completed, spent),
                End::ClientGone => (Outcome::UpstreamFailed, spent),
                End::Failed(failure) => {
                    broke_off = Some(failure);
                    (Outcome::UpstreamFailed, spent)
                }
            }
        }
        Given::Error { .. } => (Outcome::UpstreamError, Spent::Nothing),
        Given::Nothing(_) => (Outcome::UpstreamFailed, Spent::Nothing),
    };
    asked.end(ledger.tokens(&spent), broke_off.as_ref()).await;
    let status = if end == Outcome::Completed { 200 } else { 502 };
    ledger.close(status, end, "", spent);
}

/// Takes everything.
struct Nobody;

impl Sink for Nobody {
    async fn send(&mut self, _: Vec<u8>) -> Result<(), ClientGone> {
        Ok(())
    }
}

/// Asks those deployments of the call's pool that are out of service whether they are well again, where that is due.
pub fn check_health(call: &Rc<Call>) {
    let Some(target) = call.target() else { return };
    let model = target.pool.model;
    let passed_on = (model.name == "*").then_some(target.name);
    let check = &model.settings.health_check;
    for (deployment, id, probe) in pools::due_for_check(&model.deployments, check.interval_s, passed_on) {
        let timeouts = model.settings.timeouts;
        host::spawn(async move {
            let within = Duration::from_millis(timeouts.connect_ms.saturating_add(timeouts.first_byte_ms));
            let asked = attempt::is_well(deployment, &check.path, timeouts);
            if host::within(within, asked).await == Some(true) {
                pools::recovered(id, probe).await;
            }
        });
    }
}
