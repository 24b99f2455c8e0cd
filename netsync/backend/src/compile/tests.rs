use std::collections::BTreeMap;

use super::*;
use crate::fixtures;

fn blog() -> CompiledSchema {
    CompiledSchema::compile(fixtures::blog()).unwrap()
}

/// The members of a type or input as `name: type`, sorted; arguments of fields are part of them.
fn members(compiled: &CompiledSchema, ty: &str) -> Vec<String> {
    use apollo_compiler::schema::ExtendedType;
    let mut members: Vec<String> = match &compiled.graphql().types[ty] {
        ExtendedType::Object(def) => def
            .fields
            .values()
            .map(|field| {
                let arguments: Vec<String> = field
                    .arguments
                    .iter()
                    .map(|a| format!("{}: {}", a.name, a.ty))
                    .collect();
                let arguments = if arguments.is_empty() {
                    String::new()
                } else {
                    format!("({})", arguments.join(", "))
                };
                format!("{}{arguments}: {}", field.name, field.ty)
            })
            .collect(),
        ExtendedType::InputObject(def) => def
            .fields
            .values()
            .map(|field| format!("{}: {}", field.name, field.ty))
            .collect(),
        other => panic!("{ty} is {other:?}"),
    };
    members.sort();
    members
}

fn check(compiled: &CompiledSchema, ty: &str, expected: &[&str]) {
    let mut expected: Vec<String> = expected.iter().map(|member| (*member).to_owned()).collect();
    expected.sort();
    assert_eq!(members(compiled, ty), expected, "{ty}");
}

#[test]
fn object_types_are_those_of_the_example() {
    let compiled = blog();
    check(
        &compiled,
        "Post",
        &[
            "id: ID!",
            "title: String!",
            "rating: Int",
            "score: Float",
            "live: Boolean",
            "status: Status",
            "kinds: [Status]",
            "tags: [String]",
            "at: AWSDateTime",
            "where: Geo",
            "meta: AWSJSON",
            "blogId: ID",
            "comments(filter: ModelCommentFilterInput, sortDirection: ModelSortDirection, limit: Int, nextToken: String): ModelCommentConnection",
            "labels(filter: ModelPostLabelsFilterInput, sortDirection: ModelSortDirection, limit: Int, nextToken: String): ModelPostLabelsConnection",
            "createdAt: AWSDateTime!",
            "updatedAt: AWSDateTime!",
            "_version: Int!",
            "_deleted: Boolean",
            "_lastChangedAt: AWSTimestamp!",
        ],
    );
    check(
        &compiled,
        "Comment",
        &[
            "content: String!",
            "post: Post",
            "id: ID!",
            "createdAt: AWSDateTime!",
            "updatedAt: AWSDateTime!",
            "_version: Int!",
            "_deleted: Boolean",
            "_lastChangedAt: AWSTimestamp!",
            "postCommentsId: ID",
        ],
    );
    check(
        &compiled,
        "Device",
        &[
            "org: ID!",
            "serial: String!",
            "rev: Int!",
            "note: String",
            "made: AWSDateTime!",
            "touched: AWSDateTime!",
            "_version: Int!",
            "_deleted: Boolean",
            "_lastChangedAt: AWSTimestamp!",
        ],
    );
    assert!(members(&compiled, "PostLabels").contains(&"post: Post!".to_owned()));
    check(&compiled, "Geo", &["lat: Float!", "lon: Float"]);
    check(
        &compiled,
        "ModelPostConnection",
        &["items: [Post]!", "nextToken: String", "startedAt: AWSTimestamp"],
    );
}

