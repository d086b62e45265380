//! `POST /v1/chat/completions`, from the door to the books.

use crate::attempt::Given;
use crate::authorize;
use crate::call::Call;
use crate::error::Cause;
use crate::host::{self, Arrival, NotCome, Stopwatch, Timely};
use crate::ledger::{Ledger, Spent};
use crate::peers::{self, Admission, Lookup};
use crate::reply::{Reply, X_SHOULD_RETRY};
use crate::story::Story;
use crate::upstream::{self, Elsewhere};
use crate::whole::{self, KEEP_BYTES};
use crate::{pools, side, stream};
use bounded_body::ReadError;
use bytes::Bytes;
use contracts::{CacheOutcome, Outcome, headers};
use gateway_config::{Consumer, MidStream, RouterConfig, Settings};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use openai_types::ChatRequest;
use raw_http::Frames;
use relay::{Beat, Hold, Limits, Options};
use routing::{Decision, Facts, Traits};
use std::cell::Cell;
use std::rc::Rc;

/// Largest single event of a stream, in bytes.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;
/// Most of a stream that is held back under `buffer`, in bytes; a longer one is handed on from there as it comes.
const MAX_HELD_BYTES: usize = 4 * 1024 * 1024;
/// How often a client is looked for while there is nothing to write, in ms: an upstream is to be closed within a second of
/// its client's leaving.
const PROBE_MS: u64 = 500;
/// Tokens of a completion for which the request sets no maximum, for capacities and the lowest cost: as many as the limiter reserves by
/// default.
const COMPLETION_TOKENS: u64 = 1_024;
/// The limiter's code for what is used up, as it stands in its answer.
const QUOTA: &[u8] = br#""code":"insufficient_quota""#;
/// Where the client says that it is; the first that is there counts.
const REGION_HEADERS: [&str; 2] = ["x-user-region", "x-forwarded-region"];

/// Answers a chat completion, streamed or not.
pub async fn complete(headers: &HeaderMap, body: Frames, arrival: &Arrival) -> Result<Reply, Cause> {
    let (config, consumer) = match authorize::consumer(headers).await {
        Ok(known) => known,
        Err(cause) => return Err(refuse(Ledger::open(arrival, None), cause)),
    };
    let mut ledger = Ledger::open(arrival, Some(consumer));
    let body = Timely::new(body, &arrival.clock, config.bounds.client_ms);
    let body = match bounded_body::read(body, config.bounds.request_bytes).await {
        Ok(body) => body,
        Err(why) => {
            let cause = match why {
                ReadError::TooLarge { max_bytes } => Cause::RequestTooLarge { max_bytes },
                ReadError::Transport(NotCome::Late) => Cause::RequestTimeout,
                ReadError::Transport(NotCome::Broken) => Cause::RequestCutShort,
            };
            return Err(refuse(ledger, cause));
        }
    };
    let chat = match ChatRequest::parse(&body) {
        Ok(chat) => chat,
        Err(error) => return Err(refuse(ledger, Cause::Invalid(error))),
    };
    ledger.asked(&chat, config);
    let client = Client { config, consumer, headers, body: &body };
    let (call, mirror) = match client.route(chat, arrival) {
        Ok(routed) => routed,
        Err(cause) => {
            ledger.forget_unknown_model(config);
            return Err(refuse(ledger, cause));
        }
    };
    client.answer(call, mirror, ledger).await
}

fn refuse(ledger: Ledger, cause: Cause) -> Cause {
    let error = cause.to_api_error();
    ledger.close(error.status, Outcome::Refused, error.code, Spent::Nothing);
    cause
}

/// Who asks, and what came with the question.
struct Client<'a> {
    config: &'static RouterConfig,
    consumer: &'static Consumer,
    headers: &'a HeaderMap,
    body: &'a Bytes,
}

