use landfall_core::{FieldDef, FieldType, ModelParts, NonModelDef, SchemaParts, Timestamps};
use serde_json::json;

use super::*;
use crate::testing::{required, schema, typed};

fn documents(model: &str) -> ModelDocuments {
    ModelDocuments::build(&schema(), model).expect("the model has documents")
}

const POST: &str = "id title rating score live status tags meta notes place { lat lon extra } blogId section owner \
                    createdAt updatedAt _version _lastChangedAt _deleted";

#[test]
fn a_sync_document_selects_every_stored_field_and_the_metadata() {
    assert_eq!(
        documents("Post").sync.text(),
        format!(
            "query SyncPosts($filter: ModelPostFilterInput, $limit: Int, $nextToken: String, $lastSync: \
             AWSTimestamp) {{ syncPosts(filter: $filter, limit: $limit, nextToken: $nextToken, lastSync: $lastSync) \
             {{ items {{ {POST} }} nextToken startedAt }} }}"
        )
    );
}

#[test]
fn mutations_take_an_input_and_a_condition() {
    let documents = documents("Post");
    let update = documents.mutation(MutationKind::Update);
    assert_eq!(
        update.text(),
        format!(
            "mutation UpdatePost($input: UpdatePostInput!, $condition: ModelPostConditionInput) {{ \
             updatePost(input: $input, condition: $condition) {{ {POST} blog {{ id _deleted }} }} }}"
        )
    );
    let names: Vec<_> = [MutationKind::Create, MutationKind::Update, MutationKind::Delete]
        .map(|kind| documents.mutation(kind).root_field().to_owned())
        .into();
    assert_eq!(names, ["createPost", "updatePost", "deletePost"]);
}

#[test]
fn subscriptions_come_with_and_without_a_filter_argument() {
    let documents = documents("Device");
    let plain = documents.subscription(SubscriptionKind::Delete);
    let fields = "org serial rev note _version _lastChangedAt _deleted";
    assert_eq!(
        plain.text(),
        format!("subscription OnDeleteDevice {{ onDeleteDevice {{ {fields} }} }}")
    );
    assert_eq!(
        documents.filtered_subscription(SubscriptionKind::Create).text(),
        format!(
            "subscription OnCreateDevice($filter: ModelSubscriptionDeviceFilterInput) {{ \
             onCreateDevice(filter: $filter) {{ {fields} }} }}"
        )
    );
    assert_eq!(
        documents.subscription(SubscriptionKind::Update).root_field(),
        "onUpdateDevice"
    );
}

#[test]
fn subscriptions_name_the_owner_where_that_is_wanted() {
    let documents = ModelDocuments::build_for_owner(&schema(), "Device", Some("keeper")).expect("documents");
    let fields = "org serial rev note _version _lastChangedAt _deleted";
    assert_eq!(
        documents.subscription(SubscriptionKind::Delete).text(),
        format!(
            "subscription OnDeleteDevice($keeper: String!) {{ onDeleteDevice(keeper: $keeper) {{ {fields} }} }}"
        )
    );
    assert_eq!(
        documents.filtered_subscription(SubscriptionKind::Create).text(),
        format!(
            "subscription OnCreateDevice($filter: ModelSubscriptionDeviceFilterInput, $keeper: String!) {{ \
             onCreateDevice(filter: $filter, keeper: $keeper) {{ {fields} }} }}"
        )
    );
}

#[test]
fn a_get_document_declares_every_key_field_with_its_type() {
    let get = documents("Device").get;
    assert!(
        get.text().starts_with(
            "query GetDevice($org: ID!, $serial: String!, $rev: Int!) { getDevice(org: $org, serial: $serial, rev: $rev) {"
        ),
        "{}",
        get.text()
    );
}

#[test]
fn lower_case_models_get_capitalized_fields_and_plain_filter_types() {
    let documents = documents("tree");
    assert_eq!(documents.sync.root_field(), "syncTrees");
    assert!(documents.sync.text().contains("$filter: ModeltreeFilterInput"));
    assert!(
        documents
            .mutation(MutationKind::Create)
            .text()
            .contains("$input: CreateTreeInput!")
    );
}

#[test]
fn recursive_types_are_selected_to_a_depth_and_hopeless_ones_not_at_all() {
    let text = documents("tree").get.text().to_owned();
    assert!(
        text.contains(
            "root { name children { name children { name children { name } } } } _version _lastChangedAt _deleted"
        ),
        "{text}"
    );
    assert!(!text.contains("empty") && !text.contains("{ }"), "{text}");
}

#[test]
fn a_selection_that_explodes_is_refused() {
    let both = |to: &str| {
        vec![
            typed("left", FieldType::NonModel(to.into())),
            typed("right", FieldType::NonModel(to.into())),
        ]
    };
    let non_models = (0..16)
        .map(|level| {
            let mut fields = both(&format!("T{}", (level + 1) % 16));
            fields.push(FieldDef::scalar("leaf", landfall_core::Scalar::String));
            NonModelDef {
                name: format!("T{level}"),
                fields: fields
                    .into_iter()
                    .map(|field| (field.name.clone(), field))
                    .collect(),
            }
        })
        .collect();
    let mut fields = vec![required(FieldDef::scalar("id", landfall_core::Scalar::Id))];
    fields.extend(both("T0"));
    let model = ModelParts {
        name: "Wide".into(),
        plural_name: "Wides".into(),
        syncable: true,
        fields,
        key: landfall_core::KeyDef {
            kind: landfall_core::KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    let schema = Schema::build(SchemaParts {
        apis: std::collections::BTreeMap::default(),
        models: vec![model],
        enums: Vec::new(),
        non_models,
    })
    .expect("sound");
    let error = ModelDocuments::build(&schema, "Wide").expect_err("too large");
    assert_eq!(error, WireError::SelectionTooLarge { model: "Wide".into() });
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let error = ModelDocuments::build(&schema(), "Nope").expect_err("unknown");
    assert_eq!(error.to_string(), "the schema has no model `Nope`");
}

#[test]
fn the_envelope_is_that_of_graphql_client() {
    let document = Document::new("GetThing", "getThing", "query GetThing { getThing { \"id\" } }");
    let variables = json!({"id": "1", "n": null})
        .as_object()
        .expect("an object")
        .clone();
    let theirs = graphql_client::QueryBody {
        variables: variables.clone(),
        query: "query GetThing { getThing { \"id\" } }",
        operation_name: "GetThing",
    };
    let ours: Json = serde_json::from_str(&document.request(&variables).body).expect("JSON");
    assert_eq!(ours, serde_json::to_value(theirs).expect("JSON"));
}

#[test]
fn start_data_holds_the_query_and_the_variables_only() {
    let document = documents("Blog").subscription(SubscriptionKind::Create).clone();
    let data: Json = serde_json::from_str(&document.start_data(&Map::new())).expect("JSON");
    assert_eq!(data, json!({"query": document.text(), "variables": {}}));
}
