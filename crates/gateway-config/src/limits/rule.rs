//! One `[[limits]]` rule.

use super::amount::{self, AMOUNTS, Check};
use super::counter_key::{self, CounterPart};
use crate::fields::{Fields, Taken, scaled, unknown_name};
use crate::names::{MODEL_NAME_RULE, NAME_RULE, is_model_name, is_name, shown};

/// Keys of `[[limits]]`.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "counter_key",
    "match",
    "tokens_per_minute",
    "requests_per_minute",
    "token_quota",
    "request_quota",
    "cost_quota_usd",
    "max_parallel",
    "period",
    "timezone",
    "window",
    "counts",
    "mode",
    "alert_at",
    "lease_s",
];
/// Keys of `[limits.match]`.
pub(crate) const MATCH_KEYS: &[&str] = &["models", "teams", "tags"];

/// Checks of all rules together: what one request can be charged, and what its reservation can hold.
const CHECKS_MAX: usize = 64;
const ALERTS_MAX: usize = 8;
const ALERT_DECIMALS: usize = 3;
/// Ten times the limit: a debt can go beyond it.
const ALERT_MAX_PERMILLE: u64 = 10_000;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Unique name; `[A-Za-z0-9._-]`, 1 to 64.
    pub name: String,
    /// What has a counter of its own, in the order of [`CounterPart`]; empty = one counter for the whole gateway.
    /// Requests that lack a part (their consumers have no team) share a counter.
    pub counter_key: Vec<CounterPart>,
    /// Which requests it counts.
    pub matches: Matches,
    /// At least one; of each measure and kind of window at most one.
    pub checks: Vec<Check>,
    /// Whether it refuses.
    pub mode: Mode,
    /// Parts of an amount whose use is reported once in each window, in thousandths; ascending, 1 to 10,000, at most 8.
    pub alert_at_permille: Vec<u64>,
}

/// Which requests a rule counts: those that every list which is not empty has something of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Public model names: one that is asked for, or that serves after routes.
    pub models: Vec<String>,
    /// Teams.
    pub teams: Vec<String>,
    /// Tags, of which the consumer must have one.
    pub tags: Vec<String>,
}

/// Whether a rule refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does: `enforce`.
    #[default]
    Enforce,
    /// It counts and says what it would have refused: `observe`.
    Observe,
}

impl Matches {
    /// Whether a request of a consumer with this team (empty: none) and these tags is counted, which asks for one of `models`
    /// and is served by the other: so that neither a route away from a listed model nor one to it leads around the rule.
    pub fn is_met<'t>(&self, models: [&str; 2], team: &str, tags: impl IntoIterator<Item = &'t str>) -> bool {
        models.iter().any(|model| self.has_model(model)) && self.has_consumer(team, tags)
    }

    /// Whether a request that asks for `model`, or is served by it, can be counted.
    pub fn has_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|listed| listed == model)
    }

    /// Whether a consumer with this team and these tags can be counted.
    pub fn has_consumer<'t>(&self, team: &str, tags: impl IntoIterator<Item = &'t str>) -> bool {
        let has_team = self.teams.is_empty() || self.teams.iter().any(|listed| listed == team);
        has_team && (self.tags.is_empty() || tags.into_iter().any(|tag| self.tags.iter().any(|t| t == tag)))
    }
}

