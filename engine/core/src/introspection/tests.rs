use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{from_json, to_json};
use crate::names::FieldName;
use crate::scalar::Scalar;
use crate::schema::{
    Association, EnumDef, FieldDef, FieldType, KeyDef, KeyKind, ListDef, ModelParts, Schema, SchemaParts,
    Timestamps,
};
use crate::test_support::{
    belongs_to, blog, field, fields_of, has_many, index, model, names, object, proptest_config, relation,
    typed,
};

/// What `Project` and `Team`, `Post` and `Comment`, and the join model look like with custom keys switched on.
fn newer() -> Json {
    json!({
        "version": 1,
        "models": {
            "Post": {
                "name": "Post", "syncable": true, "pluralName": "Posts",
                "fields": {
                    "id": scalar("id", "ID", true),
                    "tags": {"name": "tags", "isArray": true, "type": "String", "isRequired": true, "isArrayNullable": true, "attributes": []},
                    "kinds": {"name": "kinds", "isArray": true, "type": {"enum": "Kind"}, "isRequired": false, "isArrayNullable": false, "attributes": []},
                    "at": {"name": "at", "isArray": false, "type": {"nonModel": "Geo"}, "isRequired": false, "attributes": []},
                    "comments": many("comments", "Comment", json!(["postCommentsId"])),
                    "labels": many("labels", "PostLabels", json!(["post"])),
                    "createdAt": read_only("createdAt"),
                    "updatedAt": read_only("updatedAt"),
                },
                "attributes": [
                    {"type": "model", "properties": {}},
                    {"type": "key", "properties": {"name": "byTag", "queryField": "postsByTag", "fields": ["id", "createdAt"]}},
                    {"type": "auth", "properties": {"rules": [{"allow": "owner", "ownerField": "owner"}]}},
                    {"type": "auth", "properties": {"rules": [{"allow": "private"}]}},
                    {"type": "aws_cognito_user_pools", "properties": {}},
                ],
                "primaryKeyInfo": {"isCustomPrimaryKey": false, "primaryKeyFieldName": "id", "sortKeyFieldNames": []},
            },
            "Comment": {
                "name": "Comment", "syncable": true, "pluralName": "Comments", "attributes": [],
                "fields": {
                    "id": scalar("id", "ID", true),
                    "post": one("post", "Post", json!({"connectionType": "BELONGS_TO", "targetNames": ["postCommentsId"]})),
                    "postCommentsId": scalar("postCommentsId", "ID", false),
                },
            },
            "PostLabels": {
                "name": "PostLabels", "pluralName": "PostLabels", "attributes": [],
                "fields": {
                    "id": scalar("id", "ID", true),
                    "postId": scalar("postId", "ID", true),
                    "post": one("post", "Post", json!({"connectionType": "BELONGS_TO", "targetNames": ["postId"]})),
                },
            },
            "Device": {
                "name": "Device", "syncable": false, "pluralName": "Devices",
                "fields": {"org": scalar("org", "ID", true), "rev": scalar("rev", "Int", true)},
                "attributes": [{"type": "model", "properties": {"timestamps": {"createdAt": "made", "updatedAt": null}}}],
                "primaryKeyInfo": {"isCustomPrimaryKey": true, "primaryKeyFieldName": "org", "sortKeyFieldNames": ["rev"]},
            },
        },
        "enums": {"Kind": {"name": "Kind", "values": ["A", "B"]}},
        "nonModels": {"Geo": {"name": "Geo", "fields": {"lat": scalar("lat", "Float", true)}}},
    })
}

fn scalar(name: &str, ty: &str, required: bool) -> Json {
    json!({"name": name, "isArray": false, "type": ty, "isRequired": required, "attributes": []})
}

fn read_only(name: &str) -> Json {
    json!({"name": name, "isArray": false, "type": "AWSDateTime", "isRequired": false, "attributes": [], "isReadOnly": true})
}

fn one(name: &str, other: &str, association: Json) -> Json {
    let mut field = json!({"name": name, "isArray": false, "type": {"model": other}, "isRequired": false, "attributes": []});
    field["association"] = association;
    field
}

fn many(name: &str, other: &str, associated_with: Json) -> Json {
    let mut field = one(name, other, json!({"connectionType": "HAS_MANY"}));
    field["isArray"] = true.into();
    field["isArrayNullable"] = true.into();
    field["association"]["associatedWith"] = associated_with;
    field
}

