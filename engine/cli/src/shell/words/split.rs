//! A typed line as words.
//!
//! Owns quotes, and what holds a word together. A word remembers what was quoted: quoted text is text, never a keyword
//! and never JSON.

use super::super::values::Fault;

/// A word of a typed line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    text: String,
    /// Where the first quoted text in it begins.
    quoted_from: Option<usize>,
}

impl Word {
    /// What it says, with or without quotes.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What it says if nothing of it is quoted, so that it may be a keyword or JSON.
    pub(super) fn bare(&self) -> Option<&str> {
        self.quoted_from.is_none().then_some(self.text.as_str())
    }

    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.bare() == Some(keyword)
    }

    /// The two sides of the first `=`.
    pub(super) fn pair(&self) -> Option<(&str, Self)> {
        let (name, text) = self.text.split_once('=')?;
        let value = Self {
            text: text.to_owned(),
            quoted_from: self.quoted_from.map(|from| from.saturating_sub(name.len() + 1)),
        };
        Some((name, value))
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.quoted_from.is_none()
    }
}

/// Splits a line into words. Quotes keep blanks, JSON in braces or brackets is one word, and in a condition (after
/// `where` or `if`) parentheses are words of their own.
pub(super) fn split(line: &str) -> Result<Vec<Word>, Fault> {
    read(line, false)
}

/// As [`split`], for a line that is a condition from its beginning.
pub(super) fn split_condition(line: &str) -> Result<Vec<Word>, Fault> {
    read(line, true)
}

fn read(line: &str, mut in_condition: bool) -> Result<Vec<Word>, Fault> {
    let mut words: Vec<Word> = Vec::new();
    let mut word = Word::default();
    let mut depth = 0_usize;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' => {
                let (text, end) = quoted(rest)?;
                if depth > 0 {
                    // Inside brackets the quotes are part of the JSON.
                    word.text.push_str(&rest[..end]);
                } else {
                    word.quoted_from = word.quoted_from.or(Some(word.text.len()));
                    word.text.push_str(&text);
                }
                rest = &rest[end..];
                continue;
            }
            c if c.is_whitespace() && depth == 0 => {
                in_condition |= word.is("where") || word.is("if");
                finish(&mut words, &mut word);
            }
            '(' if in_condition && depth == 0 && word.is_empty() => {
                words.push(parenthesis('('));
            }
            ')' if in_condition && depth == 0 && !closes_its_own(&word) => {
                finish(&mut words, &mut word);
                words.push(parenthesis(')'));
            }
            c => {
                depth = match c {
                    '{' | '[' => depth + 1,
                    '}' | ']' => depth.saturating_sub(1),
                    _ => depth,
                };
                word.text.push(c);
            }
        }
        rest = after;
    }
    if depth > 0 {
        return Err("a bracket is not closed; quote a text that has one in it".to_owned());
    }
    finish(&mut words, &mut word);
    Ok(words)
}

fn finish(words: &mut Vec<Word>, word: &mut Word) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

fn parenthesis(c: char) -> Word {
    Word {
        text: c.to_string(),
        quoted_from: None,
    }
}

/// Whether the word has an open parenthesis of its own, as `f(x` has.
fn closes_its_own(word: &Word) -> bool {
    let count = |wanted| word.text.matches(wanted).count();
    word.quoted_from.is_none() && count('(') > count(')')
}

/// The quoted text at the beginning of `rest`, and where it ends. Within quotes the escapes are those of JSON.
fn quoted(rest: &str) -> Result<(String, usize), Fault> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => {
                let end = at + 1;
                // A tab that was typed or pasted is one; JSON wants it escaped.
                let json = rest[..end].replace('\t', "\\t");
                let text = serde_json::from_str(&json).map_err(|_| {
                    format!(
                        "{} has an escape that JSON does not know; write \\ twice",
                        &rest[..end]
                    )
                })?;
                return Ok((text, end));
            }
            _ => escaped = false,
        }
    }
    Err("a quote is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[Word]) -> Vec<String> {
        let show = |word: &Word| match word.quoted_from {
            Some(from) => format!("{}~{from}", word.text),
            None => word.text.clone(),
        };
        words.iter().map(show).collect()
    }

    #[test]
    fn words_know_what_was_quoted() {
        for (line, expected) in [
            ("  save  Post ", vec!["save", "Post"]),
            (r#"a "b c" d="e f" """#, vec!["a", "b c~0", "d=e f~2", "~0"]),
            (
                r#"tags=["a","b c"] {"x": [1, 2]}"#,
                vec![r#"tags=["a","b c"]"#, r#"{"x": [1, 2]}"#],
            ),
            (r#"["a\"b]", 1]"#, vec![r#"["a\"b]", 1]"#]),
            (r#""a\"b\\\u00e9" x"#, vec!["a\"b\\\u{e9}~0", "x"]),
            ("name=:) (b)", vec!["name=:)", "(b)"]),
            (
                "x where (a eq f(1)) and (b eq \")\")",
                vec![
                    "x", "where", "(", "a", "eq", "f(1)", ")", "and", "(", "b", "eq", ")~0", ")",
                ],
            ),
        ] {
            assert_eq!(shown(&split(line).unwrap()), expected, "{line}");
        }
        assert_eq!(
            shown(&split_condition("(a eq 1)").unwrap()),
            ["(", "a", "eq", "1", ")"]
        );
    }

    #[test]
    fn pairs_keep_the_quotes_of_their_value() {
        let pair = |line: &str| {
            let words = split(line).unwrap();
            let (name, value) = words[0].pair().unwrap();
            (name.to_owned(), value.bare().is_some(), value.text)
        };
        assert_eq!(pair("a=5"), ("a".to_owned(), true, "5".to_owned()));
        assert_eq!(pair("a=\"5\""), ("a".to_owned(), false, "5".to_owned()));
        assert_eq!(pair("a=x=\"5\""), ("a".to_owned(), false, "x=5".to_owned()));
        assert_eq!(pair("\"a=5\""), ("a".to_owned(), false, "5".to_owned()));
    }

    #[test]
    fn what_is_left_open_is_said() {
        for (line, hint) in [
            ("a \"b", "quote"),
            ("a \"b\\\"", "quote"),
            ("a=[1", "bracket"),
            (r#""C:\dir""#, "twice"),
        ] {
            let fault = split(line).unwrap_err();
            assert!(fault.contains(hint), "{line}: {fault}");
        }
    }
}