#[test]
fn metadata_stands_between_timestamps_and_implicit_foreign_keys() {
    let text = blog().graphql_text().to_owned();
    let comment = &text[text.find("type Comment {").unwrap()..];
    let order: Vec<usize> = [
        "content:",
        "post:",
        "id:",
        "createdAt:",
        "_version:",
        "_deleted:",
        "_lastChangedAt:",
        "postCommentsId:",
    ]
    .iter()
    .map(|name| comment.find(name).unwrap())
    .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn filters_conditions_and_their_quirks_are_those_of_the_example() {
    let compiled = blog();
    let compared = [
        "title: ModelStringInput",
        "rating: ModelIntInput",
        "score: ModelFloatInput",
        "live: ModelBooleanInput",
        "status: ModelStatusInput",
        "kinds: ModelStatusListInput",
        "tags: ModelStringInput",
        "at: ModelStringInput",
        "meta: ModelStringInput",
        "blogId: ModelIDInput",
        "createdAt: ModelStringInput",
        "updatedAt: ModelStringInput",
        "_deleted: ModelBooleanInput",
    ];
    let groups = |name: &str| {
        [
            format!("and: [{name}]"),
            format!("or: [{name}]"),
            format!("not: {name}"),
        ]
    };
    let with = |more: &[String], name: &str| -> Vec<String> {
        let groups = groups(name);
        compared
            .iter()
            .map(|m| (*m).to_owned())
            .chain(more.iter().cloned())
            .chain(groups)
            .collect()
    };
    let filter = with(&["id: ModelIDInput".to_owned()], "ModelPostFilterInput");
    check(
        &compiled,
        "ModelPostFilterInput",
        &filter.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let condition = with(&[], "ModelPostConditionInput");
    check(
        &compiled,
        "ModelPostConditionInput",
        &condition.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn subscription_filters_and_their_quirks_are_those_of_the_example() {
    let compiled = blog();
    check(
        &compiled,
        "ModelSubscriptionPostFilterInput",
        &[
            "id: ModelSubscriptionIDInput",
            "title: ModelSubscriptionStringInput",
            "rating: ModelSubscriptionIntInput",
            "score: ModelSubscriptionFloatInput",
            "live: ModelSubscriptionBooleanInput",
            "status: ModelSubscriptionStringInput",
            "kinds: ModelSubscriptionStringInput",
            "tags: ModelSubscriptionStringInput",
            "at: ModelSubscriptionStringInput",
            "meta: ModelSubscriptionStringInput",
            "blogId: ModelSubscriptionIDInput",
            "createdAt: ModelSubscriptionStringInput",
            "updatedAt: ModelSubscriptionStringInput",
            "and: [ModelSubscriptionPostFilterInput]",
            "or: [ModelSubscriptionPostFilterInput]",
            "_deleted: ModelBooleanInput",
            "postCommentsId: ModelSubscriptionIDInput",
        ],
    );
    let has = |ty: &str, name: &str| {
        members(&compiled, ty)
            .iter()
            .any(|member| member.starts_with(name))
    };
    assert!(
        !has("ModelSubscriptionCommentFilterInput", "postCommentsId"),
        "it stands in the parent's filter"
    );
    assert!(has("ModelCommentFilterInput", "postCommentsId"));
    assert!(
        has("ModelDeviceFilterInput", "id: ModelIDInput"),
        "although a device has no id"
    );
    assert!(has(
        "ModelSubscriptionDeviceFilterInput",
        "id: ModelSubscriptionIDInput"
    ));
    assert!(!has("ModelDeviceConditionInput", "serial"));
}

#[test]
fn mutation_inputs_are_those_of_the_example() {
    let compiled = blog();
    check(
        &compiled,
        "CreatePostInput",
        &[
            "id: ID",
            "title: String!",
            "rating: Int",
            "score: Float",
            "live: Boolean",
            "status: Status",
            "kinds: [Status]",
            "tags: [String]",
            "at: AWSDateTime",
            "where: GeoInput",
            "meta: AWSJSON",
            "blogId: ID",
            "_version: Int",
        ],
    );
    assert!(members(&compiled, "UpdatePostInput").contains(&"title: String".to_owned()));
    assert!(members(&compiled, "UpdatePostInput").contains(&"id: ID!".to_owned()));
    check(&compiled, "DeletePostInput", &["id: ID!", "_version: Int"]);
    check(
        &compiled,
        "CreateCommentInput",
        &[
            "content: String!",
            "id: ID",
            "_version: Int",
            "postCommentsId: ID",
        ],
    );
    check(&compiled, "GeoInput", &["lat: Float!", "lon: Float"]);
    let device = [
        "org: ID!",
        "serial: String!",
        "rev: Int!",
        "note: String",
        "_version: Int",
    ];
    check(&compiled, "CreateDeviceInput", &device);
    check(&compiled, "UpdateDeviceInput", &device);
    check(
        &compiled,
        "DeleteDeviceInput",
        &["org: ID!", "serial: String!", "rev: Int!", "_version: Int"],
    );
    let join = members(&compiled, "CreatePostLabelsInput");
    assert!(
        join.contains(&"postId: ID!".to_owned()) && join.contains(&"labelId: ID!".to_owned()),
        "{join:?}"
    );
}

#[test]
fn query_fields_are_those_of_the_example() {
    let compiled = blog();
    let connection = |model: &str| {
        let page = format!("filter: Model{model}FilterInput, limit: Int, nextToken: String");
        [
            format!("list{model}s({page}): Model{model}Connection"),
            format!("sync{model}s({page}, lastSync: AWSTimestamp): Model{model}Connection"),
            format!("get{model}(id: ID!): {model}"),
        ]
    };
    let mut expected: Vec<String> = ["Post", "Comment", "Label"]
        .into_iter()
        .flat_map(connection)
        .collect();
    let labels = "sortDirection: ModelSortDirection, filter: ModelPostLabelsFilterInput, limit: Int, nextToken: String): ModelPostLabelsConnection";
    let device = "filter: ModelDeviceFilterInput, limit: Int, nextToken: String";
    expected.extend([
        "postsByBlog(blogId: ID!, title: ModelStringKeyConditionInput, sortDirection: ModelSortDirection, filter: ModelPostFilterInput, limit: Int, nextToken: String): ModelPostConnection".to_owned(),
        "getDevice(org: ID!, serial: String!, rev: Int!): Device".to_owned(),
        format!("listDevices(org: ID, serialRev: ModelDevicePrimaryCompositeKeyConditionInput, {device}, sortDirection: ModelSortDirection): ModelDeviceConnection"),
        format!("syncDevices({device}, lastSync: AWSTimestamp): ModelDeviceConnection"),
        "getPostLabels(id: ID!): PostLabels".to_owned(),
        "listPostLabels(filter: ModelPostLabelsFilterInput, limit: Int, nextToken: String): ModelPostLabelsConnection".to_owned(),
        "syncPostLabels(filter: ModelPostLabelsFilterInput, limit: Int, nextToken: String, lastSync: AWSTimestamp): ModelPostLabelsConnection".to_owned(),
        format!("postLabelsByPostId(postId: ID!, {labels}"),
        format!("postLabelsByLabelId(labelId: ID!, {labels}"),
    ]);
    check(
        &compiled,
        "Query",
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    check(
        &compiled,
        "ModelDevicePrimaryCompositeKeyInput",
        &["serial: String", "rev: Int"],
    );
}

#[test]
fn mutation_and_subscription_fields_are_those_of_the_example() {
    let compiled = blog();
    let mutations = members(&compiled, "Mutation");
    assert_eq!(mutations.len(), 15);
    assert!(mutations.contains(
        &"createPost(input: CreatePostInput!, condition: ModelPostConditionInput): Post".to_owned()
    ));
    let subscriptions = members(&compiled, "Subscription");
    assert_eq!(subscriptions.len(), 15);
    assert!(
        subscriptions.contains(&"onCreatePost(filter: ModelSubscriptionPostFilterInput): Post".to_owned())
    );
    assert!(compiled.graphql_text().contains("onDeleteDevice(filter: ModelSubscriptionDeviceFilterInput): Device @aws_subscribe(mutations: [\"deleteDevice\"])"));
}

#[test]
fn every_root_field_does_something() {
    let compiled = blog();
    for ty in ["Query", "Mutation", "Subscription"] {
        for member in members(&compiled, ty) {
            let name = member.split('(').next().unwrap();
            assert!(compiled.root(name).is_some(), "{ty}.{name}");
        }
    }
    assert_eq!(
        compiled.root("postsByBlog"),
        Some(&RootField::IndexQuery("Post".into(), "byBlog".to_owned()))
    );
}

#[test]
fn relations_are_followed_by_key_or_by_an_index_over_the_foreign_key() {
    let compiled = CompiledSchema::compile(fixtures::relations()).unwrap();
    let plans: BTreeMap<String, &RelationPlan> = compiled
        .plans()
        .flat_map(|plan| {
            plan.relations
                .iter()
                .map(move |(field, relation)| (format!("{}.{field}", plan.name()), relation))
        })
        .collect();
    let by_key = |model: &str, sources: &[&str]| RelationPlan::ByKey {
        model: model.into(),
        sources: sources.iter().map(|field| (*field).into()).collect(),
    };
    assert_eq!(plans["Project.team"], &by_key("Team", &["projectTeamId"]));
    assert_eq!(plans["Team.project"], &by_key("Project", &["teamProjectId"]));
    assert_eq!(
        plans["Part.item"],
        &by_key("Item", &["itemPartsOrder", "itemPartsLine"])
    );
    assert_eq!(
        plans["Item.parts"],
        &RelationPlan::ManyByIndex {
            model: "Part".into(),
            index: "gsi-Item.parts".to_owned()
        }
    );
    assert_eq!(
        plans["Item.badge"],
        &RelationPlan::OneByIndex {
            model: "Badge".into(),
            index: "gsi-Item.badge".to_owned()
        }
    );
    let item = members(&compiled, "Item");
    assert!(
        item.iter()
            .any(|m| m.starts_with("parts(filter: ModelPartFilterInput, sortDirection")),
        "{item:?}"
    );
    assert!(compiled.model("Part").implicit.contains("itemPartsLine"));
}

#[test]
fn a_has_many_over_a_declared_index_takes_its_sort_key() {
    let mut parts = landfall_core::SchemaParts::default();
    let mut author = fixtures::model("Author", "Authors", vec![]);
    author.fields.push(landfall_core::FieldDef {
        association: Some(landfall_core::Association::HasMany {
            associated_with: vec!["authorId".into()],
        }),
        list: Some(landfall_core::ListDef {
            elements_required: false,
        }),
        ty: landfall_core::FieldType::Model("Book".into()),
        ..fixtures::scalar("books", landfall_core::Scalar::String)
    });
    let mut book = fixtures::model(
        "Book",
        "Books",
        vec![
            fixtures::scalar("authorId", landfall_core::Scalar::Id),
            fixtures::scalar("title", landfall_core::Scalar::String),
        ],
    );
    book.indexes = vec![landfall_core::IndexDef {
        name: "byAuthor".to_owned(),
        fields: vec!["authorId".into(), "title".into()],
        query_field: None,
    }];
    parts.models = vec![author, book];
    let compiled = CompiledSchema::compile(fixtures::build(parts)).unwrap();
    assert!(members(&compiled, "Author").contains(
        &"books(title: ModelStringKeyConditionInput, filter: ModelBookFilterInput, sortDirection: ModelSortDirection, limit: Int, nextToken: String): ModelBookConnection".to_owned()
    ));
    assert_eq!(
        compiled.model("Book").indexes.len(),
        1,
        "the declared index serves the relation"
    );
}

#[test]
fn colliding_names_are_refused() {
    let parts = landfall_core::SchemaParts {
        models: vec![
            fixtures::model("post", "Posts", vec![]),
            fixtures::model("Post", "Postses", vec![]),
        ],
        ..landfall_core::SchemaParts::default()
    };
    let refused = CompiledSchema::compile(fixtures::build(parts)).unwrap_err();
    assert!(refused.to_string().contains("getPost"), "{refused}");
}

/// The example of the protocol's listings as an application writes it.
const EXAMPLE: &str = r#"
enum Status { DRAFT LIVE }
type Geo { lat: Float! lon: Float }
type Post @model {
  id: ID!  title: String!  rating: Int @default(value: "0")  score: Float  live: Boolean
  status: Status  kinds: [Status]  tags: [String]  at: AWSDateTime  where: Geo  meta: AWSJSON
  blogId: ID @index(name: "byBlog", sortKeyFields: ["title"], queryField: "postsByBlog")
  comments: [Comment] @hasMany
  labels: [Label] @manyToMany(relationName: "PostLabels")
}
type Comment @model { content: String!  post: Post @belongsTo }
type Label @model { name: String!  posts: [Post] @manyToMany(relationName: "PostLabels") }
type Device @model(timestamps: { createdAt: "made", updatedAt: "touched" }) {
  org: ID! @primaryKey(sortKeyFields: ["serial", "rev"])  serial: String!  rev: Int!  note: String
}
"#;

#[test]
fn the_example_read_from_sdl_gives_the_same_schema() {
    let schema = landfall_codegen::parse_sdl("schema.graphql", EXAMPLE).unwrap();
    let from_sdl = CompiledSchema::compile(Arc::new(schema)).unwrap();
    let by_hand = blog();
    let types = |compiled: &CompiledSchema| -> Vec<String> {
        let user_types = compiled.graphql().types.values().filter(|ty| !ty.is_built_in());
        let mut names: Vec<String> = user_types.map(|ty| ty.name().to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(types(&from_sdl), types(&by_hand));
    for ty in types(&by_hand) {
        let def = &by_hand.graphql().types[ty.as_str()];
        if def.is_object() || def.is_input_object() {
            assert_eq!(members(&from_sdl, &ty), members(&by_hand, &ty), "{ty}");
        }
    }
}
