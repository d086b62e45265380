//! Every way a request can fail here, and what the caller is told: one exhaustive match.

use bounded_body::ReadError;
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
    /// No admin token is set, so nobody is an operator.
    AdminDisabled,
    /// The request carries no token.
    NoAdminToken,
    /// The request carries another token.
    WrongAdminToken,
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
            Cause::AdminDisabled => ApiError::new(
                403,
                "admin_disabled",
                "The operator's pages are off. To turn them on, set the variable `admin_token` to a long random text \
                 (spin up --variable admin_token=...) and send it as `Authorization: Bearer <admin_token>`.",
            ),
            Cause::NoAdminToken => ApiError::new(
                401,
                "invalid_admin_token",
                "This page needs the admin token, sent as `Authorization: Bearer <admin_token>`.",
            ),
            Cause::WrongAdminToken => ApiError::new(
                401,
                "invalid_admin_token",
                "This is not the admin token. It is the value of the variable `admin_token`; an API key does not work here.",
            ),
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
