//! Rules for every text: which characters it has, and how its lines end.

use std::collections::BTreeSet;

use super::File;

/// What sources may have beyond ASCII and the lines of pictures: typography of comments, arrow heads, and letters that
/// tests of text need.
const BEYOND_ASCII: &str = "\u{b7}\u{2013}\u{2014}\u{2026}\u{2190}\u{2192}\u{2264}\u{2265}\u{d7}\u{b1}\u{b5}\
    \u{25b2}\u{25b6}\u{25bc}\u{25c0}\u{e4}\u{e9}\u{fc}\u{df}";

/// Invisible and look-alike characters change what a source means without being seen.
pub(super) fn check_characters(file: &File) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let strange: BTreeSet<char> = line.chars().filter(|character| !is_plain(*character)).collect();
        for character in strange {
            violations.push(format!(
                "{}:{}: write {} as an escape",
                file.path,
                at + 1,
                character.escape_unicode()
            ));
        }
    }
    violations
}

fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~' | '\t' | '\u{2500}'..='\u{257f}') || BEYOND_ASCII.contains(character)
}

/// Lines end where their text ends, with one line feed, and so does the file.
pub(super) fn check_line_ends(file: &File) -> Vec<String> {
    let mut violations = Vec::new();
    for (at, line) in file.text.split('\n').enumerate() {
        if line.ends_with(char::is_whitespace) {
            violations.push(format!(
                "{}:{}: white space at the end of the line",
                file.path,
                at + 1
            ));
        }
    }
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        violations.push(format!("{}: the last line has no end", file.path));
    }
    violations
}

#[test]
fn an_unplain_character_is_caught() {
    for bad in ["let a\u{200b} = 1;", "\u{202e}", "\u{430}", "a\u{a0}b", "\u{7}"] {
        assert_eq!(
            check_characters(&File::new("a.rs", &format!("fine\n{bad}\n"))).len(),
            1,
            "{bad:?}"
        );
    }
    assert_eq!(
        check_characters(&File::new("a.rs", "\u{201c}"))[0],
        "a.rs:1: write \\u{201c} as an escape"
    );
    assert_eq!(check_characters(&File::new("a.rs", "a \u{2192} b\tc\n")), [""; 0]);
}

#[test]
fn white_space_at_the_end_of_a_line_is_caught() {
    assert_eq!(
        check_line_ends(&File::new("a", "a\nb \n")),
        ["a:2: white space at the end of the line"]
    );
    assert_eq!(
        check_line_ends(&File::new("a", "a\r\n")),
        ["a:1: white space at the end of the line"]
    );
    assert_eq!(check_line_ends(&File::new("a", "a\t\n")).len(), 1);
    assert_eq!(
        check_line_ends(&File::new("a", "a\nb")),
        ["a: the last line has no end"]
    );
    assert_eq!(check_line_ends(&File::new("a", "a\n\nb\n")), [""; 0]);
    assert_eq!(check_line_ends(&File::new("a", "")), [""; 0]);
}
