//! `GET /admin/usage` and `GET /admin/requests`: what operators ask of the records.

use http::request::Parts;
use usage::{Day, Format, RequestList, RequestsQuery, UsageQuery, UsageReport, Value};

use crate::error::Cause;
use crate::platform::{DatabaseFailed, Platform};
use crate::reply::Reply;

/// Sums by group.
pub async fn usage<P: Platform>(head: &Parts, today: Day, platform: &P) -> Result<Reply, Cause> {
    let accept = head.headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok());
    let query = UsageQuery::parse(query_string(head), accept.unwrap_or_default(), today)?;
    let rows = read(query.statement(), platform).await?;
    let report =
        UsageReport::from_rows(&query, rows).map_err(|error| unreadable(&error.to_string(), platform))?;
    let reply = match query.format {
        Format::Json => Reply::json(200, report.to_json()),
        Format::Csv => Reply::csv(report.to_csv()),
    };
    Ok(if report.truncated { reply.truncated() } else { reply })
}

/// The newest records.
pub async fn requests<P: Platform>(head: &Parts, today: Day, platform: &P) -> Result<Reply, Cause> {
    let query = RequestsQuery::parse(query_string(head), today)?;
    let rows = read(query.statement(), platform).await?;
    let list = RequestList::from_rows(rows).map_err(|error| unreadable(&error.to_string(), platform))?;
    Ok(Reply::json(200, list.to_json()))
}

/// What follows the `?`.
pub fn query_string(head: &Parts) -> &str {
    head.uri.query().unwrap_or_default()
}

/// Runs a page's statement.
pub async fn read<P: Platform>(statement: usage::Statement, platform: &P) -> Result<Vec<Vec<Value>>, Cause> {
    platform.run_apart(statement).await.map_err(|DatabaseFailed(reason)| unreadable(&reason, platform))
}

/// Says in the log how the database failed.
pub fn unreadable<P: Platform>(reason: &str, platform: &P) -> Cause {
    platform.log(&format!("usage-logger: the database could not be read: {reason}"));
    Cause::NotRead
}
