//! What is wrong with a text that is no GraphQL, in the words of whoever typed it.
//!
//! Owns [`explain`], which looks at the text around the place where the parser gave up: a parser says which token it
//! expected, and that is seldom what has to be changed. Does not parse; where it knows nothing better it says what stands
//! there.
//!
//! Invariant: nothing is kept of the text but the brackets that are open, so it costs one pass over it.

use std::ops::Range;

use crate::suggest::nearest;

/// Words that begin a declaration.
const KEYWORDS: [&str; 9] = [
    "type",
    "enum",
    "input",
    "interface",
    "union",
    "scalar",
    "directive",
    "schema",
    "extend",
];

/// Longest word of the text that is repeated in a message, in characters.
const WORD_MAX: usize = 40;

/// Where to look, what is wrong there, and what to change.
pub(super) struct Explained {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) label: String,
}

/// A word, a number, a text or a punctuation mark.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

impl Token<'_> {
    fn span(&self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }

    fn is_keyword(&self) -> bool {
        KEYWORDS.contains(&self.text)
    }

    /// The token as it is shown.
    fn shown(&self) -> String {
        let shown: String = self.text.chars().take(WORD_MAX).collect();
        let dots = if shown.len() < self.text.len() { "..." } else { "" };
        format!("`{shown}{dots}`")
    }
}

/// A bracket that is open, and the words before it.
struct Open<'a> {
    bracket: Token<'a>,
    /// What it belongs to, such as `type` and `Post`.
    owner: Option<(&'a str, &'a str)>,
}

impl Open<'_> {
    /// The bracket that closes it.
    fn closing(&self) -> &'static str {
        match self.bracket.text {
            "{" => "}",
            "(" => ")",
            _ => "]",
        }
    }

    fn of_owner(&self) -> String {
        self.owner
            .map_or_else(String::new, |(keyword, name)| format!(" of `{keyword} {name}`"))
    }

    /// Whether fields with types stand in it.
    fn holds_fields(&self) -> bool {
        self.bracket.text == "{" && !matches!(self.owner, Some(("enum" | "schema", _)))
    }
}

/// The surroundings of the place where the parser gave up.
struct Scene<'a> {
    open: Vec<Open<'a>>,
    /// The two tokens before.
    before: [Option<Token<'a>>; 2],
    /// The token there; none at the end of the text.
    here: Option<Token<'a>>,
    after: Option<Token<'a>>,
}

/// Says what is wrong at a place where the parser gave up, which said `said`.
pub(super) fn explain(source: &str, place: usize, said: &str) -> Explained {
    if said.contains("limit reached") {
        return Explained {
            span: place..place + 1,
            message: format!("the schema is too large to be read: {said}"),
            label: "divide it, or nest less deeply".to_owned(),
        };
    }
    let scene = Scene::at(source, place);
    let Some(here) = scene.here else {
        return scene.ended();
    };
    let explained = scene
        .of_marks(here)
        .or_else(|| scene.of_brackets(here))
        .or_else(|| scene.of_fields(here))
        .or_else(|| scene.of_declarations(here));
    let (span, message, label) = explained.unwrap_or_else(|| {
        let message = format!("{} cannot stand here", here.shown());
        (
            here.span(),
            message,
            "remove it, or add what is missing before it".to_owned(),
        )
    });
    Explained { span, message, label }
}

type Finding = Option<(Range<usize>, String, String)>;