impl Client<'_> {
    /// Decides which model answers; also who gets a copy.
    fn route(&self, chat: ChatRequest, arrival: &Arrival) -> Result<(Call, Option<&'static str>), Cause> {
        let fleet = pools::fleet(self.config);
        let Some(asked) = fleet.target(&chat.model) else {
            return Err(Cause::UnknownModel { model: chat.model });
        };
        if !self.consumer.may_use(asked.name) {
            return Err(Cause::ModelNotAllowed { model: chat.model });
        }
        let needs = fleet.needs();
        let traits = if needs.traits { Traits::read(self.body) } else { Traits::default() };
        let (prompt_tokens, completion_tokens) =
            if needs.prompt_tokens { sizes(&chat.model, self.body) } else { (0, 0) };
        let header = |name: &str| self.headers.get(name).and_then(|value| value.to_str().ok());
        let facts = Facts {
            asked: &chat.model,
            consumer: self.consumer,
            header: &header,
            prompt_tokens,
            traits: &traits,
        };
        let decision = fleet.route(&facts, &mut pools::chance());
        let Some(Decision { target, route, mirror }) = decision else {
            return Err(Cause::UnknownModel { model: chat.model });
        };
        let session = routing::session(target, &facts);
        let region = REGION_HEADERS.into_iter().find_map(header).map(str::to_owned);
        let (asked, model) = (asked.name.to_owned(), target.name.to_owned());
        let settings = &target.pool.model.settings;
        let is_gathered = settings.cancel_whole && !chat.stream && !chat.wants_audio;
        let mut options = self.options(settings, &chat);
        if is_gathered {
            // Never handed on unfinished, so there is nothing to go on with; `response_bytes` bounds it. The answer that is made of
            // it has the usage, and is what the cache gets.
            options.hold = Hold::UntilWhole { max_bytes: usize::MAX };
            options.mid_stream = relay::MidStream::Fail;
            options.strip_usage = false;
            options.keep_bytes = 0;
        }
        let headers = door::for_upstream(self.headers);
        let arrival = arrival.clone();
        let call = Call {
            config: self.config,
            chat,
            headers,
            asked,
            model,
            route,
            mirror: Cell::new(None),
            region,
            session,
            prompt_tokens,
            completion_tokens,
            options,
            promise_ms: settings.promise_ms.unwrap_or(settings.keepalive_ms),
            is_gathered: Cell::new(is_gathered),
            heard: relay::Heard::default(),
            arrival,
            clock: Stopwatch::start(), // anew when it is admitted
            story: Story::default(),
        };
        Ok((call, mirror))
    }

    async fn answer(
        &self,
        mut call: Call,
        mirror: Option<&'static str>,
        mut ledger: Ledger,
    ) -> Result<Reply, Cause> {
        let facts = self.facts(&call);
        let ((admission, lookup), ()) =
            futures::join!(peers::ask(&facts, self.body), pools::refresh(self.config, call.target()));
        let mut limit_headers = match admission {
            Admission::Admitted { reservation, prompt_tokens, observed, uncounted, headers } => {
                ledger.reserved(reservation, prompt_tokens, observed, uncounted);
                headers
            }
            Admission::Refused { status, headers, body } => {
                let code = match status {
                    429 if body.windows(QUOTA.len()).any(|part| part == QUOTA) => "insufficient_quota",
                    429 => "rate_limit_exceeded",
                    400 => "invalid_request",
                    500 => "invalid_configuration",
                    _ => "limiter_unavailable",
                };
                let mut reply = Reply::whole(status, headers, body);
                led(&call, &mut reply, &mut ledger);
                ledger.close(status, Outcome::Refused, code, Spent::Nothing);
                return Ok(reply);
            }
            Admission::Unavailable => return Err(refuse(ledger, Cause::LimiterUnavailable)),
        };
        let (cache, cache_key) = match lookup {
            Lookup::Hit { headers, body, usage } => {
                ledger.looked_up(CacheOutcome::Exact);
                set_consumed(&mut limit_headers, self.config, 0);
                let mut reply = Reply::whole(200, headers, body).with_headers(limit_headers);
                led(&call, &mut reply, &mut ledger);
                return Ok(reply.and_then(move |taken| async move {
                    ledger.close_hit(200, whole::outcome_of(taken), usage);
                }));
            }
            Lookup::Miss { key } => (CacheOutcome::Miss, Some(key)),
            Lookup::Bypass { key } => (CacheOutcome::Bypass, key),
        };
        ledger.looked_up(cache);
        call.clock = Stopwatch::start();
        let call = Rc::new(call);
        side::check_health(&call);
        if let Some(pool) = mirror {
            side::mirror(&call, self.consumer, pool);
        }
        let mut extra = limit_headers;
        extra.extend(host::header(headers::CACHE, cache.as_str()));
        let asking = Box::pin(upstream::ask(call.clone()));
        let asked = if call.is_gathered.get() {
            relay::until_heard(asking, &call.heard).await
        } else if call.chat.stream && call.promise_ms > 0 {
            relay::within_patience(asking, call.promise_ms, &call.clock).await
        } else {
            Ok(asking.await)
        };
        let asking = match asked {
            Ok(outcome) => return Ok(answered(call, outcome, extra, ledger, cache_key)),
            Err(asking) => asking,
        };
        // From here on the client is told that it is being looked after; who answers is not known for certain yet.
        extra.extend(host::header(headers::ROUTE, &call.decision()));
        Ok(match call.chat.stream {
            true => stream::promised(call, asking, extra, ledger, cache_key),
            false => whole::promised(call, asking, extra, ledger, cache_key),
        })
    }

    /// What a stream may take, and how it is handed on.
    fn options(&self, settings: &Settings, chat: &ChatRequest) -> Options {
        Options {
            choices: chat.choices,
            strip_usage: !chat.include_usage,
            keep_bytes: KEEP_BYTES,
            hold: match settings.buffer {
                true => Hold::UntilWhole { max_bytes: MAX_HELD_BYTES },
                false => Hold::UntilItSpeaks,
            },
            mid_stream: match settings.mid_stream {
                MidStream::Error => relay::MidStream::Fail,
                MidStream::Continue => relay::MidStream::Continue,
            },
            limits: Limits {
                first_token_ms: settings.timeouts.first_token_ms,
                idle_ms: settings.timeouts.idle_ms,
                total_ms: settings.timeouts.total_ms,
                client_ms: self.config.bounds.client_ms,
                max_event_bytes: MAX_EVENT_BYTES,
                max_stream_bytes: settings.response_bytes.unwrap_or(self.config.bounds.response_bytes),
            },
            beat: Beat { keepalive_ms: settings.keepalive_ms, probe_ms: PROBE_MS },
        }
    }

    /// What the other components are told about the request.
    fn facts(&self, call: &Call) -> HeaderMap {
        let consumer = self.consumer;
        let mut facts = HeaderMap::with_capacity(8);
        facts.extend(host::header(headers::REQUEST_ID, &call.arrival.request_id));
        facts.extend(host::header(headers::CONSUMER, &consumer.id));
        facts.extend(host::header(headers::TEAM, consumer.team.as_deref().unwrap_or_default()));
        facts.extend(host::header(headers::APP, consumer.app.as_deref().unwrap_or_default()));
        facts.extend(host::header(headers::MODEL, &call.asked));
        facts.extend(host::header(headers::SERVED_MODEL, &call.model));
        let pool = call.target().map_or("", |target| target.pool.model.name.as_str());
        facts.extend(host::header(headers::POOL, pool));
        facts
            .extend(call.first_upstream_model().and_then(|name| host::header(headers::UPSTREAM_MODEL, name)));
        facts.extend(host::header(headers::TAGS, &consumer.tags.join(",")));
        if let Some(ip) = door::client_ip(self.headers) {
            facts.extend(host::header(headers::CLIENT_IP, &ip.to_string()));
        }
        for name in &self.config.counted_headers {
            if let (Some(value), Ok(fact)) = (
                self.headers.get(name),
                HeaderName::try_from(format!("{}{name}", headers::CLIENT_HEADER_PREFIX)),
            ) {
                facts.insert(fact, value.clone());
            }
        }
        if let Some(control) = self.headers.get(header::CACHE_CONTROL) {
            facts.insert(header::CACHE_CONTROL, control.clone());
        }
        facts
    }
}

