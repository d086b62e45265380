//! The combinations that are measured, and the gateway document that each needs.

/// Where the counters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimiterStore {
    /// Spin's own store, a SQLite file in its default journal mode.
    Sqlite,
    /// The same in WAL mode.
    Wal,
    /// Spin's own store in memory.
    Memory,
    /// The key-value store on Redis.
    Redis,
    /// Redis asked directly, one script per reservation.
    Script,
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Where the counters are.
    pub store: LimiterStore,
    /// Limits that match every request.
    pub limits: usize,
    /// Distinct consumers, each with counters of its own.
    pub consumers: u32,
}

impl LimiterStore {
    /// All of them, in the order of the report.
    pub const ALL: [LimiterStore; 5] = [
        LimiterStore::Sqlite,
        LimiterStore::Wal,
        LimiterStore::Memory,
        LimiterStore::Redis,
        LimiterStore::Script,
    ];

    /// Its name on the command line.
    pub fn option(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Wal => "wal",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Script => "script",
        }
    }

    /// The store of that name.
    pub fn named(option: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|store| store.option() == option)
    }

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Wal => "sqlite, WAL",
            Self::Memory => "memory",
            Self::Redis => "redis, key-value",
            Self::Script => "redis, script",
        }
    }

    /// Whether it needs a Redis server.
    pub fn is_redis(self) -> bool {
        matches!(self, Self::Redis | Self::Script)
    }
}

/// How many limits match every request.
pub const LIMITS: [usize; 3] = [1, 3, 8];
/// How many consumers there are.
pub const CONSUMERS: [u32; 2] = [10, 100_000];

/// Eight ways to count, each with counters of its own, so that the first `n` are `n` limits that all decide.
const COUNTER_KEYS: [&str; 8] = [
    r#""consumer""#,
    r#""team""#,
    r#""app""#,
    r#""model""#,
    r#""consumer", "model""#,
    r#""team", "model""#,
    r#""app", "model""#,
    "",
];

impl Cell {
    /// All of them, in the order of the report.
    pub fn all() -> impl Iterator<Item = Cell> {
        LimiterStore::ALL.into_iter().flat_map(|store| {
            LIMITS.into_iter().flat_map(move |limits| {
                CONSUMERS.into_iter().map(move |consumers| Cell { store, limits, consumers })
            })
        })
    }

    /// The limiter's sections of the document: limits that count every request and refuse none.
    pub fn document(self) -> String {
        let mut document = String::new();
        if self.store == LimiterStore::Script {
            document.push_str("[limiter]\nstore = \"redis\"\n");
        }
        for (index, key) in COUNTER_KEYS.iter().take(self.limits).enumerate() {
            document.push_str(&format!(
                "[[limits]]\nname = \"limit-{index}\"\ncounter_key = [{key}]\ntokens_per_minute = 1_000_000_000_000\n"
            ));
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_there_once() {
        let mut cells: Vec<_> = Cell::all().collect();
        assert_eq!(cells.len(), 5 * 3 * 2);
        cells.dedup();
        assert_eq!(cells.len(), 30);
    }

    #[test]
    fn every_store_is_found_by_its_option() {
        for store in LimiterStore::ALL {
            assert_eq!(LimiterStore::named(store.option()), Some(store));
        }
        assert_eq!(LimiterStore::named("etcd"), None);
    }

    #[test]
    fn every_document_is_one_that_the_limiter_accepts() {
        for cell in Cell::all() {
            let config = gateway_config::LimiterConfig::parse(&cell.document());
            assert_eq!(config.unwrap().limits.len(), cell.limits, "{cell:?}");
        }
    }
}
