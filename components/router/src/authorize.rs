//! Who is calling: from the presented key to a consumer.

use crate::error::Cause;
use crate::host;
use door::Credential;
use gateway_config::{Consumer, RouterConfig};
use http::HeaderMap;

/// The configuration, and the consumer whose key the request presents.
pub async fn consumer(headers: &HeaderMap) -> Result<(&'static RouterConfig, &'static Consumer), Cause> {
    let config = host::config().await?;
    let key = match door::presented_key(headers) {
        Credential::Key(key) => key,
        Credential::Missing => return Err(Cause::NoKey),
        Credential::Unreadable => return Err(Cause::UnreadableKey),
    };
    let consumer = config.consumers.by_key_digest(&door::key_digest(key)).ok_or(Cause::UnknownKey)?;
    if consumer.local_only && !door::is_loopback_client(headers) {
        return Err(Cause::LocalKeyFromAfar);
    }
    Ok((config, consumer))
}
