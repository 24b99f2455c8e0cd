//! How Amplify makes names out of names: foreign keys, indexes, plurals.
//!
//! Owns the rules of Amplify's naming; Rust's are in `rust/names.rs`.

/// `post` becomes `Post`; the rest stays as it is.
pub(crate) fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// `Post` becomes `post`; the rest stays as it is.
pub(crate) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// `Post`, `comments`, `id` become `postCommentsId`: an implicit foreign key.
pub(crate) fn camel(words: &[&str]) -> String {
    let joined: String = words.iter().map(|word| upper_first(word)).collect();
    lower_first(&joined)
}

/// The plural of a type name: `Person` becomes `People`.
pub(crate) fn plural(type_name: &str) -> String {
    pluralizer::pluralize(&upper_first(type_name), 2, false)
}

/// What an index without a name, and the query of an index without a query field, are called:
/// `postsByBlogIdAndTitle`.
pub(crate) fn index_query(type_name: &str, fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| upper_first(field)).collect();
    format!("{}By{}", lower_first(&plural(type_name)), fields.join("And"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_amplifys() {
        assert_eq!(camel(&["Post", "comments", "id"]), "postCommentsId");
        assert_eq!(camel(&["Project", "team", "id"]), "projectTeamId");
        assert_eq!(
            index_query("Employee", &["manager", "level"]),
            "employeesByManagerAndLevel"
        );
        for (one, many) in [
            ("Post", "Posts"),
            ("Person", "People"),
            ("Box", "Boxes"),
            ("Category", "Categories"),
            ("PostLabels", "PostLabels"),
            ("BlogPost", "BlogPosts"),
            ("todo", "Todos"),
        ] {
            assert_eq!(plural(one), many);
        }
    }
}