fn finding(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Finding {
    Some((span, message.into(), label.into()))
}

impl<'a> Scene<'a> {
    fn at(source: &'a str, place: usize) -> Self {
        let mut scene = Self {
            open: Vec::new(),
            before: [None, None],
            here: None,
            after: None,
        };
        let mut declared = None;
        let mut rest = Tokens { source, at: 0 };
        while let Some(token) = rest.next() {
            if token.span().end > place {
                scene.here = Some(token);
                scene.after = rest.next();
                break;
            }
            match token.text {
                "{" | "(" | "[" => scene.open.push(Open {
                    bracket: token,
                    owner: if token.text == "{" { declared.take() } else { None },
                }),
                "}" | ")" | "]" if scene.open.last().is_some_and(|open| open.closing() == token.text) => {
                    scene.open.pop();
                }
                name if token.is_name() => {
                    let keyword =
                        scene.before[1].filter(|before| before.is_keyword() && scene.open.is_empty());
                    declared = keyword.map(|keyword| (keyword.text, name)).or(declared);
                }
                _ => {}
            }
            scene.before = [scene.before[1], Some(token)];
        }
        scene
    }

    /// The text ends where something is missing.
    fn ended(&self) -> Explained {
        let (span, message, label) = match (self.open.last(), self.before[1]) {
            (_, None) => (
                0..0,
                "the schema is empty".to_owned(),
                "a schema needs a type with @model, such as `type Post @model { title: String }`".to_owned(),
            ),
            (Some(open), _) => (
                open.bracket.span(),
                format!("`{}`{} is never closed", open.bracket.text, open.of_owner()),
                format!("write the `{}` that belongs to it", open.closing()),
            ),
            (None, Some(last)) => (
                last.span(),
                format!("something is missing after {}", last.shown()),
                match last {
                    _ if last.is_keyword() => {
                        "write a name and what belongs to it, or remove this".to_owned()
                    }
                    _ => "write what belongs to it, or remove it".to_owned(),
                },
            ),
        };
        Explained { span, message, label }
    }

    /// Characters that GraphQL does not know or that are there twice.
    fn of_marks(&self, here: Token<'_>) -> Finding {
        let first = here.text.chars().next()?;
        let is_first = self.before[1].is_none();
        let message = || format!("{} has no meaning here", here.shown());
        match first {
            '<' if is_first => finding(
                here.span(),
                "the text is a page of HTML or XML, not a schema",
                "name the file that holds the schema; what was fetched instead may be an error page",
            ),
            '"' if !is_closed(here.text) => finding(
                here.at..here.at + 1,
                "this text is never closed",
                "write the quotation mark that closes it",
            ),
            '"' if self.before[1].is_some_and(|before| matches!(before.text, ":" | "[")) => {
                quoted(here, "this type", "String")
            }
            ':' => {
                let before = self.before[1].filter(|before| before.text.starts_with('"'))?;
                quoted(before, "this name", "title")
            }
            '\'' | '`' => finding(
                here.span(),
                message(),
                "write texts in double quotes, and names without any",
            ),
            '?' => finding(
                here.span(),
                message(),
                "remove it: a field without `!` may be absent anyway",
            ),
            '!' if self.before[1].is_some_and(|before| before.text == "!") => finding(
                here.span(),
                "there is a second `!`",
                "remove it; one says that the field is required",
            ),
            '=' if self.is_field_name(self.before[1]) => finding(
                here.span(),
                message(),
                "write `:` between the name of a field and its type",
            ),
            '0'..='9' | '-' => finding(
                here.span(),
                format!("{} is no name", here.shown()),
                "begin it with a letter or `_`; the rest may be letters, digits and `_`",
            ),
            _ if !here.is_name() && !"!$&()...:=@[]{}|".contains(here.text) => {
                finding(here.span(), message(), "remove it")
            }
            _ => None,
        }
    }

    /// Brackets that are not closed, or closed without having been opened.
    fn of_brackets(&self, here: Token<'_>) -> Finding {
        let closes = matches!(here.text, "}" | ")" | "]");
        let Some(open) = self.open.last() else {
            return if closes {
                finding(
                    here.span(),
                    format!("nothing is open that this `{}` could close", here.text),
                    "remove it, or see whether an earlier one is too many",
                )
            } else if here.is_name() && self.after.is_some_and(|after| after.text == ":") {
                finding(
                    here.span(),
                    "this field is in no type",
                    "write `{` before the fields of the type",
                )
            } else {
                None
            };
        };
        if open.bracket.text == "{" && closes && here.text != "}" {
            return finding(
                here.span(),
                format!("nothing is open that this `{}` could close", here.text),
                "remove it, or write what it closes",
            );
        }
        // In a list a name is read on over, unless it is the list of a type, which has one.
        let ends = closes || !here.is_name() || open.bracket.text == "[";
        if open.bracket.text != "{" && ends && here.text != open.closing() {
            return finding(
                here.span(),
                format!("`{}` is not closed", open.bracket.text),
                format!("write `{}` before this", open.closing()),
            );
        }
        // A declaration within another one was read as a field whose name is `type`.
        let keyword = self.before[1].filter(Token::is_keyword);
        match keyword {
            Some(keyword) if here.is_name() && open.holds_fields() && self.declares(keyword) => finding(
                keyword.span(),
                format!(
                    "`{}`{} is not closed before `{} {}`",
                    open.bracket.text,
                    open.of_owner(),
                    keyword.text,
                    here.text
                ),
                format!("write `{}` before this", open.closing()),
            ),
            _ => None,
        }
    }

    /// Whether a word that begins a declaration begins one here, judged by what follows its name; it may also be the name of
    /// a field without its colon.
    fn declares(&self, keyword: Token<'_>) -> bool {
        let follows = |after: Token<'_>| match after.text {
            "{" | "@" | "=" | "implements" => true,
            // Nothing has to follow the name of a scalar.
            _ => keyword.text == "scalar" && after.is_keyword(),
        };
        keyword.text == "extend" || self.after.is_some_and(follows)
    }

    /// Fields without a name or a type, and types without fields.
    fn of_fields(&self, here: Token<'_>) -> Finding {
        let open = self.open.last()?;
        let before = self.before[1]?;
        if here.text == "}" && before.at == open.bracket.at {
            let (what, example) = match open.owner {
                Some(("enum", _)) => ("value", "name at least one, such as `ACTIVE`"),
                _ => ("field", "declare at least one, such as `title: String`"),
            };
            let owner = open
                .owner
                .map_or_else(|| "this".to_owned(), |(kind, name)| format!("`{kind} {name}`"));
            return finding(
                before.at..here.span().end,
                format!("{owner} has no {what}"),
                example,
            );
        }
        if !open.holds_fields() {
            return None;
        }
        if before.text == ":" {
            let field = self.before[0].map_or_else(String::new, |name| format!(" `{}`", name.text));
            return finding(
                here.span(),
                format!("the field{field} has no type"),
                "name its type before this, such as `String`",
            );
        }
        if self.is_field_name(Some(before)) {
            let example = format!("write `{}: String`, or another type", before.text);
            return match here.text {
                "}" | "@" => finding(
                    before.span(),
                    format!("the field `{}` has no type", before.text),
                    example,
                ),
                _ => finding(
                    before.span(),
                    format!("there is no `:` after the field `{}`", before.text),
                    format!("write `{}: ` and then its type", before.text),
                ),
            };
        }
        if before.text == "@" {
            return finding(
                before.span(),
                "this directive has no name",
                "write its name right after the `@`",
            );
        }
        None
    }

    /// What begins no declaration, or one without a name.
    fn of_declarations(&self, here: Token<'_>) -> Finding {
        if !self.open.is_empty() {
            return None;
        }
        match self.before[1] {
            Some(before) if before.is_keyword() && !here.is_name() => finding(
                before.span(),
                format!("this `{}` has no name", before.text),
                format!("write its name after `{}`", before.text),
            ),
            _ if here.is_name() && !here.is_keyword() => {
                let label = match nearest(here.text, KEYWORDS) {
                    Some(keyword) => format!("did you mean `{keyword}`?"),
                    None => "begin a declaration with `type` or `enum`; `#` begins a remark".to_owned(),
                };
                finding(
                    here.span(),
                    format!("{} begins no declaration", here.shown()),
                    label,
                )
            }
            _ => None,
        }
    }

    /// Whether a token can only be the name of a field whose type is still to come.
    fn is_field_name(&self, token: Option<Token<'_>>) -> bool {
        let follows = |text: &str| self.before[0].is_some_and(|before| before.text == text);
        let is_after_type_or_name = [":", "@", "[", "&", "|", "("].into_iter().any(follows);
        token.is_some_and(|token| token.is_name())
            && !is_after_type_or_name
            && self.open.last().is_some_and(Open::holds_fields)
    }
}

