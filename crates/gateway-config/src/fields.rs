//! Reading one table of a document, field by field.
//!
//! Not serde: a derived `Deserialize` stops at the first unknown key or wrong type, and whoever deploys a gateway
//! wants the whole list. So each table is opened with the keys that it may have, every other key is a problem, each
//! field is read with what it may hold, and reading goes on after a problem. A reader that finds something wrong
//! reports it and returns `None`; the placeholder that then takes its place never leaves this crate, because a report
//! that is not empty is returned instead of the value.

use crate::document::Report;
use crate::names::{NAME_RULE, did_you_mean, is_name, listed, shown};
use std::ops::RangeInclusive;
use toml::de::{DeTable, DeValue};

/// One table of a document, where it stands, and where to report.
pub(crate) struct Fields<'a, 'd> {
    table: &'a DeTable<'d>,
    path: String,
    report: &'a Report,
}

impl<'a, 'd> Fields<'a, 'd> {
    /// A document's own table.
    pub fn root(table: &'a DeTable<'d>, report: &'a Report) -> Self {
        Fields { table, path: String::new(), report }
    }

    /// Where this table stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where a key of this table stands.
    pub fn path_of(&self, key: &str) -> String {
        path_of(&self.path, key)
    }

    /// Reports a problem with a key of this table.
    pub fn refuse(&self, key: &str, message: impl Into<String>) {
        self.report.add(self.path_of(key), message);
    }

    /// The same table, with problems told to `report`: for what another component reads and judges.
    pub fn reporting_to<'b>(&self, report: &'b Report) -> Fields<'b, 'd>
    where
        'a: 'b,
    {
        Fields { table: self.table, path: self.path.clone(), report }
    }

    /// Where readers of this document report.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    fn value(&self, key: &str) -> Option<&'a DeValue<'d>> {
        self.table.get(key).map(|value| value.get_ref())
    }

    /// Whether the key is there, whatever it holds.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// All keys of this table.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a, 'd> {
        self.table.keys().map(|key| key.get_ref().as_ref())
    }

    /// Reports every key that is not one of `known`.
    pub fn refuse_unknown_keys(&self, what: &str, known: &[&str]) {
        for key in self.keys().filter(|key| !known.contains(key)) {
            let hint = did_you_mean(key, known.iter().copied());
            self.refuse(key, format!("is not {what}; allowed: {}{hint}", known.join(", ")));
        }
    }

    fn wrong_type(&self, key: &str, value: &DeValue<'_>, expected: &str) {
        self.refuse(key, format!("is {}, must be {expected}", described(value)));
    }

    /// A string, without a report when it is something else.
    pub fn peek_text(&self, key: &str) -> Option<&'a str> {
        self.value(key)?.as_str()
    }

    /// A string.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.value(key)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong_type(key, value, "a string");
        }
        text
    }

    /// A string that must be there.
    pub fn required_text(&self, key: &str) -> Option<&'a str> {
        if !self.has(key) {
            self.refuse(key, "is missing");
        }
        self.text(key)
    }

    /// A string that is a name.
    pub fn name(&self, key: &str) -> Option<String> {
        let text = self.text(key)?;
        if !is_name(text) {
            self.refuse(key, format!("is {}, {NAME_RULE}", shown(text)));
        }
        Some(text.to_owned())
    }

    /// A name that must be there and that none of `taken` has; adds it to them.
    pub fn unique_name(&self, key: &str, taken: &mut Taken<'a>) -> Option<String> {
        let text = self.required_text(key)?;
        if !is_name(text) {
            self.refuse(key, format!("is {}, {NAME_RULE}", shown(text)));
        }
        self.claim(key, text, taken);
        Some(text.to_owned())
    }

    /// Reports that another table has this value already, or notes that this one has it.
    pub fn claim(&self, key: &str, text: &'a str, taken: &mut Taken<'a>) {
        match taken.get(text) {
            Some(first) => {
                self.refuse(key, format!("is {}, which {first} has too; must be unique", shown(text)))
            }
            None => {
                taken.insert(text, self.path.clone());
            }
        }
    }

    /// A whole number within `range`.
    pub fn integer(&self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        let Some(integer) = value.as_integer() else {
            self.wrong_type(key, value, &allowed());
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix());
        let number = number.ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong_type(key, value, &allowed());
        }
        number
    }

    /// A number as it is written, with a point or without.
    pub fn decimal(&self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            DeValue::Float(float) => Some(float.as_str()),
            DeValue::Integer(integer) if integer.radix() == 10 => Some(integer.as_str()),
            other => {
                self.wrong_type(key, other, "a decimal number");
                None
            }
        }
    }

    /// A list of numbers as they are written, each with where it stands; others are reported and left out.
    pub fn decimals(&self, key: &str) -> Option<Vec<(String, &'a str)>> {
        let value = self.value(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(key, value, "a list of decimal numbers");
            return None;
        };
        let mut numbers = Vec::with_capacity(array.len());
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            match item.get_ref() {
                DeValue::Float(float) => numbers.push((path, float.as_str())),
                DeValue::Integer(integer) if integer.radix() == 10 => numbers.push((path, integer.as_str())),
                other => self.report.add(path, format!("is {}, must be a decimal number", described(other))),
            }
        }
        Some(numbers)
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.wrong_type(key, value, "true or false");
        }
        flag
    }

    /// A list of strings, each with where it stands; those that are no strings are reported and left out.
    pub fn texts(&self, key: &str) -> Option<Vec<(String, &'a str)>> {
        let value = self.value(key)?;
        let Some(array) = value.as_array() else {
            self.wrong_type(key, value, "a list of strings");
            return None;
        };
        let mut texts = Vec::with_capacity(array.len());
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            match item.get_ref().as_str() {
                Some(text) => texts.push((path, text)),
                None => {
                    self.report.add(path, format!("is {}, must be a string", described(item.get_ref())));
                }
            }
        }
        Some(texts)
    }

    /// A table with these keys.
    pub fn table(&self, key: &str, known: &[&str]) -> Option<Fields<'a, 'd>> {
        let fields = self.open_table(key)?;
        fields.refuse_unknown_keys(&format!("a key of [{}]", shape(&fields.path)), known);
        Some(fields)
    }

    /// A table whose keys the document chooses.
    pub fn open_table(&self, key: &str) -> Option<Fields<'a, 'd>> {
        let value = self.value(key)?;
        let Some(table) = value.as_table() else {
            self.wrong_type(key, value, "a table");
            return None;
        };
        Some(Fields { table, path: self.path_of(key), report: self.report })
    }

    /// `[[key]]`: tables with these keys; empty when there is none. Those that are no tables are reported and left out.
    pub fn tables(&self, key: &str, known: &[&str]) -> Vec<Fields<'a, 'd>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let what = shape(&self.path_of(key));
        let Some(array) = value.as_array() else {
            self.wrong_type(key, value, &format!("a list of tables, each written as [[{what}]]"));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(array.len());
        for (index, item) in array.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            match item.get_ref().as_table() {
                Some(table) => {
                    let fields = Fields { table, path, report: self.report };
                    fields.refuse_unknown_keys(&format!("a key of [[{what}]]"), known);
                    tables.push(fields);
                }
                None => self.report.add(path, format!("is {}, must be a table", described(item.get_ref()))),
            }
        }
        tables
    }
}

