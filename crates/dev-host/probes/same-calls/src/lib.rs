//! The gateway's calls without the gateway: what its architecture costs on this platform, whatever it does.
//!
//! One component under four ids. `front` reads the body, posts it to `first` and `second` at the same time and waits for
//! both, posts it to the origin named by the variable `upstream`, reads the answer and hands it on; one request in
//! [`REQUESTS_PER_BATCH`] posts to `after` then. The others read their body and answer 204. With `stores` set to `yes`,
//! `first` reads one key and increments another, and `second` reads one, as limiter and cache do for a miss.
//!
//! Nothing is looked at, decided, logged or retried; a failure is the host's 500.

use futures::try_join;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use raw_http::{
    Call, ErrorCode, IncomingBody, Request, Response, declared_length, fields, respond, whole_body,
};
use spin_sdk::experimental::wasi::keyvalue::{atomics, store as wasi_store};
use spin_sdk::key_value::Store;
use spin_sdk::variables;
use spin_sdk::wasip3::exports::http::handler::Guest;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Method, Scheme};
use spin_sdk::wasip3::spawn;
use spin_sdk::wit_bindgen::yield_async;
use std::cell::RefCell;
use std::future::ready;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use url::Url;

/// After-work of the gateway under load: some 0.25 calls per request.
const REQUESTS_PER_BATCH: u64 = 4;

spin_sdk::wasip3::http::service::export!(SameCalls);

struct SameCalls;

impl Guest for SameCalls {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let call = Call::new(request);
        let target = call.path_and_query();
        match target.as_str() {
            "/first" => callee(call, Work::Count).await,
            "/second" => callee(call, Work::Read).await,
            "/after" => callee(call, Work::Nothing).await,
            _ => front(call, &target).await,
        }
    }
}

enum Work {
    Nothing,
    Count,
    Read,
}

async fn callee(call: Call, work: Work) -> Result<Response, ErrorCode> {
    let (_, mut body) = call.split();
    while body.next().await?.is_some() {}
    if settings().await?.has_stores {
        match work {
            Work::Nothing => {}
            Work::Count => {
                read("first").await?;
                increment("count")?;
            }
            Work::Read => read("second").await?,
        }
    }
    Ok(respond(StatusCode::NO_CONTENT, &HeaderMap::new(), Vec::new().into()))
}

thread_local! {
    // Opening is a change of threads each time, so the gateway's components do it once per instance.
    static STORE: RefCell<Option<Rc<Store>>> = const { RefCell::new(None) };
    static BUCKET: RefCell<Option<wasi_store::Bucket>> = const { RefCell::new(None) };
}

async fn read(key: &str) -> Result<(), ErrorCode> {
    let store = match STORE.with_borrow(Clone::clone) {
        Some(store) => store,
        None => {
            let store = Rc::new(Store::open_default().await.map_err(internal)?);
            STORE.set(Some(Rc::clone(&store)));
            store
        }
    };
    store.get(key).await.map_err(internal)?;
    Ok(())
}

fn increment(key: &str) -> Result<(), ErrorCode> {
    BUCKET.with_borrow_mut(|bucket| {
        let bucket = match bucket {
            Some(bucket) => bucket,
            None => bucket.insert(wasi_store::open("default").map_err(internal)?),
        };
        atomics::increment(bucket, key, 1).map_err(internal)?;
        Ok(())
    })
}

async fn front(call: Call, target: &str) -> Result<Response, ErrorCode> {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let settings = settings().await?;
    let (_, body) = call.into_parts()?;
    let body = whole(body).await?;
    try_join!(
        post(&Scheme::Http, "first.spin.internal", "/first", body.clone()),
        post(&Scheme::Http, "second.spin.internal", "/second", body.clone())
    )?;
    // As the router does, so that a body leaves in one segment with its head: Nagle's algorithm is on.
    let answer = post_after(yield_async(), &settings.scheme, &settings.authority, target, body).await?;
    let headers = HeaderMap::try_from(answer.get_headers())?;
    let body = whole(IncomingBody::of_response(answer, declared_length(&headers))).await?;
    if REQUESTS.fetch_add(1, Relaxed).is_multiple_of(REQUESTS_PER_BATCH) {
        spawn(async {
            // A failure shows in the host's count of calls.
            let _answer = post(&Scheme::Http, "after.spin.internal", "/after", b"[]".to_vec()).await;
        });
    }
    yield_async().await;
    Ok(respond(StatusCode::OK, &own_headers(body.len()), body.into()))
}

async fn post(scheme: &Scheme, authority: &str, path: &str, body: Vec<u8>) -> Result<Response, ErrorCode> {
    post_after(ready(()), scheme, authority, path, body).await
}

async fn post_after(
    turn: impl Future<Output = ()>,
    scheme: &Scheme,
    authority: &str,
    path: &str,
    body: Vec<u8>,
) -> Result<Response, ErrorCode> {
    let headers = fields(&own_headers(body.len()));
    let (stream, trailers) = whole_body(body.into());
    let (request, _sent) = Request::new(headers, stream, trailers, None);
    request.set_method(&Method::Post).map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request.set_scheme(Some(scheme)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_authority(Some(authority)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    request.set_path_with_query(Some(path)).map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    turn.await;
    client::send(request).await
}

fn own_headers(length: usize) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(2);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers
}

async fn whole(mut body: IncomingBody) -> Result<Vec<u8>, ErrorCode> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

struct Settings {
    scheme: Scheme,
    authority: String,
    has_stores: bool,
}

/// Read once per instance.
async fn settings() -> Result<&'static Settings, ErrorCode> {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    if let Some(settings) = SETTINGS.get() {
        return Ok(settings);
    }
    let upstream = variables::get("upstream").await.map_err(internal)?;
    let has_stores = variables::get("stores").await.map_err(internal)? == "yes";
    let url = Url::parse(&upstream).map_err(internal)?;
    let scheme = if url.scheme() == "https" { Scheme::Https } else { Scheme::Http };
    Ok(SETTINGS.get_or_init(|| Settings { scheme, authority: url.authority().to_owned(), has_stores }))
}

fn internal(error: impl std::fmt::Debug) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("{error:?}")))
}
