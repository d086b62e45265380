//! Where each component lives: Spin's in-process service chaining, one origin per component id.
//!
//! Exact hosts rather than `*.spin.internal`, because a wildcard blocks SpinKube's selective deployment.

/// Origin of `token-limiter`.
pub const TOKEN_LIMITER: &str = "http://token-limiter.spin.internal";
/// Origin of `semantic-cache`.
pub const SEMANTIC_CACHE: &str = "http://semantic-cache.spin.internal";
/// Origin of `usage-logger`.
pub const USAGE_LOGGER: &str = "http://usage-logger.spin.internal";
