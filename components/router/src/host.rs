//! The platform: variables, clocks, randomness, tasks, and HTTP as the host speaks it.
//!
//! Raw `wasi:http` rather than the SDK's request and response types where a body passes: it is read and written here
//! without a channel in between, so a slow client slows the upstream; and whether a body ended well, and whether the
//! client took it, is seen.

mod inbound;
mod shared;

pub use inbound::{NotCome, Timely};
pub use shared::Shared;

use crate::error::{Cause, UpstreamFailed};
use bytes::Bytes;
use futures::future::{Either, select};
use gateway_config::{PlainVariables, Problems, RouterConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use raw_http::{ErrorCode, Fields, IncomingBody, Request, Response};
use relay::{ClientGone, Clock, Coding, Decoded, Sink, Sleep, Source, SourceFailed};
use spin_sdk::variables;
use spin_sdk::wasip3::clocks::monotonic_clock;
use spin_sdk::wasip3::http::client;
use spin_sdk::wasip3::http::types::{Method as HostMethod, RequestOptions, Scheme};
use spin_sdk::wasip3::http_compat::BodyWriter as WasiBodyWriter;
use spin_sdk::wasip3::random::random::get_random_u64;
use spin_sdk::wit_bindgen::{StreamResult, yield_async};
use std::io::Write;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use spin_sdk::wasip3::spawn;

static CONFIG: OnceLock<Result<RouterConfig, Problems>> = OnceLock::new();

/// The validated configuration, parsed once per instance; a variable that cannot be read is tried again.
pub async fn config() -> Result<&'static RouterConfig, Cause> {
    let config = match CONFIG.get() {
        Some(config) => config,
        None => {
            let gateway = variable("gateway").await?;
            let secrets = variable("secrets").await?;
            let openai_api_key = variable("openai_api_key").await?;
            let plain = PlainVariables { openai_api_key: &openai_api_key };
            // Two first requests may both get here; one result is kept, and they are equal.
            CONFIG.get_or_init(|| RouterConfig::parse(&gateway, &secrets, plain))
        }
    };
    config.as_ref().map_err(Cause::Configuration)
}

/// How long a client may take over a piece of its answer: by the document, if it is known and has no problems.
pub fn client_within() -> Duration {
    let bounds = CONFIG.get().and_then(|config| config.as_ref().ok()).map(|config| config.bounds);
    Duration::from_millis(bounds.unwrap_or_default().client_ms)
}

/// A variable of this component. An unreadable one must not pass for an empty one: that would be another document.
async fn variable(name: &'static str) -> Result<String, Cause> {
    variables::get(name).await.map_err(|error| {
        log(&format!("the variable `{name}` cannot be read: {error:?}"));
        Cause::VariableUnreadable { name }
    })
}

/// Prints one line to the component's log.
pub fn log(line: &str) {
    // Not `eprintln!`, which panics when standard error cannot be written to.
    // And in one write, because several instances share it.
    let _unheard = std::io::stderr().write_all(format!("router: {line}\n").as_bytes());
}

/// Milliseconds since the Unix epoch, by the host's wall clock.
pub fn epoch_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// 64 random bits.
pub fn random() -> u64 {
    get_random_u64()
}

/// When and under which id a request arrived.
#[derive(Clone)]
pub struct Arrival {
    /// The request's id, the client's own if it is sane.
    pub request_id: String,
    /// Id of the request's record, never the client's: 32 hexadecimal digits.
    pub record_id: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The time since then.
    pub clock: Stopwatch,
}

impl Arrival {
    /// Takes the time now, and the id from the headers.
    pub fn now(headers: &HeaderMap) -> Self {
        let random = (u128::from(get_random_u64()) << 64) | u128::from(get_random_u64());
        Arrival {
            request_id: door::choose_request_id(headers, random),
            record_id: format!("{random:032x}"),
            at_ms: epoch_ms(),
            clock: Stopwatch::start(),
        }
    }

