//! The gateway's calls without the gateway: what its architecture costs on this platform, whatever it does.
//!
//! One component under the four ids of the gateway's. `router` reads the body, posts it to `token-limiter` and
//! `semantic-cache` at the same time and waits for both, posts it to the origin named by the variable `upstream`, reads
//! the answer and hands it on. For every `requests_per_batch` requests of an instance it then posts to `token-limiter`,
//! `semantic-cache` and `usage-logger` at the same time: bodies as long as the gateway's for so many requests. The others
//! read their body and answer 204.
//!
//! With the variable `stores` set to `yes` each does the store operations that its model does for a cache miss under one
//! limit per minute:
//!
//! | call | operations |
//! |---|---|
//! | `router`, once a second and instance | one read |
//! | `/reserve` | one read, one increment |
//! | `/lookup` | one read |
//! | `/settle` | one read, one increment |
//! | `/store-batch` | one write of as many values as a batch has answers |
//! | `/records` | one insert of as many rows, the usage logger's own statement |
//!
//! Nothing is looked at, decided or retried; a failure is the host's 500, or for what follows an answer a line on
//! standard error. Left out are the sweeps, which each instance looks for once a minute.

mod front;
mod post;
mod settings;
mod stores;

use contracts::{cache, limiter, record};
use http::{HeaderMap, StatusCode};
use raw_http::{Call, ErrorCode, Request, Response, respond};
use settings::settings;
use spin_sdk::wasip3::exports::http::handler::Guest;

spin_sdk::wasip3::http::service::export!(SameCalls);

struct SameCalls;

impl Guest for SameCalls {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let call = Call::new(request);
        let path = call.path_and_query();
        match path.as_str() {
            limiter::RESERVE_PATH | limiter::SETTLE_PATH => {
                read_body(call).await?;
                if settings().await?.has_stores {
                    stores::read_and_increment().await?;
                }
            }
            cache::LOOKUP_PATH => {
                read_body(call).await?;
                if settings().await?.has_stores {
                    stores::read("probe:absent").await?;
                }
            }
            cache::STORE_BATCH_PATH => {
                let body = read_body(call).await?;
                if settings().await?.has_stores {
                    stores::set_many(&body, settings().await?.requests_per_batch)?;
                }
            }
            record::RECORDS_PATH => {
                read_body(call).await?;
                if settings().await?.has_stores {
                    stores::insert(settings().await?.requests_per_batch).await?;
                }
            }
            _ => return front::answer(call, &path).await,
        }
        Ok(respond(StatusCode::NO_CONTENT, &HeaderMap::new(), Vec::new().into()))
    }
}

async fn read_body(call: Call) -> Result<Vec<u8>, ErrorCode> {
    let (_, body) = call.split();
    post::whole(body).await
}

fn internal(error: impl std::fmt::Debug) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("{error:?}")))
}