/// Reads `[[limits]]`.
pub(crate) fn read_all(root: &Fields<'_, '_>) -> Vec<Limit> {
    let mut taken = Taken::new();
    let mut limits: Vec<Limit> = Vec::new();
    let tables = root.tables("limits", KEYS);
    for fields in &tables {
        let name = fields.unique_name("name", &mut taken);
        let counter_key = counter_key::read(fields);
        let matches = read_matches(fields);
        if !AMOUNTS.iter().any(|key| fields.has(key)) {
            let amounts = AMOUNTS.join(", ");
            fields
                .report()
                .add(fields.path(), format!("limits nothing; it must have one or more of {amounts}"));
        }
        let checks = amount::read(fields);
        let mode = read_mode(fields).unwrap_or_default();
        let alert_at_permille = read_alerts(fields);
        let (Some(name), Some(counter_key)) = (name, counter_key) else { continue };
        let limit = Limit { name, counter_key, matches, checks, mode, alert_at_permille };
        refuse_what_decides_nothing(fields, &limit, &limits);
        limits.push(limit);
    }
    if limits.iter().map(|limit| limit.checks.len()).sum::<usize>() > CHECKS_MAX {
        root.refuse("limits", format!("have more than {CHECKS_MAX} amounts together"));
    }
    limits
}

/// Of two checks that count the same requests in the same way, the larger could never decide.
fn refuse_what_decides_nothing(fields: &Fields<'_, '_>, limit: &Limit, others: &[Limit]) {
    for other in others {
        let counts_alike = |check: &Check| {
            other.checks.iter().any(|c| (c.measure, &c.window) == (check.measure, &check.window))
        };
        if (&other.counter_key, &other.matches, other.mode)
            == (&limit.counter_key, &limit.matches, limit.mode)
            && limit.checks.iter().any(counts_alike)
        {
            let name = &other.name;
            fields.refuse(
                "counter_key",
                format!("counts the same as limit \"{name}\", so the larger could never decide; keep one"),
            );
            return;
        }
    }
}

fn read_matches(fields: &Fields<'_, '_>) -> Matches {
    let Some(table) = fields.table("match", MATCH_KEYS) else { return Matches::default() };
    if !MATCH_KEYS.iter().any(|key| table.has(key)) {
        fields.refuse("match", "is empty; leave it out to count every request");
    }
    Matches {
        models: read_names(&table, "models", is_model_name, MODEL_NAME_RULE),
        teams: read_names(&table, "teams", is_name, NAME_RULE),
        tags: read_names(&table, "tags", is_name, NAME_RULE),
    }
}

fn read_names(table: &Fields<'_, '_>, key: &str, is_valid: fn(&str) -> bool, rule: &str) -> Vec<String> {
    let Some(texts) = table.texts(key) else { return Vec::new() };
    if texts.is_empty() {
        table.refuse(key, "is empty, so that nothing would match; leave it out to match all");
    }
    let mut names: Vec<String> = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        if !is_valid(text) {
            table.report().add(path, format!("is {}, {rule}", shown(text)));
        } else if names.iter().any(|name| name == text) {
            table.report().add(path, format!("is {}, which is in the list already", shown(text)));
        } else {
            names.push(text.to_owned());
        }
    }
    names
}

fn read_mode(fields: &Fields<'_, '_>) -> Option<Mode> {
    match fields.text("mode")? {
        "enforce" => Some(Mode::Enforce),
        "observe" => Some(Mode::Observe),
        other => {
            fields.refuse("mode", unknown_name(other, "a mode", ["enforce", "observe"]));
            None
        }
    }
}

fn read_alerts(fields: &Fields<'_, '_>) -> Vec<u64> {
    let texts = fields.decimals("alert_at").unwrap_or_default();
    if texts.len() > ALERTS_MAX {
        fields.refuse("alert_at", format!("has {} entries, must have at most {ALERTS_MAX}", texts.len()));
    }
    let mut alerts = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        match scaled(text, ALERT_DECIMALS).filter(|permille| (1..=ALERT_MAX_PERMILLE).contains(permille)) {
            Some(permille) if alerts.contains(&permille) => {
                fields.report().add(path, format!("is {text}, which is in the list already"));
            }
            Some(permille) => alerts.push(permille),
            None => fields.report().add(
                path,
                format!("is {text}, must be a part of the amount, from 0.001 to 10 with at most 3 decimals"),
            ),
        }
    }
    alerts.sort_unstable();
    alerts
}
