//! The nearest of several names, for messages that ask "did you mean".
//!
//! Owns the measure: the number of characters to insert, remove, replace or swap, ignoring case.

/// Names longer than this are not compared: the table grows with the square of their length.
const NAME_LEN_MAX: usize = 64;

/// The name among `known` that is nearest to `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| *candidate != name)
        .filter_map(|candidate| Some((distance(name, candidate)?, candidate)))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` did you mean `Post`? ``, or what to do instead.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: impl Into<String>,
) -> String {
    nearest(name, known).map_or_else(|| otherwise.into(), |found| format!("did you mean `{found}`?"))
}

fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len() > NAME_LEN_MAX || b.len() > NAME_LEN_MAX {
        return None;
    }
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_a_stranger_is_not() {
        let known = ["Post", "Comment", "AWSDateTime", "ID"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, known), expected, "{name}");
        check("Psot", Some("Post"));
        check("post", Some("Post"));
        check("Coment", Some("Comment"));
        check("AwsDatetime", Some("AWSDateTime"));
        check("Id", Some("ID"));
        check("Customer", None);
        check(&"x".repeat(100), None);
    }
}