    /// The arrival of a copy of this request, now: with a record of its own.
    pub fn copied(&self) -> Self {
        let random = (u128::from(get_random_u64()) << 64) | u128::from(get_random_u64());
        Arrival {
            request_id: self.request_id.clone(),
            record_id: format!("{random:032x}"),
            at_ms: epoch_ms(),
            clock: Stopwatch::start(),
        }
    }

    /// Milliseconds since the arrival.
    pub fn elapsed_ms(&self) -> u64 {
        self.clock.elapsed_ms()
    }
}

/// The time since a moment of a request, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started_ns: u64,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch { started_ns: monotonic_clock::now() }
    }

    /// Milliseconds since the start.
    pub fn elapsed_ms(&self) -> u64 {
        monotonic_clock::now().saturating_sub(self.started_ns) / 1_000_000
    }

    /// Milliseconds from this start to that of a later one.
    pub fn ms_until(&self, later: &Stopwatch) -> u64 {
        later.started_ns.saturating_sub(self.started_ns) / 1_000_000
    }
}

impl Clock for Stopwatch {
    fn now_ms(&self) -> u64 {
        self.elapsed_ms()
    }
    fn sleep(&self, ms: u64) -> Sleep {
        Box::pin(sleep(Duration::from_millis(ms)))
    }
}

/// Prints one line to standard output.
pub fn print(line: &str) {
    let _unheard = std::io::stdout().write_all(format!("{line}\n").as_bytes());
}

/// Waits.
pub async fn sleep(duration: Duration) {
    spin_sdk::time::sleep(duration).await;
}

/// Lets the host take one turn just before a message of known length is handed to it, so that its head and its body
/// leave in one segment.
///
/// Without it the host often sends the head before it has been given the body. The platform sets no TCP_NODELAY, neither
/// on its listener nor on its outgoing connections, so on a kept-alive connection the body then waits for the peer's
/// delayed acknowledgement of the head, some 44 ms. Measured on `dev-host`, which drives the same HTTP crates as Spin:
/// a cache miss took 44 ms at the median without it, 1.2 ms with it.
pub async fn one_segment() {
    yield_async().await;
}

/// The result of `work`, or `None` when `limit` passes first; the work is then dropped.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    match select(std::pin::pin!(work), std::pin::pin!(sleep(limit))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(_) => None,
    }
}

/// A request to a backend.
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// Absolute URI.
    pub uri: Uri,
    /// Headers without `host` and `content-length`, which are set here.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// How long what may take.
    pub timeouts: gateway_config::Timeouts,
}

/// The head of an answer, its body yet unread.
pub struct Incoming {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    response: Response,
}

/// Sends a request to a backend and waits for the head of its answer.
pub async fn send(mut outgoing: Outgoing) -> Result<Incoming, UpstreamFailed> {
    outgoing.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(outgoing.body.len()));
    let (stream, trailers) = raw_http::whole_body(outgoing.body);
    let headers = raw_http::fields(&outgoing.headers);
    let (request, _sent) = Request::new(headers, stream, trailers, Some(options(outgoing.timeouts)));
    let uri = &outgoing.uri;
    let addressed = request.set_method(&outgoing.method.into()).is_ok()
        && request.set_scheme(uri.scheme().map(Scheme::from).as_ref()).is_ok()
        && request.set_authority(uri.authority().map(http::uri::Authority::as_str)).is_ok()
        && request.set_path_with_query(uri.path_and_query().map(http::uri::PathAndQuery::as_str)).is_ok();
    if !addressed {
        return Err(UpstreamFailed::Connect(format!("{uri} is not an address")));
    }
    one_segment().await;
    let response = client::send(request).await.map_err(|code| failed(&code))?;
    let headers = HeaderMap::try_from(response.get_headers()).map_err(|code| failed(&code))?;
    Ok(Incoming { status: response.get_status_code(), headers, response })
}

