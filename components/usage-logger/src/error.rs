//! Every way a request can fail here, and what the caller is told: one exhaustive match.

use bounded_body::ReadError;
use door::NoOperator;
use gateway_config::Problems;
use openai_types::ApiError;
use usage::{BatchError, QueryError};

/// Why a request is not answered. What happened in detail has been logged where it happened.
#[derive(Debug)]
pub enum Cause {
    /// The gateway document has problems.
    Configuration(&'static Problems),
    /// The platform does not give a variable.
    VariableUnreadable { name: &'static str },
    /// No such path.
    UnknownPath,
    /// The path exists, but not with this method.
    MethodNotAllowed { allow: &'static str },
    /// It is an operator's page, and the request no operator's.
    NoOperator(NoOperator),
    /// The body is over the cap.
    BodyTooLarge { max_bytes: usize },
    /// The body ended before its end.
    BodyCutShort,
    /// The body is no batch of records or events.
    BadBatch(BatchError),
    /// The query string is not one of this page.
    BadQuery(QueryError),
    /// The batch was printed, but not written.
    NotStored {
        /// What the batch is of.
        what: &'static str,
    },
    /// The database did not answer a query.
    NotRead,
}

impl Cause {
    /// The error as the caller sees it.
    pub fn to_api_error(&self) -> ApiError {
        match self {
            Cause::Configuration(problems) => ApiError::new(
                500,
                "invalid_configuration",
                format!("The gateway's configuration has problems; its operator must fix them:\n{problems}"),
            ),
            // Not 503: of records, that says that they have been printed.
            Cause::VariableUnreadable { name } => ApiError::new(
                500,
                "variable_unavailable",
                format!("The variable `{name}` cannot be read now."),
            ),
            Cause::UnknownPath => ApiError::new(
                404,
                "not_found",
                "There is nothing here; try /admin/usage, /admin/requests or /admin/events.",
            ),
            Cause::MethodNotAllowed { allow } => {
                ApiError::new(405, "method_not_allowed", format!("This path takes {allow} only."))
            }
            Cause::NoOperator(why) => ApiError::new(why.status(), why.code(), why.message()),
            Cause::BodyTooLarge { max_bytes } => {
                ApiError::new(413, "request_too_large", format!("The body is larger than {max_bytes} bytes."))
            }
            Cause::BodyCutShort => ApiError::new(400, "invalid_request", "The body ended early."),
            Cause::BadBatch(error) => ApiError::new(400, "invalid_request", error.to_string()),
            Cause::BadQuery(error) => {
                let first = error.problems.first().map(|problem| problem.parameter.clone());
                let answer = ApiError::new(400, "invalid_request", error.to_string());
                first.into_iter().fold(answer, ApiError::with_param)
            }
            Cause::NotStored { what } => ApiError::new(
                503,
                "database_unavailable",
                format!(
                    "The database failed. The {what} have been printed on standard output, but cannot be queried."
                ),
            ),
            Cause::NotRead => ApiError::new(
                503,
                "database_unavailable",
                "The database failed. The component's log says how.",
            ),
        }
    }
}

impl<E> From<ReadError<E>> for Cause {
    fn from(error: ReadError<E>) -> Self {
        match error {
            ReadError::TooLarge { max_bytes } => Cause::BodyTooLarge { max_bytes },
            ReadError::Transport(_) => Cause::BodyCutShort,
        }
    }
}

impl From<NoOperator> for Cause {
    fn from(why: NoOperator) -> Self {
        Cause::NoOperator(why)
    }
}

impl From<BatchError> for Cause {
    fn from(error: BatchError) -> Self {
        Cause::BadBatch(error)
    }
}

impl From<QueryError> for Cause {
    fn from(error: QueryError) -> Self {
        Cause::BadQuery(error)
    }
}
