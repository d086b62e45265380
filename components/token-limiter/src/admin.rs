//! The operator's pages: the rules, how a counter stands, setting one to zero.
//!
//! A counter is named `<limit>:<value>`. For several parts of `counter_key` the values are joined by `+`, in the order of
//! the list of rules; each value is escaped as in any URL, its own `+` too. A limit without parts is named by its name
//! alone. A value may also be written as events show it, hashes (`~…`) included.

use crate::error::Cause;
use crate::events;
use crate::keeper::Keeper;
use crate::reply::Reply;
use contracts::Event;
use contracts::event::Amount;
use gateway_config::{Check, Limit, LimiterConfig, Measure, Mode, Weights, Window};
use http::{HeaderName, header};
use quota::{CounterStore, Demand, Kind, ResetDuration, ScriptStore, Standing, Unit};
use serde::Serialize;

/// Begins every path of this module.
pub const PATH: &str = "/admin/limits";

/// The headers that are read.
pub const HEADERS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("spin-client-addr")];

const RESET: &str = "/reset";

/// What a path of this module means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page<'p> {
    /// All rules.
    Rules,
    /// One counter, as it is named.
    Counter(&'p str),
    /// Setting it to zero.
    Reset(&'p str),
}

impl<'p> Page<'p> {
    /// The page at this path; `None` outside [`PATH`].
    pub fn at(path: &'p str) -> Option<Self> {
        let rest = path.strip_prefix(PATH)?;
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(Page::Rules),
            None => None,
            Some("") => Some(Page::Rules),
            Some(name) => Some(name.strip_suffix(RESET).map_or(Page::Counter(name), Page::Reset)),
        }
    }

    /// The one method that it takes.
    pub fn method(self) -> &'static str {
        match self {
            Page::Rules | Page::Counter(_) => "GET",
            Page::Reset(_) => "POST",
        }
    }
}

/// All rules, in the order of the document.
pub fn rules<'c>(config: &LimiterConfig) -> Reply<'c> {
    #[derive(Serialize)]
    struct Rules<'c> {
        limits: Vec<Rule<'c>>,
    }
    json(&Rules { limits: config.limits.iter().map(Rule::of).collect() })
}

/// How a counter stands.
pub async fn counter<'c, C: CounterStore, S: ScriptStore>(
    name: &str,
    config: &'c LimiterConfig,
    keeper: &Keeper<'_, C, S>,
    now_ms: u64,
) -> Result<Reply<'c>, Cause<'c>> {
    let Named { limit, checks } = named(name, config)?;
    let standings = keeper.inspect(now_ms, &checks).await.map_err(Cause::StoreFailed)?;
    Ok(json(&State::of(limit, &checks, &standings, now_ms, None)))
}

/// Who sets a counter to zero, and when.
#[derive(Debug)]
pub struct Deed {
    /// Unlike any other deed's.
    pub id: String,
    /// Where it came from; empty when the platform does not say.
    pub address: String,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// Sets a counter to zero and tells the logger: `tell` says whether it has taken the events.
pub async fn reset<'c, C: CounterStore, S: ScriptStore>(
    name: &str,
    config: &'c LimiterConfig,
    keeper: &Keeper<'_, C, S>,
    deed: Deed,
    tell: impl AsyncFnOnce(&[Event]) -> bool,
) -> Result<Reply<'c>, Cause<'c>> {
    let Named { limit, checks } = named(name, config)?;
    let at_ms = deed.at_ms;
    let before = keeper.inspect(at_ms, &checks).await.map_err(Cause::StoreFailed)?;
    keeper.reset(at_ms, &checks).await.map_err(Cause::StoreFailed)?;
    let after = keeper.inspect(at_ms, &checks).await.map_err(Cause::StoreFailed)?;
    let event = |(demand, standing): (&Demand<'_>, &Standing<'_>)| {
        events::reset(limit, &demand.counter, &deed.id, deed.address.clone(), standing.used, at_ms)
    };
    let events: Vec<Event> = checks.iter().zip(&before).map(event).collect();
    let audited = tell(&events).await;
    let used: Vec<String> =
        before.iter().map(|standing| format!("{}={}", standing.kind, standing.used)).collect();
    let counter = checks.first().map_or("", |demand| demand.counter.value());
    let log = format!(
        "audit reset limit={} counter={counter} by=admin address={} before {} recorded={audited}",
        limit.name,
        deed.address,
        used.join(" ")
    );
    let reply = json(&State::of(limit, &checks, &after, at_ms, Some((&before, audited))));
    Ok(Reply { log: Some(log), ..reply })
}

struct Named<'c> {
    limit: &'c Limit,
    checks: Vec<Demand<'c>>,
}

/// The counters that are meant.
fn named<'c>(name: &str, config: &'c LimiterConfig) -> Result<Named<'c>, Cause<'c>> {
    let unknown = || Cause::UnknownCounter { name: name.to_owned() };
    let (limit, value) = match name.split_once(':') {
        Some((limit, value)) => (limit, Some(value)),
        // Some clients escape colons in paths.
        None => match name.split_once("%3A").or_else(|| name.split_once("%3a")) {
            Some((limit, value)) => (limit, Some(value)),
            None => (name, None),
        },
    };
    let limit = decoded(limit).and_then(|limit| config.limit(&limit)).ok_or_else(unknown)?;
    let parts = limit.counter_key.len();
    let is_hash = |value: &&str| value.starts_with('~') && value.len() == 33;
    let checks = match (parts, value) {
        (0, None | Some("")) => quota::counters(limit, &[]),
        (1.., Some(value)) if is_hash(&value) => quota::counters_shown(limit, value).ok_or_else(unknown)?,
        (1.., Some(value)) => {
            let values: Vec<String> =
                value.split('+').map(decoded).collect::<Option<_>>().ok_or_else(unknown)?;
            if values.len() != parts {
                return Err(Cause::WrongParts { limit, given: values.len() });
            }
            quota::counters(limit, &values.iter().map(String::as_str).collect::<Vec<_>>())
        }
        (_, given) => return Err(Cause::WrongParts { limit, given: given.iter().count() }),
    };
    Ok(Named { limit, checks })
}