/// Where a key of the table at `path` stands, quoted as in TOML where it must be.
pub(crate) fn path_of(path: &str, key: &str) -> String {
    let is_bare = is_name(key) && !key.contains('.');
    let key = if is_bare { key.to_owned() } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A decimal number as a whole number of its `decimals`-th places, exactly: 2.5 with 3 is 2,500. `None` for a negative one,
/// an exponent, more places, or what does not fit.
pub(crate) fn scaled(text: &str, decimals: usize) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.strip_prefix('+').unwrap_or(whole);
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(places) || places.len() > decimals {
        return None;
    }
    format!("{whole}{places:0<decimals$}").parse().ok()
}

/// Values that must be unique, with the table that has each.
pub(crate) type Taken<'a> = std::collections::HashMap<&'a str, String>;

/// A path without its indexes: `models.deployments`, as the table's header is written.
fn shape(path: &str) -> String {
    let mut shape = String::with_capacity(path.len());
    let mut is_index = false;
    for c in path.chars() {
        match c {
            '[' => is_index = true,
            ']' => is_index = false,
            _ if !is_index => shape.push(c),
            _ => {}
        }
    }
    shape
}

/// A value for a problem's text: itself if it is short, else what it is.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => shown(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Names for a problem's text.
pub(crate) fn unknown_name<'n>(
    text: &str,
    what: &str,
    names: impl IntoIterator<Item = &'n str> + Clone,
) -> String {
    let hint = did_you_mean(text, names.clone());
    format!("is {}, which is not {what}; there is {}{hint}", shown(text), listed(names))
}
