//! What the routes need of the platform, so that they run in a native test without it.

use usage::{Statement, Value};

/// The platform as the routes see it.
pub trait Platform {
    /// Runs one short statement and returns its rows; those that run at the same time wait for each other.
    async fn run(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed>;
    /// Runs one statement that may take long, so that none of [`Platform::run`] waits for it.
    async fn run_apart(&self, statement: Statement) -> Result<Vec<Vec<Value>>, DatabaseFailed>;
    /// Lets others to the database for a moment.
    async fn pause(&self);
    /// Writes a line (with its line feed) to standard output, where usage records go.
    fn print(&self, line: &str);
    /// Writes a line (without line feed) to standard error, where the operator is told what went wrong.
    fn log(&self, line: &str);
}

/// Why the database did not do what it was asked, in its own words. For the log, not for answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseFailed(pub String);

impl std::fmt::Display for DatabaseFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
