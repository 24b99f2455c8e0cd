//! Authorization rules: from `@auth` to the form that model introspection has.
//!
//! Owns the defaults that Amplify fills in and the pairs of strategy and provider that it allows. Does not authorize.

use apollo_compiler::Node;
use apollo_compiler::ast::{Directive, Value};
use landfall_core::AUTH_FIELD;
use serde_json::{Map, Value as Json, json};

use super::document::TypeNode;
use crate::diagnostics::Faults;

/// Operations of a rule that names none.
const DEFAULT_OPERATIONS: [&str; 4] = ["create", "update", "delete", "read"];

/// Which providers a strategy can have; the first is what Amplify takes if none is given.
const PROVIDERS: [(&str, &[&str]); 5] = [
    ("owner", &["userPools", "oidc"]),
    ("groups", &["userPools", "oidc"]),
    ("private", &["userPools", "oidc", "iam", "identityPool"]),
    ("public", &["apiKey", "iam", "identityPool"]),
    ("custom", &["function"]),
];

/// The rules of an `@auth` directive in introspection form.
pub(super) fn rules(directive: &Directive, faults: &mut Faults) -> Vec<Json> {
    let Some(value) = directive.specified_argument_by_name("rules") else {
        return Vec::new();
    };
    let items = value.as_list().unwrap_or(std::slice::from_ref(value));
    items.iter().filter_map(|item| rule(item, faults)).collect()
}

/// Refuses rules where none is ever applied: on a type that is no model, and on its fields.
pub(super) fn check_placement(node: &TypeNode, faults: &mut Faults) {
    let on_fields = node.fields.iter().flat_map(|field| field.directives.iter());
    let rules = node.directives.iter().chain(on_fields).filter(|directive| {
        // One without rules is refused as such.
        directive.name == "auth" && directive.specified_argument_by_name("rules").is_some()
    });
    for directive in rules {
        let name = &node.name;
        faults.at(
            directive.location(),
            format!("`{name}` is no model, so no rule on it is applied"),
            "put the rule on the fields of models that have this type",
        );
    }
}

/// The rules of an `@auth` directive on a field, each with the field's name.
pub(super) fn field_rules(directive: &Directive, field: &str, faults: &mut Faults) -> Vec<Json> {
    let mut rules = rules(directive, faults);
    for rule in &mut rules {
        rule[AUTH_FIELD] = json!(field);
    }
    rules
}

fn rule(value: &Node<Value>, faults: &mut Faults) -> Option<Json> {
    let given: Map<String, Json> = value
        .as_object()?
        .iter()
        .map(|(name, value)| (name.to_string(), to_json(value)))
        .collect();
    let text = |name: &str| given.get(name).and_then(Json::as_str);
    let allow = text("allow")?;
    let (_, providers) = PROVIDERS.iter().find(|(strategy, _)| *strategy == allow)?;
    if let Some(provider) = text("provider").filter(|provider| !providers.contains(provider)) {
        faults.at(
            value.location(),
            format!("the rule `allow: {allow}` cannot have the provider `{provider}`"),
            format!("use one of {}, or leave `provider` out", providers.join(", ")),
        );
        return None;
    }
    let mut rule = Map::new();
    let mut put = |name: &str, value: Json| {
        rule.insert(name.to_owned(), value);
    };
    // What Amplify's own generator leaves to the reader of a public or private rule is left out here as well.
    match text("provider") {
        Some(provider) => put("provider", json!(provider)),
        None if matches!(allow, "owner" | "groups") => put("provider", json!(providers[0])),
        None => {}
    }
    match allow {
        "owner" => {
            let claim = text("identityClaim")
                .or_else(|| text("identityField"))
                .unwrap_or("sub::username");
            // Both spellings of the user's name stand for one claim of the token.
            let claim = if matches!(claim, "username" | "sub::username") {
                "cognito:username"
            } else {
                claim
            };
            put("ownerField", json!(text("ownerField").unwrap_or("owner")));
            put("allow", json!(allow));
            put("identityClaim", json!(claim));
        }
        "groups" => {
            put(
                "groupClaim",
                json!(text("groupClaim").unwrap_or("cognito:groups")),
            );
            put("allow", json!(allow));
            match given.get("groups").filter(|groups| !groups.is_null()) {
                Some(groups) => put("groups", one_or_many(groups)),
                None => put("groupsField", json!(text("groupsField").unwrap_or("groups"))),
            }
        }
        _ => put("allow", json!(allow)),
    }
    let operations = ["operations", "mutations"]
        .iter()
        .find_map(|name| given.get(*name))
        .map(one_or_many);
    check_operations(value, operations.as_ref(), faults);
    put(
        "operations",
        operations.unwrap_or_else(|| json!(DEFAULT_OPERATIONS)),
    );
    Some(Json::Object(rule))
}

/// The operations that `read` stands for, which Amplify does not take beside it.
const READS: [&str; 5] = ["get", "list", "sync", "listen", "search"];

fn check_operations(value: &Node<Value>, operations: Option<&Json>, faults: &mut Faults) {
    let names: Vec<&str> = operations
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    if names.contains(&"read")
        && let Some(finer) = READS.iter().find(|name| names.contains(*name))
    {
        faults.at(
            value.location(),
            format!("the operation `read` already stands for `{finer}`"),
            format!("leave out `{finer}`, or name the operations one by one instead of `read`"),
        );
    }
}

fn one_or_many(value: &Json) -> Json {
    if value.is_array() {
        value.clone()
    } else {
        json!([value])
    }
}

/// A literal as JSON; enum values become strings.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Null | Value::Variable(_) => Json::Null,
        Value::Enum(name) => json!(name.as_str()),
        Value::String(text) => json!(text),
        Value::Boolean(flag) => json!(flag),
        Value::Int(number) => number.as_str().parse::<i64>().map_or(Json::Null, Json::from),
        Value::Float(number) => number.try_to_f64().map_or(Json::Null, Json::from),
        Value::List(items) => items.iter().map(|item| to_json(item)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.to_string(), to_json(value)))
            .collect(),
    }
}
