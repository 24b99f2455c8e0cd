//! The models of the comparison, in the three versions that migrations lead through, and what the naive store knows of them.

use std::sync::Arc;

use landfall::{Migration, Schema};

/// As the app begins.
#[allow(dead_code, reason = "the records of the comparison are untyped")]
mod first {
    landfall::inline_schema!(
        "type Blog @model { name: String! stars: Int posts: [Post] @hasMany }
         type Post @model {
           title: String!
           rating: Int @index(name: \"byRating\")
           blog: Blog @belongsTo
           notes: [Note] @hasMany
         }
         type Note @model { text: String score: Float labels: [String] post: Post @belongsTo }
         type Stock @model { site: ID! @primaryKey(sortKeyFields: [\"item\"]) item: String! count: Int! }"
    );
}

/// A field renamed and indexed otherwise, another one new and required.
#[allow(dead_code, reason = "the records of the comparison are untyped")]
mod second {
    landfall::inline_schema!(
        "type Blog @model { name: String! @index(name: \"byName\") stars: Int posts: [Post] @hasMany }
         type Post @model {
           title: String!
           points: Int
           lang: String!
           blog: Blog @belongsTo
           notes: [Note] @hasMany
         }
         type Note @model { text: String score: Float labels: [String] post: Post @belongsTo }
         type Stock @model { site: ID! @primaryKey(sortKeyFields: [\"item\"]) item: String! count: Int! }"
    );
}

/// A field gone, another one of another type, and a model renamed.
#[allow(dead_code, reason = "the records of the comparison are untyped")]
mod third {
    landfall::inline_schema!(
        "type Blog @model { name: String! posts: [Post] @hasMany }
         type Post @model {
           title: String! @index(name: \"byTitle\")
           points: String
           lang: String!
           blog: Blog @belongsTo
           notes: [Remark] @hasMany
         }
         type Remark @model { text: String score: Float labels: [String] post: Post @belongsTo }
         type Stock @model { site: ID! @primaryKey(sortKeyFields: [\"item\"]) item: String! count: Int! }"
    );
}

/// Versions of the schema.
pub(super) const VERSIONS: usize = 3;

/// The value that migration gives to the new field.
pub(super) const LANGUAGE: &str = "en";

pub(super) fn schema(version: usize) -> &'static Arc<Schema> {
    match version {
        0 => first::schema(),
        1 => second::schema(),
        _ => third::schema(),
    }
}

/// All migrations that an app of that version has.
pub(super) fn migrations(version: usize) -> Vec<Migration> {
    let all = [
        Migration::named("ratings are points")
            .rename_field("Post", "rating", "points")
            .fill("Post", "lang", LANGUAGE),
        Migration::named("points are texts")
            .remove_field("Blog", "stars")
            .retype("Post", "points")
            .rename_model("Note", "Remark"),
    ];
    all.into_iter().take(version).collect()
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Float,
    Text,
    Texts,
}

/// A field that scripts write.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// A model as the naive store knows it.
#[derive(Clone, Debug)]
pub(super) struct ModelSpec {
    pub(super) name: &'static str,
    pub(super) key: &'static [&'static str],
    pub(super) fields: Vec<FieldSpec>,
    /// The field that holds the parent's identifier, the relation to it, and the parent's model.
    pub(super) parent: Option<(&'static str, &'static str, &'static str)>,
    /// The relation to its children, their model, and their field that holds this one's identifier.
    pub(super) children: Option<(&'static str, &'static str, &'static str)>,
}

fn field(name: &'static str, kind: Kind, required: bool) -> FieldSpec {
    FieldSpec { name, kind, required }
}

/// The models of a version; those at the same place are the same model.
pub(super) fn models(version: usize) -> Vec<ModelSpec> {
    let mut blog = vec![field("name", Kind::Text, true)];
    let mut post = vec![field("title", Kind::Text, true)];
    let note = if version < 2 { "Note" } else { "Remark" };
    if version < 2 {
        blog.push(field("stars", Kind::Int, false));
    }
    match version {
        0 => post.push(field("rating", Kind::Int, false)),
        1 => post.push(field("points", Kind::Int, false)),
        _ => post.push(field("points", Kind::Text, false)),
    }
    if version > 0 {
        post.push(field("lang", Kind::Text, true));
    }
    let model = |name, fields, parent, children| ModelSpec {
        name,
        key: &["id"],
        fields,
        parent,
        children,
    };
    vec![
        model("Blog", blog, None, Some(("posts", "Post", "blogPostsId"))),
        model(
            "Post",
            post,
            Some(("blogPostsId", "blog", "Blog")),
            Some(("notes", note, "postNotesId")),
        ),
        model(
            note,
            vec![
                field("text", Kind::Text, false),
                field("score", Kind::Float, false),
                field("labels", Kind::Texts, false),
            ],
            Some(("postNotesId", "post", "Post")),
            None,
        ),
        ModelSpec {
            key: &["site", "item"],
            ..model("Stock", vec![field("count", Kind::Int, true)], None, None)
        },
    ]
}
