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
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Dimension; 7] = [
        Dimension::Team,
        Dimension::App,
        Dimension::Consumer,
        Dimension::Model,
        Dimension::Deployment,
        Dimension::Day,
        Dimension::Outcome,
    ];

    /// Its name in queries, answers and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Dimension::Team => "team",
            Dimension::App => "app",
            Dimension::Consumer => "consumer",
            Dimension::Model => "model",
            Dimension::Deployment => "deployment",
            Dimension::Day => "day",
            Dimension::Outcome => "outcome",
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
