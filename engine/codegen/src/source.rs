//! Schemas in whichever form they come: SDL, introspection JSON, or the module that Amplify generates for JavaScript.
//!
//! Owns the choice between the forms, and the places of faults in JSON. The forms themselves are read by `sdl.rs` and
//! by `landfall-core`.

use std::ops::Range;

use landfall_core::{IntrospectionError, Schema, schema_from_json};
use serde_json::Value as Json;

use crate::diagnostics::{Faults, SdlErrors};
use crate::sdl::parse_sdl;

/// How the module `schema.js` that Amplify generates begins.
const MODULE_PREFIX: &str = "export const schema =";

/// Reads a schema from SDL or from introspection JSON, told apart by the first character that is not blank.
///
/// The module `schema.js` of Amplify's JavaScript generator is read too.
///
/// # Errors
/// Every fault found, with its place in the source and what to change.
pub fn parse_schema(name: &str, text: &str) -> Result<Schema, SdlErrors> {
    match form(text) {
        Form::Sdl(sdl) => parse_sdl(name, sdl),
        Form::Json(json) => parse_json(name, text, json),
    }
}

/// A source by its form.
pub(crate) enum Form<'t> {
    /// GraphQL SDL.
    Sdl(&'t str),
    /// Introspection JSON, without what stands around it.
    Json(&'t str),
}

/// Tells the form of a source by its beginning.
pub(crate) fn form(text: &str) -> Form<'_> {
    let begins = text.trim_start_matches('\u{feff}').trim_start();
    if begins.starts_with('{') {
        return Form::Json(text.trim_start_matches('\u{feff}'));
    }
    match begins.strip_prefix(MODULE_PREFIX) {
        Some(module) => Form::Json(module.trim_end().trim_end_matches(';')),
        None => Form::Sdl(text),
    }
}

/// Reads JSON that is a part of the source.
fn parse_json(name: &str, source: &str, json: &str) -> Result<Schema, SdlErrors> {
    let mut faults = Faults::new(name, source);
    let offset = json.as_ptr() as usize - source.as_ptr() as usize;
    match serde_json::from_str::<Json>(json) {
        Err(error) => {
            let at = offset + byte_offset(json, error.line(), error.column());
            let label = if error.is_eof() {
                "something is missing at the end; copy the whole file, or write it anew with `landfall modelgen --introspection`"
            } else {
                "correct it, or write the file anew with `landfall modelgen --introspection`"
            };
            faults.at_span(at..at + 1, format!("the text is not JSON: {error}"), label);
        }
        Ok(document) => match schema_from_json(&document) {
            Ok(schema) => return Ok(schema),
            Err(errors) => {
                for IntrospectionError { path, message } in errors {
                    let span = locate(json, &path).unwrap_or(0..0);
                    let span = offset + span.start..offset + span.end;
                    let label = "correct it, or write the file anew with `landfall modelgen --introspection`";
                    faults.at_span(span, format!("{path}: {message}"), label);
                }
            }
        },
    }
    Err(faults.into_errors())
}

/// The byte offset of a line and column, both from 1 and the column in bytes, as `serde_json` gives them.
fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column.saturating_sub(1)
}

/// The member that a path such as `models.Post.fields.title` leads to, or the last one on the way that is there.
fn locate(json: &str, path: &str) -> Option<Range<usize>> {
    let mut scanner = Scanner {
        bytes: json.as_bytes(),
        at: 0,
    };
    let mut found = None;
    for segment in path.split(['.', '[']) {
        match scanner.member(segment) {
            Some(span) => found = Some(span),
            // Documents of a backend have the schema further in.
            None if found.is_none() => {
                scanner = Scanner {
                    bytes: json.as_bytes(),
                    at: 0,
                };
                scanner.member("data")?;
                scanner.member("model_introspection")?;
                found = Some(scanner.member(segment)?);
            }
            None => break,
        }
    }
    found
}

/// Walks through JSON that is known to be valid.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Moves to the value of a member of the object that comes next; the span is that of its key.
    fn member(&mut self, key: &str) -> Option<Range<usize>> {
        self.skip_blank();
        if self.bytes.get(self.at) != Some(&b'{') {
            return None;
        }
        self.at += 1;
        loop {
            self.skip_blank();
            if self.bytes.get(self.at) != Some(&b'"') {
                return None;
            }
            let start = self.at;
            self.skip_value();
            let span = start..self.at;
            self.skip_blank();
            self.at += 1; // the colon
            if self.bytes.get(start + 1..span.end - 1) == Some(key.as_bytes()) {
                return Some(span);
            }
            self.skip_value();
            self.skip_blank();
            if self.bytes.get(self.at) != Some(&b',') {
                return None;
            }
            self.at += 1;
        }
    }

    fn skip_blank(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    /// Moves behind the value that comes next.
    fn skip_value(&mut self) {
        self.skip_blank();
        let mut depth = 0_usize;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_text();
                    if depth == 0 {
                        return;
                    }
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return;
                    }
                }
                b',' if depth == 0 => return,
                _ => {}
            }
            self.at += 1;
        }
    }

    fn skip_text(&mut self) {
        self.at += 1;
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
  "version": 1,
  "models": {
    "Post": {
      "name": "Post", "pluralName": "Posts", "attributes": [],
      "fields": {
        "id": {"name": "id", "isArray": false, "type": "ID", "isRequired": true, "attributes": []},
        "title": {"name": "title", "isArray": false, "type": "String", "isRequired": false, "attributes": []}
      }
    }
  }
}"#;

    fn first_line(text: &str) -> String {
        let errors = parse_schema("schema.json", text)
            .expect_err("a fault")
            .to_string();
        errors.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn the_form_is_told_by_the_first_character() {
        let sdl = parse_schema("s", "type Post @model { title: String }").expect("SDL");
        let json = parse_schema("s", &format!("\n  {DOCUMENT}")).expect("JSON");
        let module = parse_schema("s", &format!("export const schema = {DOCUMENT};\n")).expect("a module");
        assert_eq!(json, module);
        assert_eq!(sdl.models().len(), json.models().len());
        assert_eq!(
            parse_schema("s", &format!("\u{feff}{DOCUMENT}")).expect("JSON"),
            json
        );
        assert_eq!(
            parse_schema("s", "\u{feff}type Post @model { title: String }").expect("SDL"),
            sdl
        );
    }

    #[test]
    fn faults_in_json_have_places() {
        assert_eq!(
            first_line(&DOCUMENT.replace("\"String\"", "\"Text\"")),
            "schema.json:8:9: models.Post.fields.title: has the unknown scalar type `Text`"
        );
        let wrapped = format!(
            "{{\"data\": {{\"model_introspection\": {}}}}}",
            DOCUMENT.replace("\"ID\"", "\"Id\"")
        );
        assert!(
            first_line(&wrapped).starts_with("schema.json:7:9: models.Post.fields.id"),
            "{}",
            first_line(&wrapped)
        );
        let cut = first_line(&DOCUMENT[..DOCUMENT.len() - 1]);
        assert!(
            cut.starts_with("schema.json:12:1: the text is not JSON: EOF"),
            "{cut}"
        );
    }
}
