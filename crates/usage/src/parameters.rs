//! Query parameters, read by name, with everything wrong about them collected.

use std::fmt;

/// Everything that is wrong with a query string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct QueryError {
    /// At least one.
    pub problems: Vec<QueryProblem>,
}

/// One parameter that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryProblem {
    /// Its name as the client wrote it, cut to 40 characters.
    pub parameter: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl fmt::Display for QueryProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.parameter, self.message)
    }
}

/// The parameters of one request, taken out one by one; what is left at the end is unknown.
pub(crate) struct Parameters {
    left: Vec<(String, String)>,
    problems: Vec<QueryProblem>,
}

impl Parameters {
    /// Splits `a=1&b=2` and decodes it as `application/x-www-form-urlencoded`.
    pub(crate) fn of(query: &str) -> Self {
        Parameters {
            left: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            problems: Vec::new(),
        }
    }

    /// The value of `name`; given twice, that is a problem.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let mut values: Vec<_> = self.left.extract_if(.., |(given, _)| given == name).collect();
        if values.len() > 1 {
            self.refuse(name, "is given more than once");
        }
        values.pop().map(|(_, value)| value)
    }

    /// The value of `name` as `parse` reads it, or a problem that says what is `allowed`.
    pub(crate) fn take_parsed<T>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let parsed = parse(&value);
        if parsed.is_none() {
            self.refuse(name, format!("is {:?}; must be {allowed}", shown(&value)));
        }
        parsed
    }

    pub(crate) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(QueryProblem { parameter: shown(name), message: message.into() });
    }

    /// `value`, if nothing was wrong and nothing unknown is left.
    pub(crate) fn finish<T>(mut self, value: T, known: &[&str]) -> Result<T, QueryError> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.refuse(&name, format!("is unknown; known are {}", known.join(", ")));
        }
        if self.problems.is_empty() { Ok(value) } else { Err(QueryError { problems: self.problems }) }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
