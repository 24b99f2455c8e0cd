//! What `@model` says of operations, in introspection JSON.
//!
//! Owns both directions, for the members `queries`, `mutations` and `subscriptions` that Amplify writes as they stand in
//! the directive, and for `pageLimits`, which is ours. Only what differs from the default is written, so that a schema
//! that says nothing has the hash it always had.

use serde_json::{Map, Value as Json, json};

use super::read::Reader;
use crate::names::FieldName;
use crate::schema::{ModelApi, ApiName, SubscriptionLevel};

/// Adds what differs from the default to the properties of the model attribute.
pub(super) fn write(api: &ModelApi, properties: &mut Map<String, Json>) {
    let groups = [
        (
            "queries",
            [("get", &api.get), ("list", &api.list), ("sync", &api.sync)],
        ),
        (
            "mutations",
            [
                ("create", &api.create),
                ("update", &api.update),
                ("delete", &api.delete),
            ],
        ),
    ];
    for (group, names) in groups {
        let mut members = Map::new();
        for (member, name) in names {
            put(&mut members, member, name);
        }
        if !members.is_empty() {
            properties.insert(group.to_owned(), Json::Object(members));
        }
    }
    let mut members = Map::new();
    put(&mut members, "onCreate", &api.on_create);
    put(&mut members, "onUpdate", &api.on_update);
    put(&mut members, "onDelete", &api.on_delete);
    match api.subscriptions {
        SubscriptionLevel::On => {}
        SubscriptionLevel::Public => drop(members.insert("level".to_owned(), json!("public"))),
        SubscriptionLevel::Off => drop(members.insert("level".to_owned(), json!("off"))),
    }
    if !members.is_empty() {
        properties.insert("subscriptions".to_owned(), Json::Object(members));
    }
    if !api.page_limits.is_empty() {
        properties.insert("pageLimits".to_owned(), json!(api.page_limits));
    }
}

fn put<T: serde::Serialize>(members: &mut Map<String, Json>, member: &str, name: &ApiName<T>) {
    let value = match name {
        ApiName::ByRule => return,
        ApiName::Off => Json::Null,
        ApiName::Named(name) => json!(name),
    };
    members.insert(member.to_owned(), value);
}

impl Reader {
    /// Reads the properties of a model attribute.
    pub(super) fn api(&mut self, properties: &Json, path: &str) -> ModelApi {
        let path = format!("{path}.properties");
        let queries = Group::of(properties, "queries");
        let mutations = Group::of(properties, "mutations");
        let subscriptions = Group::of(properties, "subscriptions");
        let level = match properties.pointer("/subscriptions/level").and_then(Json::as_str) {
            Some("off") => SubscriptionLevel::Off,
            Some("public") => SubscriptionLevel::Public,
            Some("on") | None => SubscriptionLevel::On,
            Some(_) => {
                self.fault(
                    &format!("{path}.subscriptions.level"),
                    "must be off, public or on",
                );
                SubscriptionLevel::On
            }
        };
        ModelApi {
            get: self.operation(queries, &path, "get"),
            list: self.operation(queries, &path, "list"),
            sync: self.operation(queries, &path, "sync"),
            create: self.operation(mutations, &path, "create"),
            update: self.operation(mutations, &path, "update"),
            delete: self.operation(mutations, &path, "delete"),
            on_create: self.operations(subscriptions, &path, "onCreate"),
            on_update: self.operations(subscriptions, &path, "onUpdate"),
            on_delete: self.operations(subscriptions, &path, "onDelete"),
            subscriptions: level,
            page_limits: self.page_limits(properties, &path),
        }
    }

    fn operation(&mut self, group: Group<'_>, path: &str, member: &str) -> ApiName {
        match self.operations(group, path, member) {
            ApiName::ByRule => ApiName::ByRule,
            ApiName::Off => ApiName::Off,
            ApiName::Named(names) => match names.into_iter().next() {
                Some(name) => ApiName::Named(name),
                None => ApiName::Off,
            },
        }
    }

