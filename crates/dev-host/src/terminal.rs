//! What the host says while it serves. Saying it must never fail a request, whoever closed the terminal.

use std::fmt;
use std::io::{self, Write as _};

/// Writes a line to standard error, if anyone still reads it.
pub fn report(message: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{message}");
}
