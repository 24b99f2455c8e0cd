//! Texts of records on a terminal: what may get there, and how much room it takes.
//!
//! Owns [`clean`] and [`fit`]. Invariant: no text of a record can steer the terminal, move what stands beside it, or end its
//! line.

use std::borrow::Cow;

use crate::stdout::is_odd;

/// Longest text of one value that is shown; the rest is in the page and in `landfall log show`.
const TEXT_CHARS_MAX: usize = 4_000;

/// A text on one line in which nothing steers anything.
pub(in crate::inspect) fn clean(text: &str) -> Cow<'_, str> {
    let is_long = text.chars().nth(TEXT_CHARS_MAX).is_some();
    if !is_long && !text.contains(is_odd) {
        return text.into();
    }
    let mut out = String::new();
    for c in text.chars().take(TEXT_CHARS_MAX) {
        if is_odd(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    if is_long {
        out.push('…');
    }
    out.into()
}

/// A line of exactly so many columns: cut, or filled up with blanks.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let cut = console::truncate_str(text, columns, "…");
    console::pad_str(&cut, columns, console::Alignment::Left, None).into_owned()
}

/// A text in lines of so many columns at most; each after the first is indented.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let columns = columns.max(8);
    let mut lines = vec![String::new()];
    let mut width = 0;
    for word in text.split_inclusive(' ') {
        let mut rest = word;
        let long = console::measure_text_width(rest);
        if width > 0 && width + console::measure_text_width(rest.trim_end()) > columns && long <= columns {
            lines.push(INDENT.to_owned());
            width = INDENT.len();
        }
        while !rest.is_empty() {
            let mut taken = 0;
            for c in rest.chars() {
                let wide = console::measure_text_width(c.encode_utf8(&mut [0; 4]));
                if width + wide > columns && c != ' ' {
                    break;
                }
                width += wide;
                taken += c.len_utf8();
            }
            let (now, later) = rest.split_at(taken);
            if let Some(line) = lines.last_mut() {
                line.push_str(now);
            }
            rest = later;
            if !rest.is_empty() {
                lines.push(INDENT.to_owned());
                width = INDENT.len();
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(clean("\u{dc}ber \u{6f22}\u{5b57}"), "\u{dc}ber \u{6f22}\u{5b57}");
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}c\rd\ne"), "a\\u{1b}[2Jb\\u{9b}c\\rd\\ne");
        assert_eq!(
            clean("left\u{202e}thgir"),
            "left\\u{202e}thgir",
            "nor turn it round"
        );
        assert_eq!(clean("\u{1b}]0;title\u{7}"), "\\u{1b}]0;title\\u{7}");
        assert!(clean(&"x".repeat(10 * TEXT_CHARS_MAX)).chars().count() <= TEXT_CHARS_MAX + 1);
    }

    #[test]
    fn lines_have_the_width_that_they_are_given() {
        for (text, columns) in [
            ("short", 9),
            ("much too long for it", 9),
            ("\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}", 7),
            ("", 3),
        ] {
            assert_eq!(
                console::measure_text_width(&fit(text, columns)),
                columns,
                "{text}"
            );
        }
        let wrapped = wrap(
            "one two three-and-a-very-long-word \u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}",
            10,
        );
        for line in &wrapped {
            assert!(console::measure_text_width(line.trim_end()) <= 10, "{wrapped:?}");
        }
        let letters = |text: &str| -> String { text.chars().filter(|c| *c != ' ').collect() };
        let text = "one two three-and-a-very-long-word \u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}\u{6f22}\u{5b57}";
        assert_eq!(letters(&wrapped.concat()), letters(text), "nothing is lost");
    }
}
