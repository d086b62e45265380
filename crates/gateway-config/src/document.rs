//! A TOML document: its syntax, its sections, and where problems with it are reported.

use crate::Problems;
use crate::fields::Fields;
use std::cell::RefCell;
use toml::de::DeTable;

/// Sections that a `gateway` document may have.
pub(crate) const SECTIONS: &[&str] = &[
    "backends",
    "models",
    "consumers",
    "limits",
    "limiter",
    "cache",
    "pricing",
    "logging",
    "bounds",
    "defaults",
    "routes",
    "regions",
];

/// Syntax errors that are told one by one: a file that is no TOML at all has one on every line.
const SYNTAX_ERRORS_MAX: usize = 20;

/// Where every reader reports what is wrong.
#[derive(Default)]
pub(crate) struct Report(RefCell<Problems>);

impl Report {
    pub fn add(&self, path: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(path, message);
    }

    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// The value if nothing was wrong.
    pub fn finish<T>(self, value: T) -> Result<T, Problems> {
        let problems = self.0.into_inner();
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }
}

/// A document that is valid TOML.
pub(crate) struct Document<'d> {
    root: DeTable<'d>,
    pub is_built_in: bool,
}

impl<'d> Document<'d> {
    /// Parses the `gateway` document; one that says nothing is the built-in one. `None` when it is not TOML.
    pub fn gateway(text: &'d str, report: &Report) -> Option<Self> {
        let root = parse("gateway", text, report)?;
        if root.is_empty() {
            return Some(Document { root: parse("gateway", crate::BUILT_IN, report)?, is_built_in: true });
        }
        let document = Document { root, is_built_in: false };
        document.root(report).refuse_unknown_keys("a section of the document", SECTIONS);
        Some(document)
    }

    /// Parses the `secrets` document. `None` when it is not TOML.
    pub fn secrets(text: &'d str, report: &Report) -> Option<Self> {
        Some(Document { root: parse("secrets", text, report)?, is_built_in: false })
    }

    /// The document's own table.
    pub fn root<'a>(&'a self, report: &'a Report) -> Fields<'a, 'd> {
        Fields::root(&self.root, report)
    }
}

fn parse<'d>(name: &str, text: &'d str, report: &Report) -> Option<DeTable<'d>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(root.into_inner());
    }
    let mut told: Vec<String> = Vec::new();
    for error in errors {
        // The error's own `Display` would repeat the line, which may hold a secret.
        let (line, column) = position(text, error.span().map_or(text.len(), |span| span.start));
        let message = format!("line {line}, column {column}: not TOML: {}", error.message());
        // The parser may trip more than once over the same byte.
        if !told.contains(&message) {
            told.push(message);
        }
    }
    let more = told.len().saturating_sub(SYNTAX_ERRORS_MAX);
    told.into_iter().take(SYNTAX_ERRORS_MAX).for_each(|message| report.add(name, message));
    if more > 0 {
        report.add(name, format!("is not TOML in {more} more places"));
    }
    None
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}