impl Incoming {
    /// The body, to be read: decompressed, whatever we asked for.
    pub fn into_decoded_body(self) -> Result<Decoded<BodyReader>, UpstreamFailed> {
        let coding = self.headers.get(http::header::CONTENT_ENCODING);
        let coding = Coding::of(coding.map(|value| value.to_str().unwrap_or("?")));
        let coding =
            coding.map_err(|_| UpstreamFailed::BadReply("compressed in a way that was not asked for"))?;
        Ok(Decoded::new(self.into_body(), coding))
    }

    /// The body, to be handed on.
    pub fn into_body(self) -> BodyReader {
        let declared = raw_http::declared_length(&self.headers);
        BodyReader(IncomingBody::of_response(self.response, declared))
    }

    /// The whole body, decompressed, up to a cap.
    pub async fn read_whole(self, max_bytes: usize) -> Result<Vec<u8>, UpstreamFailed> {
        let declared = raw_http::declared_length(&self.headers);
        gather(self.into_decoded_body()?, declared, max_bytes).await
    }
}

/// Another component of this app, called in process. The caller bounds the wait.
pub struct Component {
    /// Its origin.
    pub origin: &'static str,
}

impl Component {
    /// Posts a body that `headers` tell the length of, and waits for the head of the answer.
    pub async fn post(
        &self,
        path: &str,
        headers: Fields,
        body: Bytes,
    ) -> Result<ComponentAnswer, UpstreamFailed> {
        let (stream, trailers) = raw_http::whole_body(body);
        let (request, _sent) = Request::new(headers, stream, trailers, None);
        let authority = self.origin.strip_prefix("http://");
        let addressed = request.set_method(&HostMethod::Post).is_ok()
            && request.set_scheme(Some(&Scheme::Http)).is_ok()
            && request.set_authority(authority).is_ok()
            && request.set_path_with_query(Some(path)).is_ok();
        if !addressed {
            return Err(UpstreamFailed::Connect(format!("{}{path} is not an address", self.origin)));
        }
        let response = client::send(request).await.map_err(|code| failed(&code))?;
        let headers = response.get_headers().copy_all();
        Ok(ComponentAnswer { status: response.get_status_code(), headers, response })
    }
}

/// The head of a component's answer, its body yet unread.
pub struct ComponentAnswer {
    /// HTTP status.
    pub status: u16,
    headers: Vec<(String, Vec<u8>)>,
    response: Response,
}

impl ComponentAnswer {
    /// The first value of a header, if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The headers whose names are wanted.
    pub fn headers(&self, is_wanted: impl Fn(&str) -> bool) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers.iter().filter(|(name, _)| is_wanted(name)) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The whole body, up to a cap.
    pub async fn read_whole(self, max_bytes: usize) -> Result<Vec<u8>, UpstreamFailed> {
        let declared =
            self.text(http::header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
        gather(BodyReader(IncomingBody::of_response(self.response, declared)), declared, max_bytes).await
    }
}

/// A body that the host gives.
pub struct BodyReader(IncomingBody);

impl Source for BodyReader {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, SourceFailed> {
        self.0.next().await.map_err(|code| match code {
            ErrorCode::ConnectionReadTimeout
            | ErrorCode::HttpResponseTimeout
            | ErrorCode::ConnectionTimeout => SourceFailed::Idle,
            code => SourceFailed::Broken(code.to_string()),
        })
    }
}

/// A body held whole, up to a cap; one that declares to be larger is not begun.
async fn gather(
    mut source: impl Source,
    declared: Option<usize>,
    max_bytes: usize,
) -> Result<Vec<u8>, UpstreamFailed> {
    if declared.is_some_and(|declared| declared > max_bytes) {
        return Err(UpstreamFailed::TooLarge { max_bytes });
    }
    let mut whole = Vec::new();
    loop {
        match source.next().await {
            Ok(Some(chunk)) if whole.is_empty() => whole = chunk,
            Ok(Some(chunk)) => whole.extend_from_slice(&chunk),
            Ok(None) => return Ok(whole),
            Err(SourceFailed::Idle) => return Err(UpstreamFailed::Timeout),
            Err(SourceFailed::Broken(why)) => return Err(UpstreamFailed::BrokeOff(why)),
            Err(SourceFailed::Undecodable(_)) => {
                return Err(UpstreamFailed::BadReply("not compressed as it says"));
            }
        }
        if whole.len() > max_bytes {
            return Err(UpstreamFailed::TooLarge { max_bytes });
        }
    }
}

/// A new body: what is written on one side, the host reads on the other.
pub fn body() -> (BodyWriter, BodyReader) {
    let (writer, stream, trailers) = WasiBodyWriter::new();
    (BodyWriter(writer), BodyReader(IncomingBody::new(stream, trailers)))
}

/// The writing side of a body.
pub struct BodyWriter(WasiBodyWriter);

impl BodyWriter {
    /// Writes the whole body and ends it; tells whether the reader took all of it in time.
    pub async fn write_whole(mut self, body: Vec<u8>, limit: Duration) -> Result<(), ClientGone> {
        let written = async {
            if !body.is_empty() {
                self.send(body).await?;
            }
            self.end().await;
            Ok(())
        };
        within(limit, written).await.unwrap_or(Err(ClientGone))
    }

