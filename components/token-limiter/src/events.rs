//! What operators must hear of, as the usage logger takes it.

use contracts::event::{self, Action, Amount, Audit, Event, LimitMode, What};
use gateway_config::{Limit, Mode};
use quota::{Alert, Counter, Kind, Span, Stretch, Unit};

/// Which request something happened in.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Its id, or empty.
    pub request_id: String,
    /// Team of its consumer, or empty.
    pub team: String,
}

/// A threshold that was reached for the first time in its window.
///
/// The event's id is the key that latched it: if the latch should fail, the logger keeps the event once all the same.
pub fn alert(alert: &Alert<'_>, mode: Mode, window: Stretch, asked: &Asked, at_ms: u64) -> Event {
    Event {
        event_id: format!("alert:{}", alert.key()),
        at_ms,
        request_id: asked.request_id.clone(),
        team: asked.team.clone(),
        limit: alert.limit.to_owned(),
        amount: amount(alert.slot.counter.kind()),
        counter: alert.slot.counter.value().to_owned(),
        what: What::Alert(event::Alert {
            threshold_permille: alert.permille,
            used: alert.used,
            size: alert.size,
            window_start_ms: window.start_ms,
            window_end_ms: window.end_ms,
            mode: match mode {
                Mode::Enforce => LimitMode::Enforce,
                Mode::Observe => LimitMode::Observe,
            },
        }),
    }
}

/// A counter that an operator set to zero; `id` is nobody else's.
pub fn reset(limit: &Limit, counter: &Counter, id: &str, address: String, before: u64, at_ms: u64) -> Event {
    Event {
        event_id: format!("reset:{id}:{}", counter.kind()),
        at_ms,
        request_id: String::new(),
        team: String::new(),
        limit: limit.name.clone(),
        amount: amount(counter.kind()),
        counter: counter.value().to_owned(),
        what: What::Audit(Audit {
            action: Action::LimitReset,
            by: "admin".to_owned(),
            address,
            before,
            after: 0,
        }),
    }
}

/// Which amount of its rule a counter is of.
pub fn amount(kind: Kind) -> Amount {
    match (kind.span, kind.unit) {
        (Span::Lease, _) | (_, Unit::Slots) => Amount::MaxParallel,
        (_, Unit::NanoUsd) => Amount::CostQuotaUsd,
        (Span::Minute, Unit::Requests) => Amount::RequestsPerMinute,
        (Span::Calendar | Span::Rolling, Unit::Requests) => Amount::RequestQuota,
        (Span::Minute, _) => Amount::TokensPerMinute,
        (Span::Calendar | Span::Rolling, _) => Amount::TokenQuota,
    }
}