/// Something in quotation marks that is no text.
fn quoted(token: Token<'_>, what: &str, example: &str) -> Finding {
    let inner = token.text.trim_matches('"');
    let is_name = inner.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let inner = if is_name && inner.len() <= WORD_MAX {
        inner
    } else {
        example
    };
    finding(
        token.span(),
        format!("{what} stands in quotation marks"),
        format!("write it without them, such as `{inner}`"),
    )
}

fn is_closed(text: &str) -> bool {
    match text.strip_prefix("\"\"\"") {
        Some(rest) => rest.ends_with("\"\"\""),
        None => text.len() > 1 && text.ends_with('"') && !text.ends_with("\\\""),
    }
}

/// Goes over the tokens of a text; blanks, commas and remarks are none.
struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        let source = self.source;
        loop {
            let rest = &source[self.at..];
            let first = rest.chars().next()?;
            let len = match first {
                '#' => {
                    self.at += rest.find('\n').unwrap_or(rest.len());
                    continue;
                }
                ' ' | '\t' | '\r' | '\n' | ',' | '\u{feff}' => {
                    self.at += first.len_utf8();
                    continue;
                }
                '"' => text_len(rest),
                '.' if rest.starts_with("...") => 3,
                c if c.is_ascii_alphanumeric() || c == '_' => rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len()),
                c => c.len_utf8(),
            };
            let token = Token {
                text: &rest[..len],
                at: self.at,
            };
            self.at += len;
            return Some(token);
        }
    }
}

