//! Keeping what was accepted: printed, then written.
//!
//! Printing comes before writing, and happens in any case if writing fails: whatever the answer is, what was accepted is
//! in the database or on standard output.

use usage::Statement;

use crate::error::Cause;
use crate::platform::{DatabaseFailed, Platform};

/// A batch that was accepted.
pub struct Batch {
    /// What its entries are called in the log: `usage records`, `events`.
    pub what: &'static str,
    /// One line per entry, with its line feed.
    pub lines: Vec<String>,
    /// What writes them, in order; none for an empty batch.
    pub statements: Vec<Statement>,
}

/// Keeps a batch; `stdout` as the document says.
pub async fn keep<P: Platform>(batch: Batch, stdout: bool, platform: &P) -> Result<(), Cause> {
    let Batch { what, lines, statements } = batch;
    let print = || lines.iter().for_each(|line| platform.print(line));
    if stdout {
        print();
    }
    for statement in statements {
        if let Err(DatabaseFailed(reason)) = platform.run(statement).await {
            if !stdout {
                print();
            }
            platform.log(&format!(
                "usage-logger: the database failed, so {} {what} are on standard output only: {reason}",
                lines.len()
            ));
            return Err(Cause::NotStored { what });
        }
    }
    Ok(())
}
