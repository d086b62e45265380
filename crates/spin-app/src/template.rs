//! Text with `{{ variable }}` expressions, as the manifest allows it in component variables and in
//! `allowed_outbound_hosts`. Decides where an expression starts and ends; values come from the caller.
//!
//! The grammar is the one of Spin's `spin-expressions` crate: no escaping, an expression ends at the first `}}`.

use std::fmt;

/// A parsed template: literal text and variable names, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Variable(String),
}

/// Why a text is not a template, or a template has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{{` without a `}}` after it.
    #[error("unmatched '{{{{' in template")]
    Unmatched,
    /// The variable is not declared under `[variables]`.
    #[error("unknown variable {0:?}")]
    UnknownVariable(String),
}

impl Template {
    /// Parses `text`; text without `{{` is one literal.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let (name, tail) = after.split_once("}}").ok_or(TemplateError::Unmatched)?;
            parts.push(Part::Variable(name.trim().to_owned()));
            rest = tail;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// Whether the template has the same value whatever the variables are.
    pub fn is_literal(&self) -> bool {
        self.variables().next().is_none()
    }

    /// The names of the variables, in order, repeated where the template repeats them.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text with every expression replaced by what `value_of` returns for its name.
    pub fn render<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Variable(name) => {
                    text.push_str(value_of(name).ok_or_else(|| TemplateError::UnknownVariable(name.clone()))?)
                }
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Literal(literal) => f.write_str(literal),
            Part::Variable(name) => write!(f, "{{{{ {name} }}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_every_expression() {
        for (text, expected) in [
            ("", Ok("")),
            ("plain", Ok("plain")),
            ("{{a}}", Ok("1")),
            ("{{ a }}-{{b}}", Ok("1-")),
            ("x{{ a }}y}}", Ok("x1y}}")),
            ("{{ c }}", Err(TemplateError::UnknownVariable("c".into()))),
        ] {
            let template = Template::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let rendered = template.render(|name| match name {
                "a" => Some("1"),
                "b" => Some(""),
                _ => None,
            });
            assert_eq!(rendered.as_deref(), expected.as_ref().copied(), "{text}");
        }
    }

    #[test]
    fn refuses_an_open_expression() {
        assert_eq!(Template::parse("a{{ b }"), Err(TemplateError::Unmatched));
    }
}