/// Length of the text in quotation marks that this begins with; up to the end of the line, or of the source, if it is never
/// closed.
fn text_len(rest: &str) -> usize {
    if let Some(block) = rest.strip_prefix("\"\"\"") {
        return block.find("\"\"\"").map_or(rest.len(), |end| end + 6);
    }
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return at,
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use crate::parse_sdl;

    /// Where it is told, what, and what to change.
    fn told(source: &str) -> String {
        let errors = parse_sdl("s", source).expect_err(source);
        let told: Vec<String> = errors
            .iter()
            .map(|error| {
                format!(
                    "{}:{} {} | {}",
                    error.line, error.column, error.message, error.label
                )
            })
            .collect();
        told.join("\n")
    }

    /// What is typed, and what is told: where, what is wrong, what to change.
    const SLIPS: &[(&str, &str)] = &[
        (
            "",
            "1:1 the schema is empty | a schema needs a type with @model, such as `type Post @model { title: String }`",
        ),
        (
            "# nothing yet\n",
            "1:1 the schema is empty | a schema needs a type with @model, such as `type Post @model { title: String }`",
        ),
        (
            "type Post @model { title: String!! }",
            "1:34 there is a second `!` | remove it; one says that the field is required",
        ),
        (
            "type Post @model {\n  title: String\n",
            "1:18 `{` of `type Post` is never closed | write the `}` that belongs to it",
        ),
        (
            "type Post @model {\n  title: String\ntype Tag @model { name: String }",
            "3:1 `{` of `type Post` is not closed before `type Tag` | write `}` before this",
        ),
        (
            "type Post @model { title: String }}",
            "1:35 nothing is open that this `}` could close | remove it, or see whether an earlier one is too many",
        ),
        (
            "type Post @model { title String }",
            "1:20 there is no `:` after the field `title` | write `title: ` and then its type",
        ),
        (
            "type Post @model { title }",
            "1:20 the field `title` has no type | write `title: String`, or another type",
        ),
        (
            "type Post @model { title: }",
            "1:27 the field `title` has no type | name its type before this, such as `String`",
        ),
        (
            "type Post @model { title: \"String\"! }",
            "1:27 this type stands in quotation marks | write it without them, such as `String`",
        ),
        (
            "type Post @model { tags: [\"Tag of all\"] }",
            "1:27 this type stands in quotation marks | write it without them, such as `String`",
        ),
        (
            "type Post @model { \"title\": String }",
            "1:20 this name stands in quotation marks | write it without them, such as `title`",
        ),
        (
            "type Post @model\ntype Tag @model { name: String }",
            "1:1 `Post` has no fields | write them in braces after it, such as `{ title: String }`",
        ),
        (
            "enum E\ntype Post @model { e: E }",
            "1:1 `E` has no enum values | write them in braces after it, such as `{ ACTIVE }`",
        ),
        (
            "type Post @model { tags: [String }",
            "1:34 `[` is not closed | write `]` before this",
        ),
        (
            "type Post @model { tags: [String limit: Int }",
            "1:34 `[` is not closed | write `]` before this",
        ),
        (
            "type Post @model { type String }",
            "1:20 there is no `:` after the field `type` | write `type: ` and then its type",
        ),
        (
            "type Post @model { title: String\n  input Int enum: Int }",
            "2:3 there is no `:` after the field `input` | write `input: ` and then its type",
        ),
        (
            "type Post @model {\n  title: String\nscalar Date\ntype Tag @model { name: String }",
            "3:1 `{` of `type Post` is not closed before `scalar Date` | write `}` before this",
        ),
        (
            "type Post @model {\n  title: String\nextend type Tag",
            "3:1 `{` of `type Post` is not closed before `extend type` | write `}` before this",
        ),
        (
            "type Post @model { tags: String] }",
            "1:32 nothing is open that this `]` could close | remove it, or write what it closes",
        ),
        (
            "type Post @model { title = String }",
            "1:26 `=` has no meaning here | write `:` between the name of a field and its type",
        ),
        (
            "type Post @model { title: String; }",
            "1:33 `;` has no meaning here | remove it",
        ),
        (
            "type Post @model { title: String? }",
            "1:33 `?` has no meaning here | remove it: a field without `!` may be absent anyway",
        ),
        (
            "enum E { }\ntype Post @model { e: E }",
            "1:8 `enum E` has no value | name at least one, such as `ACTIVE`",
        ),
        (
            "type Post @model { }",
            "1:18 `type Post` has no field | declare at least one, such as `title: String`",
        ),
        (
            "typ Post @model { title: String }",
            "1:1 `typ` begins no declaration | did you mean `type`?",
        ),
        (
            "model Post { title: String }",
            "1:1 `model` begins no declaration | begin a declaration with `type` or `enum`; `#` begins a remark",
        ),
        (
            "type @model { title: String }",
            "1:1 this `type` has no name | write its name after `type`",
        ),
        (
            "type Post @model title: String }",
            "1:18 this field is in no type | write `{` before the fields of the type",
        ),
        (
            "type Post @model { 2nd: String }",
            "1:20 `2nd` is no name | begin it with a letter or `_`; the rest may be letters, digits and `_`",
        ),
        (
            "type Post @model { id: ID @default(value: \"a) }",
            "1:43 this text is never closed | write the quotation mark that closes it",
        ),
        (
            "type Post @model { id: ID @default(value: \"a\" }",
            "1:47 `(` is not closed | write `)` before this",
        ),
        (
            "<html><body>hi</body></html>",
            "1:1 the text is a page of HTML or XML, not a schema | name the file that holds the schema; what was fetched instead may be an error page",
        ),
        (
            "type",
            "1:1 something is missing after `type` | write a name and what belongs to it, or remove this",
        ),
    ];

    #[test]
    fn a_slip_of_the_pen_is_told_with_what_to_change() {
        for (source, expected) in SLIPS {
            assert_eq!(told(source), *expected, "{source}");
        }
    }

    #[test]
    fn no_place_of_any_text_makes_it_stumble() {
        let whole = "extend type Post implements A & B @model(x: [1, {a: \"é\\\"\"}]) { t(a: Int = 1): [String!]! @d } \
                     \"\"\"block\"\"\" enum E { A B } union U = | A | B schema { query: Q } # ü\n";
        for (at, _) in whole.char_indices() {
            for source in [&whole[..at], &whole[at..]] {
                let explained = super::explain(source, at.min(source.len()), "expected R_CURLY, got EOF");
                assert!(explained.span.end <= source.len(), "{source}");
                assert!(!explained.message.contains("R_CURLY"), "{source}");
            }
        }
    }
}
