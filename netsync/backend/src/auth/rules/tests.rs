//! Rules as the schema gives them, good and bad.

use serde_json::json;

use super::*;

fn read(rules: Json) -> Result<ModelRules, String> {
    let def = ModelDefOf(rules).build();
    match ModelRules::read(&def) {
        Ok(rules) => Ok(rules.unwrap_or_default()),
        Err(error) => Err(error.to_string()),
    }
}

/// A note with these rules.
struct ModelDefOf(Json);

impl ModelDefOf {
    fn build(self) -> std::sync::Arc<ModelDef> {
        use crate::fixtures::{model, scalar};
        let fields = vec![
            scalar("text", Scalar::String),
            scalar("team", Scalar::String),
            scalar("rank", Scalar::Int),
        ];
        let mut parts = model("Note", "Notes", fields);
        parts.auth = self.0.as_array().unwrap().clone();
        let schema = landfall_core::Schema::build(landfall_core::SchemaParts {
            models: vec![parts],
            enums: Vec::new(),
            non_models: Vec::new(),
            apis: std::collections::BTreeMap::new(),
        });
        std::sync::Arc::clone(schema.unwrap().model("Note").unwrap())
    }
}

#[test]
fn defaults_are_amplifys() {
    let rules =
        read(json!([{"allow": "owner"}, {"allow": "groups", "groups": "Admin"}, {"allow": "public"}]))
            .unwrap();
    let all: BTreeSet<Operation> = Operation::ALL.into();
    let shown: Vec<(&Who, Provider)> = rules
        .model
        .iter()
        .map(|rule| (&rule.who, rule.provider))
        .collect();
    let owner = Who::Owner {
        field: "owner".into(),
        claim: vec!["sub".to_owned(), "username".to_owned()],
    };
    let groups = Who::Groups {
        claim: "cognito:groups".to_owned(),
        groups: BTreeSet::from(["Admin".to_owned()]),
    };
    assert_eq!(
        shown,
        [
            (&owner, Provider::UserPools),
            (&groups, Provider::UserPools),
            (&Who::Public, Provider::ApiKey)
        ]
    );
    assert!(rules.model.iter().all(|rule| rule.operations == all));
}

#[test]
fn read_stands_for_four_operations() {
    let rules = read(json!([{"allow": "public", "operations": ["read", "create"]}])).unwrap();
    let expected = [
        Operation::Create,
        Operation::Get,
        Operation::List,
        Operation::Sync,
        Operation::Listen,
    ];
    assert_eq!(rules.model[0].operations, BTreeSet::from(expected));
    let rules = read(json!([{"allow": "public", "operations": ["search"]}])).unwrap();
    assert_eq!(rules.model[0].operations, BTreeSet::new());
}

#[test]
fn what_cannot_be_understood_is_refused() {
    for (rule, fault) in [
        (json!({}), "does not say whom"),
        (json!("owner"), "does not say whom"),
        (json!({"allow": "everybody"}), "no strategy `everybody`"),
        (json!({"allow": 5}), "`allow` must be a text"),
        (
            json!({"allow": "owner", "provider": "magic"}),
            "no provider `magic`",
        ),
        (
            json!({"allow": "owner", "provider": "apiKey"}),
            "cannot have the provider `apiKey`",
        ),
        (
            json!({"allow": "public", "provider": "userPools"}),
            "cannot have the provider",
        ),
        (
            json!({"allow": "private", "provider": "apiKey"}),
            "cannot have the provider",
        ),
        (
            json!({"allow": "custom", "provider": "iam"}),
            "cannot have the provider",
        ),
        (
            json!({"allow": "owner", "operations": ["fly"]}),
            "no operation \"fly\"",
        ),
        (json!({"allow": "owner", "operations": [5]}), "no operation 5"),
        (
            json!({"allow": "owner", "operations": ["read", "sync"]}),
            "already stands for `sync`",
        ),
        (
            json!({"allow": "owner", "ownerField": "rank"}),
            "must be a String",
        ),
        (
            json!({"allow": "owner", "ownerField": ""}),
            "`ownerField` must be a text",
        ),
        (
            json!({"allow": "groups", "groups": []}),
            "`groups` must be a list of texts",
        ),
        (
            json!({"allow": "groups", "groups": ["a", 5]}),
            "`groups` must be a list of texts",
        ),
        (json!({"allow": "groups"}), "declare it as a String"),
        (
            json!({"allow": "groups", "groupsField": "rank"}),
            "must be a String",
        ),
        (json!({"allow": "owner", "field": "none"}), "no field \"none\""),
    ] {
        let error = read(json!([rule])).expect_err(&rule.to_string());
        assert!(error.contains(fault), "{rule}: {error}");
    }
}

#[test]
fn rules_hide_when_they_depend_on_the_record_or_differ() {
    let rules = |json: Json| read(json).unwrap();
    let private = || rules(json!([{"allow": "private"}]));
    let both = || rules(json!([{"allow": "public"}, {"allow": "private"}]));
    assert!(!private().hides_from(&private()));
    assert!(private().hides_from(&both()) && both().hides_from(&private()));
    assert!(!both().hides_from(&rules(json!([{"allow": "private"}, {"allow": "public"}]))));
    let owner = || rules(json!([{"allow": "owner"}]));
    assert!(owner().hides_from(&owner()));
    let on_field = || rules(json!([{"allow": "private"}, {"allow": "private", "field": "text"}]));
    assert!(on_field().hides_from(&on_field()));
}
