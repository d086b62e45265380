//! Statements and values as data, in the few SQLite types that usage records need.

/// Most `?` in a statement: SQLite's default since 3.32 (<https://www.sqlite.org/limits.html#max_variable_number>).
pub(crate) const MAX_PARAMETERS: usize = 32_766;

/// One SQL statement with its positional parameters (`?`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The SQL text. Never contains a value that came from a request.
    pub sql: String,
    /// One per `?`, in order.
    pub parameters: Vec<Value>,
}

impl Statement {
    /// A statement without parameters.
    pub(crate) fn plain(sql: impl Into<String>) -> Self {
        Statement { sql: sql.into(), parameters: Vec::new() }
    }
}

/// A parameter, or a cell of a result row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL `NULL`.
    Null,
    /// SQLite `INTEGER`.
    Integer(i64),
    /// SQLite `TEXT`.
    Text(String),
}

impl Value {
    /// An unsigned count; above `i64::MAX`, which SQLite cannot hold, it becomes `i64::MAX`.
    pub(crate) fn count(count: u64) -> Self {
        Value::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// SQLite has no boolean: 0 or 1.
    pub(crate) fn flag(flag: bool) -> Self {
        Value::Integer(i64::from(flag))
    }
}

/// A result row that does not have the shape its statement promises: the table was made by something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the database returned {found} for {column}, where {expected} was expected")]
pub struct RowError {
    column: &'static str,
    expected: &'static str,
    found: String,
}

/// Reads the cells of one row from left to right.
pub(crate) struct Cells {
    cells: std::vec::IntoIter<Value>,
}

impl Cells {
    pub(crate) fn new(row: Vec<Value>) -> Self {
        Cells { cells: row.into_iter() }
    }

    pub(crate) fn text(&mut self, column: &'static str) -> Result<String, RowError> {
        match self.cells.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(column, "text", other.as_ref())),
        }
    }

    pub(crate) fn optional_integer(&mut self, column: &'static str) -> Result<Option<i64>, RowError> {
        match self.cells.next() {
            Some(Value::Integer(integer)) => Ok(Some(integer)),
            Some(Value::Null) => Ok(None),
            other => Err(wrong(column, "an integer or null", other.as_ref())),
        }
    }

    /// A whole number in the range of `N`.
    pub(crate) fn number<N: TryFrom<i64>>(&mut self, column: &'static str) -> Result<N, RowError> {
        let cell = self.cells.next();
        match &cell {
            Some(Value::Integer(integer)) => N::try_from(*integer).ok(),
            _ => None,
        }
        .ok_or_else(|| wrong(column, "a whole number in range", cell.as_ref()))
    }

    pub(crate) fn optional_number<N: TryFrom<i64>>(
        &mut self,
        column: &'static str,
    ) -> Result<Option<N>, RowError> {
        match self.optional_integer(column)? {
            None => Ok(None),
            Some(integer) => match N::try_from(integer) {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(wrong(column, "a whole number in range", Some(&Value::Integer(integer)))),
            },
        }
    }
}

/// `found` is cut short: a cell may be long, and the message goes to the log.
pub(crate) fn wrong(column: &'static str, expected: &'static str, found: Option<&Value>) -> RowError {
    let found = match found {
        None => "no cell".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::Integer(integer)) => integer.to_string(),
        Some(Value::Text(text)) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
    };
    RowError { column, expected, found }
}