    /// Ends the body cleanly. Without this call the reader sees a body that broke off.
    pub async fn end(self) {
        let WasiBodyWriter { stream_writer, result_writer, .. } = self.0;
        drop(stream_writer);
        // A reader that has left needs no end.
        drop(result_writer.write(Ok(None)).await);
    }
}

impl Sink for BodyWriter {
    async fn send(&mut self, data: Vec<u8>) -> Result<(), ClientGone> {
        let unwritten = self.0.stream_writer.write_all(data).await;
        if unwritten.is_empty() { Ok(()) } else { Err(ClientGone) }
    }

    /// A write of nothing: the host takes it at once, unless the reader has gone (component model, `stream.write`).
    async fn probe(&mut self) -> Result<(), ClientGone> {
        match self.0.stream_writer.write(Vec::new()).await {
            (StreamResult::Dropped, _) => Err(ClientGone),
            (StreamResult::Complete(_) | StreamResult::Cancelled, _) => Ok(()),
        }
    }
}

/// A response for the host.
pub fn response(status: u16, headers: &HeaderMap, body: BodyReader) -> Response {
    let (stream, trailers) = body.0.into_parts();
    let (response, _sent) = Response::new(raw_http::fields(headers), Some(stream), trailers);
    // Refused only for a status outside 100..=599, and then 200 would be a lie.
    if response.set_status_code(status).is_err() {
        let _ignored = response.set_status_code(502);
    }
    response
}

fn options(timeouts: gateway_config::Timeouts) -> RequestOptions {
    let options = RequestOptions::new();
    let ns = |ms: u64| Some(ms.saturating_mul(1_000_000));
    // A host that does not know one of them keeps its own.
    let _ignored = options.set_connect_timeout(ns(timeouts.connect_ms));
    let _ignored = options.set_first_byte_timeout(ns(timeouts.first_byte_ms));
    let _ignored = options.set_between_bytes_timeout(ns(timeouts.idle_ms));
    options
}

fn failed(code: &ErrorCode) -> UpstreamFailed {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => UpstreamFailed::NotAllowed,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => UpstreamFailed::Timeout,
        ErrorCode::HttpResponseIncomplete
        | ErrorCode::HttpProtocolError
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_) => UpstreamFailed::BrokeOff(code.to_string()),
        _ => UpstreamFailed::Connect(code.to_string()),
    }
}

/// A header name and value, or nothing where the value is no header value.
pub fn header(name: &'static str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?))
}
