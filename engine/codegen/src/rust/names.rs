//! Rust names for the names of a schema.
//!
//! Owns the change of case, keywords, and clashes. Invariant: names that [`Scope`] gave out differ from each other.

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span};

/// Keywords that can be names when written raw, such as `r#type`.
const KEYWORDS: [&str; 48] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait",
    "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Words that cannot be names in any writing.
const RESERVED: [&str; 5] = ["self", "Self", "super", "crate", "_"];

/// Names that are taken in one place of the generated code.
pub(super) struct Scope(BTreeSet<String>);

impl Scope {
    /// A scope in which these names are taken from the beginning.
    pub(super) fn with(taken: &[&str]) -> Self {
        Self(taken.iter().map(|name| (*name).to_owned()).collect())
    }

    /// Takes the name, with underscores at the end if it is taken already.
    pub(super) fn take(&mut self, name: &str) -> Ident {
        let mut name = if RESERVED.contains(&name) {
            format!("{name}_")
        } else {
            name.to_owned()
        };
        while !self.0.insert(name.clone()) {
            name.push('_');
        }
        ident(&name)
    }
}

/// A name as an identifier, raw if it is a keyword.
fn ident(name: &str) -> Ident {
    if KEYWORDS.contains(&name) {
        Ident::new_raw(name, Span::call_site())
    } else {
        Ident::new(name, Span::call_site())
    }
}

/// `blogId` becomes `blog_id`, `userID` becomes `user_id`.
pub(super) fn snake(name: &str) -> String {
    let chars: Vec<char> = cleaned(name).chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let after = chars.get(at + 1);
        let begins_word = c.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || (b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase))
            });
        if begins_word {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// `IN_PROGRESS`, `in_progress` and `inProgress` become `InProgress`.
pub(super) fn pascal(name: &str) -> String {
    let cleaned = cleaned(name);
    let words = cleaned.split('_').filter(|word| !word.is_empty());
    let pascal: String = words
        .map(|word| {
            let (first, rest) = word.split_at(1);
            let shouted = word.len() > 1 && !word.bytes().any(|b| b.is_ascii_lowercase());
            let rest = if shouted {
                rest.to_ascii_lowercase()
            } else {
                rest.to_owned()
            };
            format!("{}{rest}", first.to_ascii_uppercase())
        })
        .collect();
    if pascal.starts_with(|c: char| c.is_ascii_alphabetic()) {
        pascal
    } else {
        format!("V{pascal}")
    }
}

/// The name of a type: kept if it begins as types do, so that `FAQ` stays `FAQ`.
pub(super) fn type_name(name: &str) -> String {
    let fits =
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits { name.to_owned() } else { pascal(name) }
}

/// GraphQL names pass through; schemas that were built in code may have others.
fn cleaned(name: &str) -> String {
    let cleaned: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if cleaned.starts_with(|c: char| c.is_ascii_digit()) || cleaned.is_empty() {
        format!("_{cleaned}")
    } else {
        cleaned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_in_snake_case() {
        for (name, expected) in [
            ("blogId", "blog_id"),
            ("userID", "user_id"),
            ("HTTPServer2Go", "http_server2_go"),
            ("camelCASE_Mix2", "camel_case_mix2"),
            ("_private", "_private"),
            ("already_snake", "already_snake"),
            ("na\u{ef}ve-1", "na_ve_1"),
            ("2nd", "_2nd"),
        ] {
            assert_eq!(snake(name), expected);
        }
    }

    #[test]
    fn types_and_values_are_in_pascal_case() {
        for (name, expected) in [
            ("DRAFT", "Draft"),
            ("IN_PROGRESS", "InProgress"),
            ("inProgress", "InProgress"),
            ("second_kind", "SecondKind"),
            ("A", "A"),
            ("_1", "V1"),
            ("__", "V"),
        ] {
            assert_eq!(pascal(name), expected);
        }
        assert_eq!(
            (type_name("FAQ"), type_name("todo"), type_name("blog_post")),
            ("FAQ".into(), "Todo".into(), "BlogPost".into())
        );
    }

    #[test]
    fn keywords_and_clashes_have_a_way_out() {
        let mut scope = Scope::with(&["builder"]);
        let names = ["type", "self", "builder", "title", "title", "self_", "gen"];
        let taken: Vec<String> = names.iter().map(|name| scope.take(name).to_string()).collect();
        assert_eq!(
            taken,
            [
                "r#type", "self_", "builder_", "title", "title_", "self__", "r#gen"
            ]
        );
    }
}
