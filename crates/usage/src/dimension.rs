//! What requests can be grouped by.

/// Something that requests can be grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Team of the consumer.
    Team,
    /// App of the consumer.
    App,
    /// Consumer id.
    Consumer,
    /// Public model name.
    Model,
    /// Deployment that answered.
    Deployment,
    /// UTC day of the request's arrival.
    Day,
    /// What became of the request.
    Outcome,
    /// Pool that answered.
    Pool,
    /// How the pool was decided on.
    Route,
    /// The client's own end user.
    User,
    /// What the cache said: `exact`, `miss` or `bypass`.
    Cache,
    /// Each tag of the consumer: a request counts under every one, and under the empty name when there is none.
    Tag,
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Dimension; 12] = [
        Dimension::Team,
        Dimension::App,
        Dimension::Consumer,
        Dimension::Model,
        Dimension::Deployment,
        Dimension::Day,
        Dimension::Outcome,
        Dimension::Pool,
        Dimension::Route,
        Dimension::User,
        Dimension::Cache,
        Dimension::Tag,
    ];

    /// Its name in queries and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Dimension::Team => "team",
            Dimension::App => "app",
            Dimension::Consumer => "consumer",
            Dimension::Model => "model",
            Dimension::Deployment => "deployment",
            Dimension::Day => "day",
            Dimension::Outcome => "outcome",
            Dimension::Pool => "pool",
            Dimension::Route => "route",
            Dimension::User => "user",
            Dimension::Cache => "cache",
            Dimension::Tag => "tag",
        }
    }

    /// The SQL of its value; for a tag, `one_tag` is the record's list.
    pub(crate) fn column(self) -> &'static str {
        match self {
            Dimension::Tag => "coalesce(one_tag.value, '')",
            column => column.as_str(),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Dimension::ALL.into_iter().find(|dimension| dimension.as_str() == name)
    }
}

/// What the parameter `group_by` may be.
pub(crate) fn group_by_form() -> String {
    let names = Dimension::ALL.map(Dimension::as_str).join(", ");
    format!("empty, or a comma-separated list of {names}, each at most once")
}

/// Reads a `group_by`; the empty text is no dimension at all.
pub(crate) fn parse_group_by(text: &str) -> Option<Vec<Dimension>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut dimensions = Vec::new();
    for name in text.split(',') {
        let dimension = Dimension::parse(name.trim())?;
        if dimensions.contains(&dimension) {
            return None;
        }
        dimensions.push(dimension);
    }
    Some(dimensions)
}
