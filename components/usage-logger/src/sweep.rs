//! What follows a batch, after its answer: old records and events are deleted, if it is time.

use usage::Sweep;

use crate::platform::Platform;

/// Sweeps if nobody else does. What goes wrong is logged and left to a later sweep.
pub async fn sweep<P: Platform>(retain_days: u32, now_ms: u64, platform: &P) {
    let run = async |statement| platform.run(statement).await;
    let pause = async || platform.pause().await;
    match usage::sweep(retain_days, now_ms, run, pause).await {
        Ok(None | Some(Sweep { deleted: 0, .. })) => {}
        Ok(Some(Sweep { deleted, is_backlog })) => {
            let rest = if is_backlog { "; there may be more" } else { "" };
            platform
                .log(&format!("usage-logger: deleted {deleted} rows older than {retain_days} days{rest}"));
        }
        Err(error) => platform.log(&format!("usage-logger: old records could not be deleted: {error}")),
    }
}
