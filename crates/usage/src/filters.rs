//! Which records a page is about.

use contracts::CacheOutcome;

use crate::parameters::Parameters;
use crate::sql::Value;

/// What records can be chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Team of the consumer.
    Team,
    /// App of the consumer.
    App,
    /// Public model name.
    Model,
    /// Consumer id.
    Consumer,
    /// The client's own end user.
    User,
    /// Pool that answered.
    Pool,
    /// How the pool was decided on.
    Route,
    /// What the cache said.
    Cache,
    /// Whether it is a copy that a route made: `true` or `false`.
    Mirror,
    /// A tag of the consumer, among others that it may have.
    Tag,
    /// A limit that only observes and would have refused.
    Observed,
}

impl Field {
    /// Every field.
    pub const ALL: [Field; 11] = [
        Field::Team,
        Field::App,
        Field::Model,
        Field::Consumer,
        Field::User,
        Field::Pool,
        Field::Route,
        Field::Cache,
        Field::Mirror,
        Field::Tag,
        Field::Observed,
    ];

    /// Its name in queries and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Team => "team",
            Field::App => "app",
            Field::Model => "model",
            Field::Consumer => "consumer",
            Field::User => "user",
            Field::Pool => "pool",
            Field::Route => "route",
            Field::Cache => "cache",
            Field::Mirror => "mirror",
            Field::Tag => "tag",
            Field::Observed => "observed",
        }
    }

    /// Its value, where only some mean anything; else whatever was given.
    fn take(self, parameters: &mut Parameters) -> Option<String> {
        let one_of = |parameters: &mut Parameters, allowed: &[&str]| {
            let is_allowed = |value: &str| allowed.contains(&value).then(|| value.to_owned());
            parameters.take_parsed(self.as_str(), &allowed.join(" or "), is_allowed)
        };
        match self {
            Field::Cache => one_of(parameters, &CacheOutcome::ALL.map(CacheOutcome::as_str)),
            Field::Mirror => one_of(parameters, &["true", "false"]),
            _ => parameters.take(self.as_str()),
        }
    }

    /// The SQL that is true of the records meant; with one `?` unless the value is in it.
    fn condition(self, value: &str) -> String {
        let column = match self {
            Field::Tag => "tags",
            Field::Observed => "observed",
            Field::Mirror => return format!("mirror = {}", u8::from(value == "true")),
            text => return format!("{} = ?", text.as_str()),
        };
        if value.is_empty() {
            return format!("{column} = '[]'");
        }
        format!("EXISTS (SELECT 1 FROM json_each(usage_records.{column}) AS one WHERE one.value = ?)")
    }
}

/// The records meant: those that match every value given. An empty value matches records without one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Each field at most once.
    pub given: Vec<(Field, String)>,
}

impl Filters {
    pub(crate) fn take(parameters: &mut Parameters) -> Self {
        let given =
            Field::ALL.into_iter().filter_map(|field| Some((field, field.take(parameters)?))).collect();
        Filters { given }
    }

    /// Adds a condition for each value, and the parameters that they need.
    pub(crate) fn apply(&self, conditions: &mut Vec<String>, parameters: &mut Vec<Value>) {
        for (field, value) in &self.given {
            let condition = field.condition(value);
            if condition.contains('?') {
                parameters.push(Value::Text(value.clone()));
            }
            conditions.push(condition);
        }
    }
}

/// The names of the parameters that a page takes: `own` ones and the filters.
pub(crate) fn known(own: &[&'static str]) -> Vec<&'static str> {
    own.iter().copied().chain(Field::ALL.map(Field::as_str)).collect()
}
