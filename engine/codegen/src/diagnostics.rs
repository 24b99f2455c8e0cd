//! Faults of a schema, with their places in its source.
//!
//! Owns [`SdlErrors`] and the collector [`Faults`]. Does not find faults.
//!
//! Invariants: 1. faults are in the order of their places; 2. a span lies within the source, on character boundaries.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use apollo_compiler::parser::SourceSpan;

/// Faults after which collecting stops: the rest would be consequences of the first ones.
const FAULTS_MAX: usize = 100;

/// Longest source line that is printed below a fault, in characters; longer ones are machine-made.
const LINE_SHOWN_MAX: usize = 240;

/// One fault of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SdlError {
    /// What is wrong.
    pub message: String,
    /// What to change; belongs to the place that `span` marks.
    pub label: String,
    /// The place, as byte offsets into the source.
    pub span: Range<usize>,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
}

/// Everything that is wrong with a schema, in the order of the source, with the source itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdlErrors {
    name: String,
    source: Arc<str>,
    errors: Vec<SdlError>,
}

impl SdlErrors {
    /// Name of the source, such as `schema.graphql`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole source, into which the spans point.
    pub fn source_text(&self) -> &str {
        &self.source
    }

    /// The faults; never empty.
    pub fn iter(&self) -> std::slice::Iter<'_, SdlError> {
        self.errors.iter()
    }

    fn write_error(&self, error: &SdlError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SdlError {
            message,
            label,
            span,
            line,
            column,
        } = error;
        write!(f, "{}:{line}:{column}: {message}", self.name)?;
        let text = self.source.lines().nth(line - 1).unwrap_or("");
        if text.chars().count() > LINE_SHOWN_MAX {
            return write!(f, " ({label})");
        }
        let gutter = " ".repeat(line.to_string().len());
        // A tab stays a tab, so that the caret stands under its character whatever the width of tabs.
        let pad: String = text
            .chars()
            .take(column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let marked = self.source[span.clone()]
            .lines()
            .next()
            .unwrap_or("")
            .chars()
            .count();
        let carets = "^".repeat(marked.max(1));
        write!(
            f,
            "\n{gutter} |\n{line} | {text}\n{gutter} | {pad}{carets} {label}"
        )
    }
}

impl<'a> IntoIterator for &'a SdlErrors {
    type Item = &'a SdlError;
    type IntoIter = std::slice::Iter<'a, SdlError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for SdlErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            self.write_error(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SdlErrors {}

/// Collects faults of one source.
pub(crate) struct Faults {
    name: String,
    source: Arc<str>,
    errors: Vec<SdlError>,
}

impl Faults {
    pub(crate) fn new(name: &str, source: &str) -> Self {
        Self {
            name: name.to_owned(),
            source: source.into(),
            errors: Vec::new(),
        }
    }

    /// Notes a fault at a node of the source; a node without a place stands for the beginning.
    pub(crate) fn at(
        &mut self,
        place: Option<SourceSpan>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) {
        let span = place.map_or(0..0, |place| place.offset()..place.end_offset());
        self.at_span(span, message, label);
    }

    /// Notes a fault at byte offsets, which are brought into the source if need be.
    pub(crate) fn at_span(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
    ) {
        let start = floor_char_boundary(&self.source, span.start);
        let end = floor_char_boundary(&self.source, span.end.max(start));
        let before = &self.source[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let error = SdlError {
            message: message.into(),
            label: label.into(),
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        };
        if self.errors.len() < FAULTS_MAX && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The faults in the order of the source.
    pub(crate) fn into_errors(mut self) -> SdlErrors {
        self.errors
            .sort_by_key(|error| (error.span.start, error.span.end));
        SdlErrors {
            name: self.name,
            source: self.source,
            errors: self.errors,
        }
    }
}

/// The nearest character boundary at or before the offset.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut at = offset.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_its_line_with_a_caret() {
        let mut faults = Faults::new("schema.graphql", "type A {\n\tü: Strin # é\n}\n");
        faults.at_span(14..19, "the type `Strin` is unknown", "did you mean `String`?");
        faults.at_span(0..4, "first", "here");
        let shown = faults.into_errors().to_string();
        assert_eq!(
            shown,
            "schema.graphql:1:1: first\n  |\n1 | type A {\n  | ^^^^ here\n\n\
             schema.graphql:2:5: the type `Strin` is unknown\n  |\n2 | \tü: Strin # é\n  | \t   ^^^^^ did you mean `String`?"
        );
    }

    #[test]
    fn places_outside_the_source_and_inside_a_character_are_harmless() {
        let mut faults = Faults::new("x", "é");
        faults.at_span(1..900, "m", "l");
        let errors = faults.into_errors();
        assert_eq!(errors.iter().next().map(|error| error.span.clone()), Some(0..2));
    }

    #[test]
    fn collecting_stops_at_the_bound_and_drops_repetitions() {
        let mut faults = Faults::new("x", "abc");
        for n in 0..FAULTS_MAX * 2 {
            faults.at_span(0..1, "same", "same");
            faults.at_span(0..1, format!("{n}"), "");
        }
        assert_eq!(faults.into_errors().iter().len(), FAULTS_MAX);
    }
}