/// Percent-encoding undone; `None` for what is none, or no text (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[derive(Serialize)]
struct Rule<'c> {
    name: &'c str,
    mode: &'static str,
    counter_key: Vec<String>,
    #[serde(rename = "match")]
    matches: Match<'c>,
    alert_at_permille: &'c [u64],
    amounts: Vec<RuleAmount<'c>>,
}

#[derive(Serialize)]
struct Match<'c> {
    models: &'c [String],
    teams: &'c [String],
    tags: &'c [String],
}

#[derive(Serialize)]
struct RuleAmount<'c> {
    amount: Amount,
    unit: &'static str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
    #[serde(flatten)]
    window: RuleWindow<'c>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Counts {
    All(&'static str),
    Weighted { prompt_tokens: f64, cached_tokens: f64, completion_tokens: f64, reasoning_tokens: f64 },
}

#[derive(Serialize)]
#[serde(tag = "window", rename_all = "snake_case")]
enum RuleWindow<'c> {
    SlidingMinute,
    Calendar { period: &'static str, timezone: &'c str },
    Rolling { period: &'static str },
    Lease { lease_s: u64 },
}

impl<'c> Rule<'c> {
    fn of(limit: &'c Limit) -> Self {
        let Limit { name, counter_key, matches, checks, mode, alert_at_permille } = limit;
        Rule {
            name,
            mode: mode_name(*mode),
            counter_key: counter_key.iter().map(ToString::to_string).collect(),
            matches: Match { models: &matches.models, teams: &matches.teams, tags: &matches.tags },
            alert_at_permille,
            amounts: checks.iter().map(RuleAmount::of).collect(),
        }
    }
}

impl<'c> RuleAmount<'c> {
    fn of(check: &'c Check) -> Self {
        let kind = Kind::of(check);
        RuleAmount {
            amount: events::amount(kind),
            unit: unit_name(kind.unit),
            size: check.size,
            counts: counts(check.measure),
            window: match &check.window {
                Window::SlidingMinute => RuleWindow::SlidingMinute,
                Window::Calendar(period, zone) => {
                    RuleWindow::Calendar { period: period.as_str(), timezone: zone.name() }
                }
                Window::Rolling(period) => RuleWindow::Rolling { period: period.as_str() },
                Window::Lease { lease_s } => RuleWindow::Lease { lease_s: *lease_s },
            },
        }
    }
}

/// As the document writes them: names for the three plain ways, else what each token weighs.
fn counts(measure: Measure) -> Option<Counts> {
    let Measure::Tokens(weights) = measure else { return None };
    #[expect(clippy::cast_precision_loss, reason = "thousandths of a weight are far below 2⁵³")]
    let share = |thousandths: u64| thousandths as f64 / 1_000.0;
    Some(match weights {
        Weights::TOTAL => Counts::All("total"),
        Weights::PROMPT => Counts::All("prompt"),
        Weights::COMPLETION => Counts::All("completion"),
        Weights { prompt, cached, completion, reasoning } => Counts::Weighted {
            prompt_tokens: share(prompt),
            cached_tokens: share(cached),
            completion_tokens: share(completion),
            reasoning_tokens: share(reasoning),
        },
    })
}

#[derive(Serialize)]
struct State<'c> {
    limit: &'c str,
    /// As events show it.
    counter: String,
    mode: &'static str,
    amounts: Vec<AmountState>,
    /// Whether the logger has taken the audit of the reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<bool>,
}

#[derive(Serialize)]
struct AmountState {
    amount: Amount,
    unit: &'static str,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_before: Option<u64>,
    used: u64,
    remaining: u64,
    /// When nothing counts as used any more if nobody asks.
    resets_at_ms: u64,
    resets_in: String,
}

impl<'c> State<'c> {
    fn of(
        limit: &'c Limit,
        checks: &[Demand<'_>],
        standings: &[Standing<'_>],
        now_ms: u64,
        reset: Option<(&[Standing<'_>], bool)>,
    ) -> Self {
        let before = |at: usize| Some(reset?.0.get(at)?.used);
        let amount = |(at, standing): (usize, &Standing<'_>)| AmountState {
            amount: events::amount(standing.kind),
            unit: unit_name(standing.kind.unit),
            size: standing.size,
            used_before: before(at),
            used: standing.used,
            remaining: standing.remaining(),
            resets_at_ms: now_ms.saturating_add(standing.reset_ms),
            resets_in: ResetDuration(standing.reset_ms).to_string(),
        };
        State {
            limit: &limit.name,
            counter: checks.first().map_or_else(String::new, |demand| demand.counter.value().to_owned()),
            mode: mode_name(limit.mode),
            amounts: standings.iter().enumerate().map(amount).collect(),
            recorded: reset.map(|(_, recorded)| recorded),
        }
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::TotalTokens | Unit::PromptTokens | Unit::CompletionTokens | Unit::WeightedTokens => "tokens",
        Unit::Requests | Unit::Slots => "requests",
        Unit::NanoUsd => "nano_usd",
    }
}

fn json<'c>(value: &impl Serialize) -> Reply<'c> {
    // Of our own structs of texts and numbers none can fail to be written.
    let body = serde_json::to_string(value).unwrap_or_default();
    Reply::json(200, body).with(header::CACHE_CONTROL, "no-store")
}