/// Tokens of the prompt, and of the answer at most, by their bytes: for routes and capacities, which need no more.
fn sizes(model: &str, body: &[u8]) -> (u64, u64) {
    let Ok(view) = tokens::ChatRequestView::parse(body) else { return (0, 0) };
    let prompt = tokens::estimate_prompt(model, &view).map_or(0, |count| count.tokens);
    (prompt, view.max_completion_tokens.unwrap_or(COMPLETION_TOKENS).saturating_mul(view.n))
}

/// Explains, to the client and in the record, an answer that no deployment gave, where a route led the request.
fn led(call: &Call, reply: &mut Reply, ledger: &mut Ledger) {
    if call.route.is_some() {
        let decision = call.decision();
        reply.set(HeaderName::from_static(headers::ROUTE), &decision);
        ledger.decided(call, decision);
    }
}

/// Hands the outcome to the client.
fn answered(
    call: Rc<Call>,
    mut outcome: upstream::Outcome,
    mut extra: HeaderMap,
    mut ledger: Ledger,
    cache_key: Option<String>,
) -> Reply {
    if !matches!(outcome.given, Given::Stream { .. }) {
        // A stream's books are kept to its end: others may yet go on with it.
        ledger.answered_by(&call, &outcome);
    }
    extra.extend(host::header(headers::ATTEMPTS, &outcome.attempts.to_string()));
    extra.extend(host::header(headers::ROUTE, &outcome.explanation));
    extra.extend(outcome.deployment.and_then(|d| host::header(headers::DEPLOYMENT, &d.label)));
    // What another model said in its place is not this model's answer to the next who asks.
    let cache_key = cache_key.filter(|_| outcome.model == call.model);
    let has_retried = outcome.attempts > 1;
    match outcome.take_given() {
        Given::Whole { headers, body } => {
            let spent = Spent::on_whole(&body);
            set_consumed(&mut extra, call.config, ledger.consumed(&spent));
            whole::at_hand(ledger, outcome.flight, cache_key, headers, body, spent).with_headers(extra)
        }
        Given::Stream { headers, source } => {
            let elsewhere = Elsewhere::new(call.clone(), outcome);
            stream::begun(call, headers, source, elsewhere, ledger, cache_key).with_headers(extra)
        }
        Given::Error { status, headers, body } => {
            if has_retried {
                // The gateway has retried already; an SDK's own retries would multiply with ours.
                extra.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            set_consumed(&mut extra, call.config, ledger.consumed(&Spent::Nothing));
            ledger.close(status, Outcome::UpstreamError, "", Spent::Nothing);
            Reply::whole(status, headers, body).with_headers(extra)
        }
        Given::Nothing(failed) => {
            let cause = Cause::NoAnswer(failed);
            let error = cause.to_api_error();
            set_consumed(&mut extra, call.config, ledger.consumed(&Spent::Nothing));
            ledger.close(error.status, Outcome::UpstreamFailed, error.code, Spent::Nothing);
            if has_retried {
                extra.insert(X_SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Reply::error(&cause).with_headers(extra)
        }
    }
}

/// Tells the client what its request took, now that it is known: the limiter's header has what it was expected to take.
fn set_consumed(headers: &mut HeaderMap, config: &RouterConfig, tokens: u64) {
    if let Some(value) = headers.get_mut(&config.limit_headers.consumed_tokens) {
        *value = tokens.into();
    }
}
