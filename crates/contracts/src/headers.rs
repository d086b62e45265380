//! Header names of our own prefix.
//!
//! A client can never set one of these: the router drops every incoming header that starts with [`PREFIX`] before
//! it adds its own.

/// Prefix of every header that Tollgate itself reads or writes, lower case.
pub const PREFIX: &str = "x-tollgate-";

/// The request id, the same in every component, in the record and in the client's `x-request-id`.
pub const REQUEST_ID: &str = "x-tollgate-request-id";
/// Id of the consumer (who calls).
pub const CONSUMER: &str = "x-tollgate-consumer";
/// Team of the consumer; empty when it has none.
pub const TEAM: &str = "x-tollgate-team";
/// App of the consumer; empty when it has none.
pub const APP: &str = "x-tollgate-app";
/// Public model name that the client asked for, after alias resolution and before any route.
pub const MODEL: &str = "x-tollgate-model";
/// Public model name that serves the request: the one asked for, or another where a route decided so. Prices are its, and
/// the answers of the cache; that of the model asked for when it is absent.
pub const SERVED_MODEL: &str = "x-tollgate-served-model";
/// Name that the model has at the deployment that the request goes to first: its tokenizer counts the prompt.
pub const UPSTREAM_MODEL: &str = "x-tollgate-upstream-model";
/// Name of the `[[models]]` entry that serves the request; `*` for a name that no other has.
pub const POOL: &str = "x-tollgate-pool";
/// Tags of the consumer, separated by commas.
pub const TAGS: &str = "x-tollgate-tags";
/// Address of the client's connection, without the port.
pub const CLIENT_IP: &str = "x-tollgate-client-ip";
/// Begins the names under which the limiter gets those headers of the client's that a limit counts by.
pub const CLIENT_HEADER_PREFIX: &str = "x-tollgate-header-";
/// Names of those headers of the limiter's answer that are for the client, separated by commas.
pub const FOR_CLIENT: &str = "x-tollgate-for-client";
/// Opaque reservation that `/reserve` returns and `/settle` takes back.
pub const RESERVATION: &str = "x-tollgate-reservation";
/// Names of the limits that only observe and would have refused, separated by commas, beside the reservation.
pub const OBSERVED: &str = "x-tollgate-observed";
/// Set when the limiter could not reach its counters and let the request pass all the same: it was counted nowhere.
pub const UNCOUNTED: &str = "x-tollgate-uncounted";
/// Tokens of the prompt as the limiter counted them, beside the reservation.
pub const PROMPT_TOKENS: &str = "x-tollgate-prompt-tokens";
/// Cache outcome: `exact`, `miss` or `bypass`, internally and on the answer to the client.
pub const CACHE: &str = "x-tollgate-cache";
/// Age of a cached answer in whole seconds.
pub const CACHE_AGE: &str = "x-tollgate-cache-age";
/// Key under which a missed answer can be stored.
pub const CACHE_KEY: &str = "x-tollgate-cache-key";
/// Usage of the answer that a hit returns: `prompt_tokens,completion_tokens,cached_tokens,reasoning_tokens`.
pub const CACHED_USAGE: &str = "x-tollgate-cached-usage";
/// Name of the deployment that answered (to the client).
pub const DEPLOYMENT: &str = "x-tollgate-deployment";
/// How the request came to its deployment (to the client): `routing::explain` says how it is written.
pub const ROUTE: &str = "x-tollgate-route";
/// Number of upstream attempts that this answer took (to the client).
pub const ATTEMPTS: &str = "x-tollgate-attempts";