fn association<'a>(schema: &'a Schema, model: &str, field: &str) -> &'a Association {
    let field = schema
        .model(model)
        .and_then(|model| model.field(field))
        .expect("a field");
    field.association.as_ref().expect("a relation")
}

fn shape(schema: &Schema, model: &str) -> String {
    let fields = schema.model(model).expect("a model").stored_fields();
    fields
        .map(|field| format!("{}: {field}", field.name))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn rules_on_fields_stand_among_the_attributes_of_the_fields() {
    let mut document = newer();
    let rules = json!([{"type": "auth", "properties": {"rules": [{"allow": "private"}]}}]);
    document["models"]["Post"]["fields"]["tags"]["attributes"] = rules.clone();
    let schema = from_json(&document).expect("a sound document");
    let rule = schema.model("Post").expect("a model").auth.last().cloned();
    assert_eq!(rule, Some(json!({"allow": "private", "field": "tags"})));
    let written = to_json(&schema);
    assert_eq!(written["models"]["Post"]["fields"]["tags"]["attributes"], rules);
    assert_eq!(from_json(&written).expect("a sound document"), schema);
}

#[test]
fn the_newer_form_is_read_in_full() {
    let schema = from_json(&newer()).expect("a sound document");
    assert_eq!(
        shape(&schema, "Post"),
        "id: ID!, tags: [String!], kinds: [Kind]!, at: Geo, createdAt: AWSDateTime, updatedAt: AWSDateTime"
    );
    let post = schema.model("Post").expect("a model");
    assert!(post.fields["createdAt"].read_only);
    assert_eq!(post.indexes[0].query_field.as_deref(), Some("postsByTag"));
    assert_eq!(
        post.auth.len(),
        2,
        "the rules of both attributes: {:?}",
        post.auth
    );
    assert_eq!(post.key.kind, KeyKind::Managed);
    let many = |fields: &[&str]| Association::HasMany {
        associated_with: names(fields),
    };
    assert_eq!(
        *association(&schema, "Post", "comments"),
        many(&["postCommentsId"])
    );
    assert_eq!(
        *association(&schema, "Post", "labels"),
        many(&["postId"]),
        "a relation field means its foreign keys"
    );
    let device = schema.model("Device").expect("a model");
    assert_eq!((device.key.kind, device.syncable), (KeyKind::Composite, false));
    assert_eq!(
        device.timestamps,
        Timestamps {
            created_at: Some("made".into()),
            updated_at: None
        }
    );
}

#[test]
fn the_outputs_file_around_the_document_is_taken_off() {
    let wrapped = json!({"version": "1", "data": {"url": "https://x", "model_introspection": newer()}});
    assert_eq!(
        from_json(&wrapped).expect("a sound document"),
        from_json(&newer()).expect("a sound document")
    );
}

#[test]
fn the_older_form_gains_its_foreign_keys() {
    let mut document = newer();
    document["version"] = "775a542d".into();
    document["models"]
        .as_object_mut()
        .expect("models")
        .retain(|name, _| name == "Post" || name == "Comment");
    document["models"]["Post"]["fields"]
        .as_object_mut()
        .expect("fields")
        .remove("labels");
    document["models"]["Post"]["fields"]["comments"]["association"]["associatedWith"] = "post".into();
    let fields = document["models"]["Comment"]["fields"]
        .as_object_mut()
        .expect("fields");
    fields.remove("postCommentsId");
    fields["post"]["association"] = json!({"connectionType": "BELONGS_TO", "targetName": "commentPostId"});
    let schema = from_json(&document).expect("a sound document");
    assert_eq!(shape(&schema, "Comment"), "id: ID!, commentPostId: ID");
    let comments = Association::HasMany {
        associated_with: names(&["commentPostId"]),
    };
    assert_eq!(*association(&schema, "Post", "comments"), comments);

    // Without a belongs-to on the other side `associatedWith` is the bare foreign key.
    document["models"]["Post"]["fields"]["comments"]["association"]["associatedWith"] =
        "postCommentsId".into();
    document["models"]["Comment"]["fields"]
        .as_object_mut()
        .expect("fields")
        .remove("post");
    let schema = from_json(&document).expect("a sound document");
    assert_eq!(shape(&schema, "Comment"), "id: ID!, postCommentsId: ID");
}

#[test]
fn a_has_one_that_holds_the_key_is_associated_with_the_other_key() {
    let has_one = |associated_with: Json| {
        json!({"models": {
            "Project": {"name": "Project", "pluralName": "Projects", "fields": {
                "id": scalar("id", "ID", true),
                "team": one("team", "Team", json!({
                    "connectionType": "HAS_ONE", "associatedWith": associated_with, "targetName": "projectTeamCode"
                })),
            }},
            "Team": {"name": "Team", "pluralName": "Teams",
                "attributes": [{"type": "key", "properties": {"fields": ["code"]}}],
                "fields": {
                    "code": scalar("code", "Int", true),
                    "project": one("project", "Project", json!({"connectionType": "BELONGS_TO", "targetName": "teamProjectId"})),
                }},
        }})
    };
    for form in [json!(["code"]), json!("project"), Json::Null] {
        let schema = from_json(&has_one(form.clone())).expect("a sound document");
        let expected = Association::HasOne {
            associated_with: names(&["code"]),
            targets: names(&["projectTeamCode"]),
        };
        assert_eq!(*association(&schema, "Project", "team"), expected, "from {form}");
        assert_eq!(
            shape(&schema, "Project"),
            "id: ID!, projectTeamCode: Int",
            "the type of the key it refers to"
        );
    }
}

#[track_caller]
fn check_faults(change: impl FnOnce(&mut Json), expected: &[&str]) {
    let mut document = newer();
    change(&mut document);
    let faults = from_json(&document).expect_err("a fault");
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn every_fault_says_where_it_is() {
    check_faults(
        |d| *d = json!([]),
        &["document: must be an object with the member `models`"],
    );
    check_faults(
        |d| d["version"] = 2.into(),
        &["version: is 2; the newest that is understood is 1"],
    );
    check_faults(
        |d| d["models"]["Post"]["fields"]["tags"]["type"] = "Text".into(),
        &["models.Post.fields.tags: has the unknown scalar type `Text`"],
    );
    check_faults(
        |d| {
            d["models"]["Post"]["fields"]["tags"]["isArray"] = "yes".into();
            d["models"]["Comment"]["pluralName"] = Json::Null;
        },
        &[
            "models.Post.fields.tags.isArray: must be true or false",
            "models.Comment: has no `pluralName`, which the names of its queries are made of",
        ],
    );
    check_faults(
        |d| d["models"]["Post"]["fields"]["labels"]["association"]["connectionType"] = "MANY".into(),
        &[
            "models.Post.fields.labels.association: must have the `connectionType` BELONGS_TO, HAS_ONE or HAS_MANY",
        ],
    );
    check_faults(
        |d| {
            d["models"]["Post"]["fields"]["tags"]["association"] =
                json!({"connectionType": "BELONGS_TO", "targetNames": ["id"]});
        },
        &[
            "models.Post.fields.tags.association: is on a field of type [String!]; only fields of a model type are relations",
        ],
    );
    check_faults(
        |d| d["enums"]["Kind"]["values"] = json!(["A", "no value"]),
        &[
            "enums.Kind.values.no value: is not a GraphQL name: letters, digits and `_`, not beginning with a digit",
        ],
    );
    check_faults(
        |d| d["models"]["Device"]["primaryKeyInfo"]["primaryKeyFieldName"] = "serial".into(),
        &[
            "models.Device: the primary key of `Device` names `serial`, which is not a stored field of `Device`",
        ],
    );
}

#[test]
fn the_number_of_faults_and_of_types_is_bounded() {
    let fields: serde_json::Map<String, Json> = (0..500).map(|n| (format!("f{n}"), json!({}))).collect();
    let document = json!({"models": {"A": {"pluralName": "As", "fields": fields}}});
    assert_eq!(
        from_json(&document).expect_err("faults").len(),
        super::read::FAULTS_MAX
    );
    let enums: serde_json::Map<String, Json> = (0..10_001).map(|n| (format!("E{n}"), json!({}))).collect();
    let faults = from_json(&json!({"models": {}, "enums": enums})).expect_err("faults");
    assert_eq!(
        faults[0].to_string(),
        "enums: has 10001 members; the most is 10000"
    );
}

#[test]
fn objects_keep_the_order_of_their_members() {
    let text = to_json(&blog()).to_string();
    assert!(text.find("\"Comment\":{").expect("written") < text.find("\"Blog\":{").expect("written"));
    let parsed: Json = serde_json::from_str(&text).expect("JSON");
    let read = from_json(&parsed).expect("a sound document");
    assert_eq!(read, blog());
    assert_eq!(read.hash(), blog().hash());
}

fn scalar_type() -> impl Strategy<Value = FieldType> {
    let scalars: Vec<Scalar> = Scalar::all().collect();
    prop_oneof![
        8 => prop::sample::select(scalars).prop_map(FieldType::Scalar),
        1 => Just(FieldType::Enum("Kind".into())),
        1 => Just(FieldType::NonModel("Geo".into())),
    ]
}

prop_compose! {
    fn any_field(index: usize)(
        ty in scalar_type(),
        list in prop::option::of(any::<bool>()),
        required in any::<bool>(),
        read_only in any::<bool>(),
        default in prop::option::of("[a-z\"\\\\ ]{0,4}"),
    ) -> FieldDef {
        FieldDef {
            ty,
            list: list.map(|elements_required| ListDef { elements_required }),
            required,
            read_only,
            default,
            ..FieldDef::scalar(&format!("f{index}"), Scalar::Id)
        }
    }
}

/// A model with a key of one to three fields, some fields, an index over the key, and perhaps a relation to the first.
fn any_model(index: usize) -> impl Strategy<Value = ModelParts> {
    let fields = (0..6_usize).prop_flat_map(|n| (0..n).map(any_field).collect::<Vec<_>>());
    let stamps = (
        prop::option::of(Just("made".into())),
        prop::option::of(Just("touched".into())),
    );
    let auth = prop::collection::vec(prop::sample::select(vec!["owner", "private"]), 0..2);
    (fields, 0..4_usize, stamps, auth, any::<(bool, bool, bool)>()).prop_map(
        move |(fields, key_len, (created_at, updated_at), auth, (syncable, related, default_stamps))| {
            let mut parts = model(&format!("M{index}"), fields);
            parts.syncable = syncable;
            if !default_stamps {
                parts.timestamps = Timestamps {
                    created_at,
                    updated_at,
                };
            }
            parts.auth = auth.into_iter().map(|allow| json!({ "allow": allow })).collect();
            let key: Vec<FieldName> = (0..key_len.max(1))
                .map(|n| {
                    if n == 0 && key_len < 2 {
                        "id".into()
                    } else {
                        FieldName::from(format!("k{n}"))
                    }
                })
                .collect();
            parts.fields.extend(key.iter().map(|name| FieldDef {
                required: true,
                ..FieldDef::scalar(name, Scalar::Id)
            }));
            parts.key = KeyDef::of_fields(key.clone(), key_len > 0);
            parts.indexes.push(index_of(&key, related));
            if related {
                parts.fields.push(field("parentId: ID"));
                parts.fields.push(belongs_to("parent", "Root", &["parentId"]));
                parts.fields.push(relation(
                    "only",
                    "Root",
                    Association::HasOne {
                        associated_with: names(&["id"]),
                        targets: names(&["parentId"]),
                    },
                ));
            }
            parts
        },
    )
}

fn index_of(key: &[FieldName], with_query: bool) -> crate::schema::IndexDef {
    let mut def = index("byKey", &[]);
    def.fields = key.to_vec();
    def.query_field = with_query.then(|| "readByKey".to_owned());
    def
}

proptest! {
    #![proptest_config(proptest_config(256))]

    #[test]
    fn reading_what_was_written_gives_the_same_schema(
        models in (1..4_usize).prop_flat_map(|n| (0..n).map(any_model).collect::<Vec<_>>()),
    ) {
        let mut root = model("Root", fields_of(&["id: ID!"]));
        for child in models.iter().filter(|model| model.fields.iter().any(|f| f.name == "parent")) {
            root.fields.push(has_many(&format!("all{}", child.name), &child.name, &["parentId"]));
        }
        let parts = SchemaParts {
            models: [vec![root], models].concat(),
            enums: vec![EnumDef { name: "Kind".into(), values: vec!["A".into(), "b_2".into()] }],
            non_models: vec![object("Geo", vec![field("lat: Float!"), typed("next: Geo", FieldType::NonModel("Geo".into()))])],
            ..SchemaParts::default()
        };
        let schema = Schema::build(parts).expect("a sound schema");
        let json = to_json(&schema);
        let text = json.to_string();
        let again = from_json(&serde_json::from_str(&text).expect("JSON")).expect("a sound document");
        prop_assert_eq!(&again, &schema);
        let stored = |schema: &Schema| schema.models().map(|m| shape(schema, &m.name)).collect::<Vec<_>>();
        prop_assert_eq!(stored(&again), stored(&schema), "slots are numbered alike");
        prop_assert_eq!(to_json(&again).to_string(), text);
        prop_assert_eq!(again.hash(), schema.hash());
    }
}