    fn operations(&mut self, group: Group<'_>, path: &str, member: &str) -> ApiName<Vec<String>> {
        let value = match group {
            Group::Absent => return ApiName::ByRule,
            Group::Off => return ApiName::Off,
            Group::Given(members) => members.get(member),
        };
        match value {
            None => ApiName::ByRule,
            Some(Json::Null) => ApiName::Off,
            Some(value) => ApiName::Named(
                self.names(Some(value), &format!("{path}.{member}"))
                    .unwrap_or_default(),
            ),
        }
    }

    fn page_limits(&mut self, properties: &Json, path: &str) -> std::collections::BTreeMap<FieldName, u32> {
        let members = properties.get("pageLimits").and_then(Json::as_object);
        let mut limits = std::collections::BTreeMap::new();
        for (field, limit) in members.into_iter().flatten() {
            match limit
                .as_u64()
                .and_then(|limit| u32::try_from(limit).ok())
                .filter(|n| *n > 0)
            {
                Some(limit) => drop(limits.insert(FieldName::new(field), limit)),
                None => self.fault(
                    &format!("{path}.pageLimits.{field}"),
                    "must be a whole number above 0",
                ),
            }
        }
        limits
    }
}

/// One of the three groups of operations.
#[derive(Clone, Copy)]
enum Group<'a> {
    Absent,
    Off,
    Given(&'a Map<String, Json>),
}

impl<'a> Group<'a> {
    fn of(properties: &'a Json, name: &str) -> Self {
        match properties.get(name) {
            Some(Json::Null) => Self::Off,
            Some(Json::Object(members)) => Self::Given(members),
            _ => Self::Absent,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{Schema, SchemaParts};
    use crate::test_support::{model, sdl};

    fn with(api: ModelApi) -> Schema {
        Schema::build(SchemaParts {
            models: vec![model("Post", sdl("id: ID!, title: String"))],
            apis: [("Post".into(), api)].into(),
            ..SchemaParts::default()
        })
        .expect("a sound schema")
    }

    #[test]
    fn what_a_model_calls_its_operations_comes_back_as_it_was_written() {
        let api = ModelApi {
            get: ApiName::Named("post".to_owned()),
            list: ApiName::Off,
            delete: ApiName::Off,
            on_create: ApiName::Named(vec!["made".to_owned(), "born".to_owned()]),
            on_delete: ApiName::Off,
            subscriptions: SubscriptionLevel::Public,
            page_limits: [("comments".into(), 7)].into(),
            ..ModelApi::default()
        };
        let schema = with(api.clone());
        let json = super::super::to_json(&schema);
        assert_eq!(
            json["models"]["Post"]["attributes"][0]["properties"],
            json!({
                "queries": {"get": "post", "list": null}, "mutations": {"delete": null},
                "subscriptions": {"onCreate": ["made", "born"], "onDelete": null, "level": "public"},
                "pageLimits": {"comments": 7}
            })
        );
        let back = super::super::from_json(&json).expect("a sound document");
        assert_eq!(back.model("Post").expect("the model").api, api);
        assert_ne!(schema.hash(), with(ModelApi::default()).hash());
    }

    #[test]
    fn groups_that_are_null_are_switched_off_as_a_whole() {
        let mut json = super::super::to_json(&with(ModelApi::default()));
        json["models"]["Post"]["attributes"][0]["properties"] =
            json!({"queries": null, "subscriptions": null, "mutations": {"create": "add"}});
        let schema = super::super::from_json(&json).expect("a sound document");
        let api = &schema.model("Post").expect("the model").api;
        assert!(!api.get.is_on() && !api.list.is_on() && !api.sync.is_on());
        assert!(!api.on_create.is_on() && !api.on_update.is_on() && !api.on_delete.is_on());
        assert_eq!(api.create, ApiName::Named("add".to_owned()));
        assert!(api.update.is_on());
    }
}
