//! Tests of building: what a sound schema knows, every fault, and that all faults come at once.

use super::*;
use crate::schema::{KeyKind, ListDef};
use crate::test_support::{
    belongs_to, blog, blog_parts, field, has_many, index, model, names, object, relation, sdl, typed,
};

/// Faults of the blog schema after a change, one a line.
fn faults_after(change: impl FnOnce(&mut SchemaParts)) -> Vec<String> {
    let mut parts = blog_parts();
    change(&mut parts);
    match Schema::build(parts) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

/// Faults of the blog schema with one more model.
fn faults_with(model: ModelParts) -> Vec<String> {
    faults_after(|parts| parts.models.push(model))
}

fn with_key(mut model: ModelParts, key: &[&str]) -> ModelParts {
    model.key = KeyDef {
        kind: KeyKind::Custom,
        fields: names(key),
        declared: true,
    };
    model
}

const NONE: [String; 0] = [];

#[test]
fn stored_fields_are_numbered_in_declaration_order_without_relations() {
    let schema = blog();
    let post = schema.model("Post").expect("a model of the blog schema");
    let stored: Vec<&str> = post.stored_fields().map(|field| field.name.as_str()).collect();
    let expected = [
        "id",
        "title",
        "rating",
        "score",
        "tags",
        "status",
        "place",
        "blogId",
        "createdAt",
        "updatedAt",
    ];
    assert_eq!(stored, expected);
    assert_eq!(post.stored_len(), expected.len());
    for (number, name) in (0..).zip(expected) {
        assert_eq!(post.slot(name), Some(Slot(number)));
        assert_eq!(post.stored_field(Slot(number)).name.as_str(), name);
    }
    assert_eq!((post.slot("blog"), post.slot("size")), (None, None));
    assert!(post.field("blog").is_some_and(|field| !field.is_stored()));
    let relations: Vec<&str> = post.relations().map(|(field, _)| field.name.as_str()).collect();
    assert_eq!(relations, ["blog", "comments"]);
}

#[test]
fn key_slots_follow_the_key_not_the_declaration() {
    let mut parts = blog_parts();
    parts.models.push(with_key(
        model("Pair", sdl("b: Int!, x: String, a: ID!")),
        &["a", "b"],
    ));
    let schema = Schema::build(parts).expect("a sound schema");
    assert_eq!(
        schema.model("Pair").expect("just added").key_slots(),
        [Slot(2), Slot(0)]
    );
}

#[test]
fn types_are_found_by_name_and_listed_in_declaration_order() {
    let schema = blog();
    let models: Vec<&str> = schema.models().map(|model| model.name.as_str()).collect();
    assert_eq!(
        models,
        ["Comment", "Post", "Blog", "Todo", "Memo", "Order", "Setting"]
    );
    assert_eq!(
        schema.enums().map(|def| def.name.as_str()).collect::<Vec<_>>(),
        ["PostStatus"]
    );
    assert_eq!(
        schema
            .non_models()
            .map(|def| def.name.as_str())
            .collect::<Vec<_>>(),
        ["Place"]
    );
    assert!(schema.model("Post").is_some() && schema.model("PostStatus").is_none());
    assert!(schema.enumeration("PostStatus").is_some() && schema.enumeration("Post").is_none());
    assert!(schema.non_model("Place").is_some() && schema.non_model("Post").is_none());
}

#[test]
fn a_field_shows_its_graphql_type() {
    for text in [
        "a: Int",
        "a: Int!",
        "a: [Int]",
        "a: [Int!]",
        "a: [Int]!",
        "a: [AWSDateTime!]!",
    ] {
        assert_eq!(format!("a: {}", field(text)), text);
    }
    assert_eq!(
        typed("a: [PostStatus!]", FieldType::Enum("PostStatus".into())).to_string(),
        "[PostStatus!]"
    );
    assert_eq!(has_many("posts", "Post", &["blogId"]).to_string(), "[Post]");
}

#[test]
fn a_schema_needs_a_model() {
    assert_eq!(
        Schema::build(SchemaParts::default()),
        Err(vec![SchemaError::NoModels])
    );
    assert_eq!(
        SchemaError::NoModels.to_string(),
        "the schema has no model; mark at least one type with @model"
    );
}

#[test]
fn names_are_used_once_among_all_types() {
    let post_status = || EnumDef {
        name: "PostStatus".into(),
        values: vec![],
    };
    let named_enum = |name: &str| EnumDef {
        name: name.into(),
        values: vec![],
    };
    let used_twice = |name: &str| {
        [format!(
            "the name `{name}` is used twice; rename one of the types"
        )]
    };
    assert_eq!(faults_with(model("Todo", sdl("id: ID!"))), used_twice("Todo"));
    assert_eq!(
        faults_after(|parts| parts.enums.push(post_status())),
        used_twice("PostStatus")
    );
    let place = || object("Place", vec![field("city: String!")]);
    let next_place = |parts: &mut SchemaParts| parts.non_models.push(place());
    assert_eq!(faults_after(next_place), used_twice("Place"));
    assert_eq!(
        faults_after(|parts| parts.enums.push(named_enum("Todo"))),
        used_twice("Todo")
    );
    assert_eq!(
        faults_after(|parts| parts.non_models.push(object("Todo", vec![]))),
        used_twice("Todo")
    );
    assert_eq!(
        faults_after(|parts| parts.non_models.push(object("PostStatus", vec![]))),
        used_twice("PostStatus")
    );
}

#[test]
fn fields_of_a_type_have_different_names() {
    let faults = faults_with(model("Extra", sdl("id: ID!, a: Int, a: String")));
    assert_eq!(faults, ["`Extra` has two fields named `a`; rename one of them"]);
}

#[test]
fn every_named_type_exists() {
    let extra = |field: FieldDef| faults_with(model("Extra", vec![id(), field]));
    let unknown = "`Extra.a` has the unknown type `Gone`; declare it, or use a scalar";
    assert_eq!(extra(typed("a: Gone", FieldType::Enum("Gone".into()))), [unknown]);
    assert_eq!(
        extra(typed("a: Gone", FieldType::NonModel("Gone".into()))),
        [unknown]
    );
    assert_eq!(extra(belongs_to("a", "Gone", &["id"])), [unknown]);
    let inside = faults_after(|parts| {
        parts.non_models.push(object(
            "Box",
            vec![typed("a: Gone", FieldType::NonModel("Gone".into()))],
        ));
    });
    assert_eq!(
        inside,
        ["`Box.a` has the unknown type `Gone`; declare it, or use a scalar"]
    );
    // An enum is no object, and the other way round.
    let mixed = extra(typed("a: Place", FieldType::Enum("Place".into())));
    assert_eq!(
        mixed,
        ["`Extra.a` has the unknown type `Place`; declare it, or use a scalar"]
    );
}

fn id() -> FieldDef {
    field("id: ID!")
}

#[test]
fn keys_and_indexes_name_stored_fields() {
    let fields = || vec![id(), field("blogId: ID"), belongs_to("blog", "Blog", &["blogId"])];
    let keyed = |key: &[&str]| faults_with(with_key(model("Extra", fields()), key));
    assert_eq!(
        keyed(&["id", "gone"]),
        ["the primary key of `Extra` names `gone`, which is not a stored field of `Extra`"]
    );
    assert_eq!(
        keyed(&["id", "blog"]),
        ["the primary key of `Extra` names `blog`, which is not a stored field of `Extra`"]
    );
    let mut indexed = model("Extra", fields());
    indexed.indexes = vec![
        index("byBlog", &["blogId", "id"]),
        index("byGone", &["blogId", "gone", "blog"]),
    ];
    assert_eq!(
        faults_with(indexed),
        [
            "the index `byGone` of `Extra` names `gone`, which is not a stored field of `Extra`",
            "the index `byGone` of `Extra` names `blog`, which is not a stored field of `Extra`",
        ]
    );
}

#[test]
fn a_key_field_is_a_required_scalar_or_enum() {
    let keyed = |field: FieldDef| {
        let name = field.name.clone();
        faults_with(with_key(model("Extra", vec![field]), &[&name]))
    };
    let refused = ["`Extra.a` is part of the primary key, so it must be a required scalar or enum"];
    assert_eq!(keyed(field("a: String!")), NONE);
    assert_eq!(keyed(field("a: AWSTimestamp!")), NONE);
    assert_eq!(
        keyed(typed("a: PostStatus!", FieldType::Enum("PostStatus".into()))),
        NONE
    );
    assert_eq!(keyed(field("a: String")), refused);
    assert_eq!(keyed(field("a: [String!]!")), refused);
    assert_eq!(keyed(field("a: AWSJSON!")), refused);
    assert_eq!(
        keyed(typed("a: Place!", FieldType::NonModel("Place".into()))),
        refused
    );
}

#[test]
fn a_field_of_model_type_says_how_it_finds_the_other_side() {
    let bare = typed("blog: Blog", FieldType::Model("Blog".into()));
    assert_eq!(
        faults_with(model("Extra", vec![id(), bare])),
        ["`Extra.blog` is of model type `Blog`; add @hasOne, @hasMany or @belongsTo"]
    );
}

#[test]
fn foreign_keys_are_stored_where_the_relation_says_and_as_long_as_the_key() {
    let extra = |fields: Vec<FieldDef>| faults_with(model("Extra", [vec![id()], fields].concat()));
    let has_one = |associated_with: &[&str], targets: &[&str]| {
        let association = Association::HasOne {
            associated_with: names(associated_with),
            targets: names(targets),
        };
        relation("rel", "Post", association)
    };
    let not_stored = |model: &str, field: &str| {
        format!(
            "the relation `Extra.rel` of `{model}` names `{field}`, which is not a stored field of `{model}`"
        )
    };
    let length = |other: &str, expected: usize, found: usize| {
        format!("`Extra.rel` has {found} foreign-key fields, but the key of `{other}` has {expected}")
    };
    let key = || field("key: ID");
    // This side holds the key of the other.
    assert_eq!(extra(vec![key(), belongs_to("rel", "Post", &["key"])]), NONE);
    assert_eq!(
        extra(vec![belongs_to("rel", "Post", &["key"])]),
        [not_stored("Extra", "key")]
    );
    assert_eq!(
        extra(vec![belongs_to("rel", "Post", &[])]),
        [length("Post", 1, 0)]
    );
    assert_eq!(
        extra(vec![key(), belongs_to("rel", "Order", &["key"])]),
        [length("Order", 2, 1)]
    );
    assert_eq!(
        extra(vec![
            key(),
            field("nr: Int"),
            belongs_to("rel", "Order", &["key", "nr"])
        ]),
        NONE
    );
    assert_eq!(extra(vec![key(), has_one(&["id"], &["key"])]), NONE);
    assert_eq!(
        extra(vec![has_one(&["id"], &["key"])]),
        [not_stored("Extra", "key")]
    );
    // The other side holds the key of this one.
    assert_eq!(extra(vec![has_one(&["blogId"], &[])]), NONE);
    assert_eq!(extra(vec![has_one(&["gone"], &[])]), [not_stored("Post", "gone")]);
    assert_eq!(extra(vec![has_many("rel", "Post", &["blogId"])]), NONE);
    assert_eq!(
        extra(vec![has_many("rel", "Post", &["blog"])]),
        [not_stored("Post", "blog")]
    );
    assert_eq!(
        extra(vec![has_many("rel", "Post", &["blogId", "title"])]),
        [length("Extra", 1, 2)]
    );
}

#[test]
fn stored_fields_are_bounded_and_relations_do_not_count() {
    let wide = |count: usize| {
        let fields = (1..count).map(|number| field(&format!("f{number}: Int")));
        let relation = has_many("posts", "Post", &["blogId"]);
        faults_with(model(
            "Wide",
            [vec![id()], fields.collect(), vec![relation]].concat(),
        ))
    };
    assert_eq!(wide(STORED_FIELDS_MAX), NONE);
    assert_eq!(
        wide(STORED_FIELDS_MAX + 1),
        ["`Wide` has 1001 stored fields; the most is 1000"]
    );
}

#[test]
fn all_faults_come_at_once() {
    let faults = faults_after(|parts| {
        let mut extra = model("Extra", sdl("id: ID, a: Int, a: Int"));
        extra
            .fields
            .push(typed("blog: Blog", FieldType::Model("Blog".into())));
        extra
            .fields
            .push(typed("b: Gone", FieldType::Enum("Gone".into())));
        extra.indexes.push(index("byC", &["c"]));
        parts.models.push(extra);
        parts.enums.push(EnumDef {
            name: "PostStatus".into(),
            values: vec![],
        });
    });
    assert_eq!(
        faults,
        [
            "`Extra` has two fields named `a`; rename one of them",
            "the name `PostStatus` is used twice; rename one of the types",
            "`Extra.blog` is of model type `Blog`; add @hasOne, @hasMany or @belongsTo",
            "`Extra.b` has the unknown type `Gone`; declare it, or use a scalar",
            "`Extra.id` is part of the primary key, so it must be a required scalar or enum",
            "the index `byC` of `Extra` names `c`, which is not a stored field of `Extra`",
        ]
    );
}

#[test]
fn a_list_of_models_is_a_relation_as_well() {
    let posts = has_many("posts", "Post", &["blogId"]);
    assert_eq!(
        posts.list,
        Some(ListDef {
            elements_required: false
        })
    );
    assert!(!posts.is_stored());
}
