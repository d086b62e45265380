//! `[[routes]]`: which model a request really gets, in the order of the document; the first that matches decides.

use crate::Consumers;
use crate::fields::{Fields, Taken, unknown_name};
use crate::models::Models;
use crate::names::shown;
use crate::share::{self, Share};
use crate::strategy::{HashKey, header_name, read_hash_key};

/// Keys of `[[routes]]`.
pub(crate) const KEYS: &[&str] = &[
    "name",
    "models",
    "consumers",
    "teams",
    "apps",
    "tags",
    "headers",
    "min_prompt_tokens",
    "max_prompt_tokens",
    "features",
    "share",
    "share_key",
    "to",
    "mirror",
];
/// Keys of `mirror`.
pub(crate) const MIRROR_KEYS: &[&str] = &["to", "share"];

const PROMPT_TOKENS_MAX: u64 = 100_000_000;
const HEADER_VALUE_MAX_BYTES: usize = 256;

/// One rule: all its conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Unique name; `[A-Za-z0-9._-]`, 1 to 64.
    pub name: String,
    /// Names that are asked for, one of which must be; aliases are resolved. Empty = any.
    pub models: Vec<String>,
    /// Ids of consumers, one of which must call. Empty = any.
    pub consumers: Vec<String>,
    /// Teams, likewise.
    pub teams: Vec<String>,
    /// Apps, likewise.
    pub apps: Vec<String>,
    /// Tags, one of which the consumer must have. Empty = any.
    pub tags: Vec<String>,
    /// Request headers, lower case, that must all have this value; `None` = any value.
    pub headers: Vec<(String, Option<String>)>,
    /// Least estimated prompt tokens; default 0.
    pub min_prompt_tokens: u64,
    /// Most estimated prompt tokens; `None` = any.
    pub max_prompt_tokens: Option<u64>,
    /// What the request must use, all of it.
    pub features: Vec<Feature>,
    /// The share of the requests for which all else holds; default all.
    pub share: Share,
    /// What decides who is in the share; default the consumer.
    pub share_key: HashKey,
    /// The name that the request gets instead; `None` = the one asked for.
    pub to: Option<String>,
    /// Where a copy goes.
    pub mirror: Option<Mirror>,
}

/// A copy of requests, whose answers nobody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The name that the copies ask for.
    pub to: String,
    /// The share of the route's requests, by chance; default all.
    pub share: Share,
}

/// Something that a request can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// It offers tools: `tools`.
    Tools,
    /// It holds images: `vision`.
    Vision,
    /// It asks for JSON (`response_format`): `json`.
    Json,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Feature; 3] = [Feature::Tools, Feature::Vision, Feature::Json];

    /// The name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Feature::Tools => "tools",
            Feature::Vision => "vision",
            Feature::Json => "json",
        }
    }
}

/// Reads `[[routes]]`.
pub(crate) fn read(root: &Fields<'_, '_>, models: &Models<'_>, consumers: &Consumers) -> Vec<Route> {
    let mut taken = Taken::new();
    let mut routes: Vec<Route> = Vec::new();
    let mut catch_all: Option<String> = None;
    for fields in root.tables("routes", KEYS) {
        let name = fields.unique_name("name", &mut taken);
        let route = read_route(&fields, name.unwrap_or_default(), models, consumers);
        if let Some(first) = &catch_all {
            fields
                .report()
                .add(fields.path(), format!("never applies: {first} before it takes every request"));
        } else if route.matches_all() {
            catch_all = Some(fields.path().to_owned());
        }
        routes.push(route);
    }
    routes
}

impl Route {
    fn matches_all(&self) -> bool {
        self.models.is_empty()
            && self.consumers.is_empty()
            && self.teams.is_empty()
            && self.apps.is_empty()
            && self.tags.is_empty()
            && self.headers.is_empty()
            && self.features.is_empty()
            && self.min_prompt_tokens == 0
            && self.max_prompt_tokens.is_none()
            && self.share == Share::ALL
    }
}

