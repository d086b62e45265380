//! The paths that are measured, and which running host each needs.

use contracts::CacheOutcome;

/// One path from the client to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// From the client straight to the mock: what all others are compared with.
    Direct,
    /// Through a component that hands everything on: the platform's floor.
    PassThrough,
    /// Through components that make the gateway's calls and do nothing else: what its architecture costs here.
    SameCalls,
    /// The same with the gateway's store operations, in SQLite files as they come.
    SameCallsSqlite,
    /// The same with the files in WAL mode.
    SameCallsWal,
    /// The same with the key-value store in memory.
    SameCallsMemory,
    /// The same with the key-value store on Redis.
    SameCallsRedis,
    /// The whole gateway, cache missed, stores in SQLite files as they come.
    GatewaySqlite,
    /// The same with the files in WAL mode, as the scripts set them up.
    GatewayWal,
    /// The same with the key-value store in memory, and the usage database in WAL mode.
    GatewayMemory,
    /// The same with the key-value store on Redis, and the usage database in WAL mode.
    GatewayRedis,
    /// The gateway in WAL mode, answering from the cache.
    CacheHit,
}

/// A running application, which may serve several scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The pass-through probe.
    PassThrough,
    /// The probe that makes the gateway's calls; with its store operations if it has a store.
    SameCalls(Option<Store>),
    /// The gateway on one kind of store.
    Gateway(Store),
}

/// Where a gateway keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// SQLite files in their default journal mode.
    Sqlite,
    /// SQLite files in WAL mode.
    Wal,
    /// Key-value in memory.
    Memory,
    /// Key-value on Redis.
    Redis,
}

impl Scenario {
    /// All of them, in the order of the report.
    pub const ALL: [Scenario; 12] = [
        Scenario::Direct,
        Scenario::PassThrough,
        Scenario::SameCalls,
        Scenario::SameCallsSqlite,
        Scenario::SameCallsWal,
        Scenario::SameCallsMemory,
        Scenario::SameCallsRedis,
        Scenario::GatewaySqlite,
        Scenario::GatewayWal,
        Scenario::GatewayMemory,
        Scenario::GatewayRedis,
        Scenario::CacheHit,
    ];

    /// Its name on the command line and in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::PassThrough => "pass-through",
            Self::SameCalls => "same-calls",
            Self::SameCallsSqlite => "same-calls-sqlite",
            Self::SameCallsWal => "same-calls-wal",
            Self::SameCallsMemory => "same-calls-memory",
            Self::SameCallsRedis => "same-calls-redis",
            Self::GatewaySqlite => "gateway-sqlite",
            Self::GatewayWal => "gateway-wal",
            Self::GatewayMemory => "gateway-memory",
            Self::GatewayRedis => "gateway-redis",
            Self::CacheHit => "cache-hit",
        }
    }

    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// The host that it needs; the mock alone if none.
    pub fn host(self) -> Option<Host> {
        match self {
            Self::Direct => None,
            Self::PassThrough => Some(Host::PassThrough),
            Self::SameCalls => Some(Host::SameCalls(None)),
            Self::SameCallsSqlite => Some(Host::SameCalls(Some(Store::Sqlite))),
            Self::SameCallsWal => Some(Host::SameCalls(Some(Store::Wal))),
            Self::SameCallsMemory => Some(Host::SameCalls(Some(Store::Memory))),
            Self::SameCallsRedis => Some(Host::SameCalls(Some(Store::Redis))),
            Self::GatewaySqlite => Some(Host::Gateway(Store::Sqlite)),
            Self::GatewayWal | Self::CacheHit => Some(Host::Gateway(Store::Wal)),
            Self::GatewayMemory => Some(Host::Gateway(Store::Memory)),
            Self::GatewayRedis => Some(Host::Gateway(Store::Redis)),
        }
    }

    /// What the gateway must say about its cache on every answer.
    pub fn cache(self) -> Option<CacheOutcome> {
        match self {
            Self::CacheHit => Some(CacheOutcome::Exact),
            Self::GatewaySqlite | Self::GatewayWal | Self::GatewayMemory | Self::GatewayRedis => {
                Some(CacheOutcome::Miss)
            }
            _ => None,
        }
    }

    /// The path that makes the gateway's calls and store operations for a miss, on the same store as this one, and
    /// nothing else. None for what is no miss.
    pub fn same_calls(self) -> Option<Self> {
        match self {
            Self::GatewaySqlite => Some(Self::SameCallsSqlite),
            Self::GatewayWal => Some(Self::SameCallsWal),
            Self::GatewayMemory => Some(Self::SameCallsMemory),
            Self::GatewayRedis => Some(Self::SameCallsRedis),
            _ => None,
        }
    }

    /// Whether a part of its work is done by Redis, a process of its own.
    pub fn is_on_redis(self) -> bool {
        matches!(self.host(), Some(Host::SameCalls(Some(Store::Redis)) | Host::Gateway(Store::Redis)))
    }

    /// Whether streams are measured: the probe that makes the gateway's calls reads answers whole.
    pub fn has_streams(self) -> bool {
        !matches!(self.host(), Some(Host::SameCalls(_)))
    }

    /// Whether they keep the upstream's pace and so can be held: a hit is replayed at once.
    pub fn has_paced_streams(self) -> bool {
        self.has_streams() && self != Self::CacheHit
    }

    /// Whether the bars are meant for it: the gateway with an upstream call.
    pub fn is_gateway(self) -> bool {
        self.cache() == Some(CacheOutcome::Miss)
    }
}

impl Host {
    /// The name of its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::PassThrough => "pass-through",
            Self::SameCalls(None) => "same-calls",
            Self::SameCalls(Some(Store::Sqlite)) => "same-calls-sqlite",
            Self::SameCalls(Some(Store::Wal)) => "same-calls-wal",
            Self::SameCalls(Some(Store::Memory)) => "same-calls-memory",
            Self::SameCalls(Some(Store::Redis)) => "same-calls-redis",
            Self::Gateway(Store::Sqlite) => "sqlite",
            Self::Gateway(Store::Wal) => "wal",
            Self::Gateway(Store::Memory) => "memory",
            Self::Gateway(Store::Redis) => "redis",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_found_by_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()), Some(scenario));
        }
        assert_eq!(Scenario::named("nginx"), None);
    }

    #[test]
    fn a_gateway_is_compared_with_the_same_calls_on_its_own_store() {
        for scenario in Scenario::ALL {
            let store = match (scenario.is_gateway(), scenario.host()) {
                (true, Some(Host::Gateway(store))) => Some(store),
                _ => None,
            };
            let compared = scenario.same_calls().and_then(Scenario::host);
            assert_eq!(compared, store.map(|store| Host::SameCalls(Some(store))), "{scenario:?}");
        }
    }
}
