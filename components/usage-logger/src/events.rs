//! `POST /events` and `GET /admin/events`: alerts and audits.

use bytes::Bytes;
use gateway_config::UsageConfig;
use http::request::Parts;
use http_body::Body;
use usage::{EventList, EventsQuery};

use crate::admin::{query_string, read, unreadable};
use crate::error::Cause;
use crate::keep::{Batch, keep};
use crate::platform::Platform;
use crate::records::MAX_BODY_BYTES;
use crate::reply::Reply;

/// Takes a batch.
pub async fn take<B, P>(body: B, config: &UsageConfig, platform: &P) -> Result<Reply, Cause>
where
    B: Body<Data = Bytes>,
    P: Platform,
{
    let body = bounded_body::read(body, MAX_BODY_BYTES).await?;
    let events = usage::parse_events(&body)?;
    let batch = Batch {
        what: "events",
        lines: events.iter().map(usage::event_line).collect(),
        statements: usage::insert_events_statement(&events).into_iter().collect(),
    };
    keep(batch, config.stdout, platform).await?;
    Ok(Reply::empty(204))
}

/// The newest events.
pub async fn list<P: Platform>(head: &Parts, platform: &P) -> Result<Reply, Cause> {
    let query = EventsQuery::parse(query_string(head))?;
    let rows = read(query.statement(), platform).await?;
    let list =
        EventList::from_rows(&query, rows).map_err(|error| unreadable(&error.to_string(), platform))?;
    let reply = Reply::json(200, list.to_json());
    Ok(if list.next.is_some() { reply.truncated() } else { reply })
}