fn read_route(fields: &Fields<'_, '_>, name: String, models: &Models<'_>, consumers: &Consumers) -> Route {
    let min_prompt_tokens = fields.integer("min_prompt_tokens", 0..=PROMPT_TOKENS_MAX).unwrap_or(0);
    let max_prompt_tokens = fields.integer("max_prompt_tokens", 0..=PROMPT_TOKENS_MAX);
    if max_prompt_tokens.is_some_and(|max| max < min_prompt_tokens) {
        fields.refuse("max_prompt_tokens", "is below min_prompt_tokens, so the route would match nothing");
    }
    let share = share::read(fields, "share");
    if fields.has("share_key") && !fields.has("share") {
        fields.refuse("share_key", "says who is in the share, but there is no share");
    }
    let to = read_to(fields, models);
    let mirror = fields.table("mirror", MIRROR_KEYS).and_then(|table| read_mirror(&table, models));
    if !fields.has("to") && !fields.has("mirror") {
        fields.refuse("to", "is missing; a route must lead to another model, or mirror");
    }
    Route {
        name,
        models: read_known(
            fields,
            "models",
            "the name of a model",
            &|text| models.canonical(text),
            models.known(),
        ),
        consumers: read_of_consumers(fields, "consumers", "the id of a consumer", consumers, |c| {
            vec![c.id.as_str()]
        }),
        teams: read_of_consumers(fields, "teams", "the team of a consumer", consumers, |c| {
            c.team.as_deref().into_iter().collect()
        }),
        apps: read_of_consumers(fields, "apps", "the app of a consumer", consumers, |c| {
            c.app.as_deref().into_iter().collect()
        }),
        tags: read_of_consumers(fields, "tags", "a tag of a consumer", consumers, |c| {
            c.tags.iter().map(String::as_str).collect()
        }),
        headers: read_headers(fields),
        min_prompt_tokens,
        max_prompt_tokens,
        features: read_features(fields),
        share: share.unwrap_or(Share::ALL),
        share_key: read_hash_key(fields, "share_key").unwrap_or(HashKey::Consumer),
        to,
        mirror,
    }
}

fn read_to(fields: &Fields<'_, '_>, models: &Models<'_>) -> Option<String> {
    let text = fields.text("to")?;
    let to = models.canonical(text);
    if to.is_none() {
        fields.refuse("to", unknown_name(text, "the name of a model", models.known()));
    }
    to.map(str::to_owned)
}

fn read_mirror(table: &Fields<'_, '_>, models: &Models<'_>) -> Option<Mirror> {
    if !table.has("to") {
        table.refuse("to", "is missing");
    }
    let share = share::read(table, "share").unwrap_or(Share::ALL);
    Some(Mirror { to: read_to(table, models)?, share })
}

/// Names of consumers, teams, apps or tags. One that nobody has would make a route that silently matches nothing.
fn read_of_consumers<'c>(
    fields: &Fields<'_, '_>,
    key: &str,
    what: &str,
    consumers: &'c Consumers,
    of: impl Fn(&'c crate::Consumer) -> Vec<&'c str>,
) -> Vec<String> {
    let mut known: Vec<&str> = consumers.iter().flat_map(of).collect();
    known.sort_unstable();
    known.dedup();
    let find = |text: &str| known.iter().copied().find(|known| *known == text);
    read_known(fields, key, what, &find, known.iter().copied())
}

fn read_known<'n>(
    fields: &Fields<'n, '_>,
    key: &str,
    what: &str,
    find: &dyn Fn(&'n str) -> Option<&'n str>,
    known: impl IntoIterator<Item = &'n str> + Clone,
) -> Vec<String> {
    let Some(texts) = fields.texts(key) else { return Vec::new() };
    if texts.is_empty() {
        fields.refuse(key, "is empty, so the route would match nothing; leave it out to match any");
    }
    let mut found: Vec<String> = Vec::with_capacity(texts.len());
    for (path, text) in texts {
        match find(text) {
            Some(name) if found.iter().any(|earlier| earlier == name) => {
                fields.report().add(path, format!("is {} again", shown(text)));
            }
            Some(name) => found.push(name.to_owned()),
            None => fields.report().add(path, unknown_name(text, what, known.clone())),
        }
    }
    found
}

fn read_headers(fields: &Fields<'_, '_>) -> Vec<(String, Option<String>)> {
    let Some(table) = fields.open_table("headers") else { return Vec::new() };
    let mut headers = Vec::new();
    for key in table.keys() {
        let Some(value) = table.text(key) else { continue };
        match header_name(key) {
            None => table.refuse(key, "is not the name of a header"),
            Some(name) if is_dropped(&name) => {
                table
                    .refuse(key, "is dropped at the door or holds a credential, so it cannot decide a route");
            }
            Some(name) => headers.push((name, Some(value.to_owned()).filter(|value| value != "*"))),
        }
        if value.len() > HEADER_VALUE_MAX_BYTES || !value.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            let rule =
                format!("at most {HEADER_VALUE_MAX_BYTES} characters of ASCII, or \"*\" for any value");
            table.refuse(key, format!("is {}, must be {rule}", shown(value)));
        }
    }
    headers
}

/// Headers that a client cannot be believed to have sent, or that must not be compared with what stands in a document.
fn is_dropped(name: &str) -> bool {
    matches!(name, "authorization" | "api-key" | "x-api-key" | "cookie")
        || name.starts_with("x-tollgate-")
        || name.starts_with("spin-")
}

fn read_features(fields: &Fields<'_, '_>) -> Vec<Feature> {
    let mut features = Vec::new();
    for (path, text) in fields.texts("features").unwrap_or_default() {
        match Feature::ALL.into_iter().find(|feature| feature.as_str() == text) {
            Some(feature) => features.push(feature),
            None => {
                let names = Feature::ALL.map(Feature::as_str);
                fields.report().add(path, unknown_name(text, "a feature", names));
            }
        }
    }
    features.sort_unstable();
    features.dedup();
    features
}
