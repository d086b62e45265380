//! What follows an answer: alerts are told, old keys are deleted.

use super::{AFTERWARDS_WITHIN, Counters, config, keeper, log, now_ms, stores, within};
use crate::alerts;
use crate::events::Asked;
use contracts::Event;
use contracts::event::EVENTS_PATH;
use contracts::origins::USAGE_LOGGER;
use http::{HeaderMap, HeaderValue, header};
use quota::Alert;
use raw_http::Request;
use spin_sdk::time::sleep;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Method, Scheme};
use spin_sdk::wasip3::spawn;
use std::cell::Cell;
use std::time::Duration;

/// Tells the alerts that are due once the answer is out.
pub fn alert_later(alerts: Vec<Alert<'static>>, asked: Asked) {
    spawn(async move {
        let Ok(config) = config().await else { return };
        let (counters, scripts) = stores(AFTERWARDS_WITHIN);
        let keeper = keeper(config, &counters, &scripts);
        let (events, line) = alerts::tell(&keeper, config, &alerts, &asked, now_ms()).await;
        if let Some(line) = line {
            log(&asked.request_id, &line);
        }
        if !events.is_empty() {
            tell(&events).await;
        }
    });
}

/// How long the logger may take for a batch of events.
const TELL_WITHIN: Duration = Duration::from_secs(10);

/// Gives events to the usage logger. What it does not take is in the log by then; this says so there.
pub async fn tell(events: &[Event]) -> bool {
    let told = match serde_json::to_vec(events) {
        Ok(body) => post_events(body).await,
        Err(error) => Err(error.to_string()),
    };
    if let Err(why) = &told {
        let ids: Vec<&str> = events.iter().map(|event| event.event_id.as_str()).collect();
        log("", &format!("usage-logger did not take the events {}: {why}", ids.join(" ")));
    }
    told.is_ok()
}

async fn post_events(body: Vec<u8>) -> Result<(), String> {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let (stream, trailers) = raw_http::whole_body(body.into());
    let (request, _sent) = Request::new(raw_http::fields(&headers), stream, trailers, None);
    let addressed = request.set_method(&Method::Post).is_ok()
        && request.set_scheme(Some(&Scheme::Http)).is_ok()
        && request.set_authority(USAGE_LOGGER.strip_prefix("http://")).is_ok()
        && request.set_path_with_query(Some(EVENTS_PATH)).is_ok();
    if !addressed {
        return Err(format!("{USAGE_LOGGER}{EVENTS_PATH} is not an address"));
    }
    match within(TELL_WITHIN, client::send(request)).await {
        Some(Ok(response)) if response.get_status_code() == 204 => Ok(()),
        Some(Ok(response)) => Err(format!("it answered {}", response.get_status_code())),
        Some(Err(code)) => Err(code.to_string()),
        None => Err("it took too long".to_owned()),
    }
}

/// Lets the answer go out.
const SWEEP_AFTER: Duration = Duration::from_millis(10);

thread_local! {
    /// When this instance asks again whether a sweep is due: milliseconds since the Unix epoch.
    static NEXT_SWEEP_MS: Cell<u64> = const { Cell::new(0) };
}

/// Deletes old keys, the breakers' too, once the answer is out, if it is time to. Whether it is, the store decides for all instances
/// together; each instance asks it once in a while.
pub fn sweep_later() {
    let now_ms = now_ms();
    if NEXT_SWEEP_MS.get() > now_ms {
        return;
    }
    NEXT_SWEEP_MS.set(now_ms.saturating_add(quota::EVERY_MS / 10));
    spawn(async move {
        // First the answer goes out: listing the keys keeps the instance busy.
        sleep(SWEEP_AFTER).await;
        match quota::sweep(&Counters::within(Duration::MAX), now_ms, |key| {
            routing::breaker::is_expired(key, now_ms)
        })
        .await
        {
            Ok(None | Some(0)) => {}
            Ok(Some(swept)) => log("", &format!("swept {swept} old keys")),
            Err(failure) => log("", &format!("sweep broke off: {failure}")),
        }
    });
}
