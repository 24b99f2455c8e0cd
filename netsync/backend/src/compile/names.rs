//! How AppSync names things: types, root fields, arguments.
//!
//! Owns the rules of the naming. Plurals are not among them: they come with the schema.

use landfall_core::MutationKind;

use crate::hash::md5_hex;

/// Subscription fields with longer names are cut, and end in the beginning of a hash of the whole name.
const SUBSCRIPTION_NAME_MAX: usize = 50;

/// How much of the hash a cut name ends in.
const SUBSCRIPTION_HASH_LEN: usize = 5;

/// `post` becomes `Post`; the rest of the name stays as it is.
pub(crate) fn upper_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// `Post` becomes `post`; the rest of the name stays as it is.
pub(crate) fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Joins words such as `serial`, `rev` to `serialRev`.
pub(crate) fn camel<S: AsRef<str>>(words: &[S]) -> String {
    let mut words = words.iter().map(AsRef::as_ref);
    let mut joined = words.next().map(lower_first).unwrap_or_default();
    for word in words {
        joined.push_str(&upper_first(word));
    }
    joined
}

/// `by-blog_title` becomes `ByBlogTitle`.
pub(crate) fn pascal(name: &str) -> String {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .map(upper_first)
        .collect()
}

/// `createPost` and its like.
pub(crate) fn mutation_field(kind: MutationKind, model: &str) -> String {
    let verb = match kind {
        MutationKind::Create => "create",
        MutationKind::Update => "update",
        MutationKind::Delete => "delete",
    };
    format!("{verb}{}", upper_first(model))
}

/// `onCreatePost` and its like, cut if too long.
pub(crate) fn subscription_field(kind: MutationKind, model: &str) -> String {
    let whole = format!("on{}", upper_first(&mutation_field(kind, model)));
    if whole.len() <= SUBSCRIPTION_NAME_MAX {
        return whole;
    }
    let hash = md5_hex(whole.as_bytes());
    format!(
        "{}{}",
        &whole[..SUBSCRIPTION_NAME_MAX - SUBSCRIPTION_HASH_LEN],
        &hash[..SUBSCRIPTION_HASH_LEN]
    )
}

/// The foreign key that a relation gets when none is declared: `Post.comments` over `id` gives `postCommentsId`.
pub(crate) fn implicit_foreign_key(parent: &str, relation: &str, key_field: &str) -> String {
    camel(&[parent, relation, key_field])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_in_camel_and_pascal_case() {
        assert_eq!(camel(&["serial", "rev"]), "serialRev");
        assert_eq!(
            camel(&["createdAt", "status", "paymentStatus"]),
            "createdAtStatusPaymentStatus"
        );
        assert_eq!(pascal("byBlog"), "ByBlog");
        assert_eq!(pascal("by-blog_title"), "ByBlogTitle");
        assert_eq!(implicit_foreign_key("Post", "comments", "id"), "postCommentsId");
        assert_eq!(upper_first(""), "");
    }

    #[test]
    fn long_subscription_names_are_cut_to_fifty_characters() {
        let model = "A".repeat(42);
        assert_eq!(subscription_field(MutationKind::Create, &model).len(), 50);
        assert_eq!(
            subscription_field(MutationKind::Create, &model),
            format!("onCreate{model}")
        );
        let model = "A".repeat(43);
        let cut = subscription_field(MutationKind::Create, &model);
        assert_eq!(cut.len(), 50);
        assert!(cut.starts_with(&format!("onCreate{}", "A".repeat(37))), "{cut}");
        assert!(cut[45..].bytes().all(|b| b.is_ascii_hexdigit()), "{cut}");
        assert_ne!(cut, subscription_field(MutationKind::Create, &"A".repeat(44)));
    }
}
