//! Names of operations: `queries`, `mutations` and `subscriptions` of `@model`, and `limit` of relations.
//!
//! Owns their reading. Amplify lays what is given over its defaults; null switches off, of a group all its operations.
//! Nothing here changes what a client asks for: it builds the default names, as Amplify's do.

use apollo_compiler::Node;
use apollo_compiler::ast::{Directive, Value};
use landfall_core::{FieldName, ModelApi, ApiName, SubscriptionLevel};

use super::document::TypeNode;
use super::keys::is_name;
use super::{Builder, RELATION_DIRECTIVES};

/// One of the three groups of `@model`.
#[derive(Clone, Copy)]
enum Group<'a> {
    Absent,
    Off,
    Given(&'a [(apollo_compiler::Name, Node<Value>)]),
}

impl<'a> Group<'a> {
    fn of(directive: &'a Directive, name: &str) -> Self {
        match directive.specified_argument_by_name(name).map(|value| &**value) {
            None => Self::Absent,
            Some(Value::Null) => Self::Off,
            // A value of another kind has been reported already.
            Some(value) => value.as_object().map_or(Self::Absent, Self::Given),
        }
    }

    fn member(self, name: &str) -> Option<&'a Node<Value>> {
        match self {
            Self::Given(members) => members
                .iter()
                .find(|(member, _)| member == name)
                .map(|(_, value)| value),
            Self::Absent | Self::Off => None,
        }
    }
}

impl Builder<'_> {
    /// Reads what a model calls its operations.
    pub(super) fn api(&mut self, node: &TypeNode) -> ModelApi {
        let mut api = ModelApi {
            page_limits: self.page_limits(node),
            ..ModelApi::default()
        };
        let Some(directive) = node.directive("model") else {
            return api;
        };
        let queries = Group::of(directive, "queries");
        let mutations = Group::of(directive, "mutations");
        let subscriptions = Group::of(directive, "subscriptions");
        api.get = self.operation(queries, "get");
        api.list = self.operation(queries, "list");
        api.sync = self.operation(queries, "sync");
        api.create = self.operation(mutations, "create");
        api.update = self.operation(mutations, "update");
        api.delete = self.operation(mutations, "delete");
        api.on_create = self.operations(subscriptions, "onCreate");
        api.on_update = self.operations(subscriptions, "onUpdate");
        api.on_delete = self.operations(subscriptions, "onDelete");
        let level = subscriptions.member("level").and_then(|level| level.as_enum());
        api.subscriptions = match level.map(apollo_compiler::Name::as_str) {
            Some("off") => SubscriptionLevel::Off,
            Some("public") => SubscriptionLevel::Public,
            _ => SubscriptionLevel::On,
        };
        api
    }

    fn operation(&mut self, group: Group<'_>, member: &str) -> ApiName {
        match self.operations(group, member) {
            ApiName::ByRule => ApiName::ByRule,
            ApiName::Off => ApiName::Off,
            ApiName::Named(names) => names
                .into_iter()
                .next()
                .map_or(ApiName::Off, ApiName::Named),
        }
    }

    fn operations(&mut self, group: Group<'_>, member: &str) -> ApiName<Vec<String>> {
        if matches!(group, Group::Off) {
            return ApiName::Off;
        }
        let Some(value) = group.member(member) else {
            return ApiName::ByRule;
        };
        if value.is_null() {
            return ApiName::Off;
        }
        let mut names = Vec::new();
        // GraphQL reads a single value as a list of one.
        for item in value.as_list().unwrap_or(std::slice::from_ref(value)) {
            let Some(name) = item.as_str() else { continue };
            if is_name(name) {
                names.push(name.to_owned());
            } else {
                self.faults.at(
                    item.location(),
                    format!("`{name}` cannot be the name of an operation"),
                    "use letters, digits and `_` only",
                );
            }
        }
        if names.is_empty() {
            ApiName::Off
        } else {
            ApiName::Named(names)
        }
    }

    fn page_limits(&mut self, node: &TypeNode) -> std::collections::BTreeMap<FieldName, u32> {
        let mut limits = std::collections::BTreeMap::new();
        for field in &node.fields {
            let relations = field
                .directives
                .iter()
                .filter(|directive| RELATION_DIRECTIVES.contains(&directive.name.as_str()));
            for value in relations.filter_map(|directive| directive.specified_argument_by_name("limit")) {
                match value
                    .to_i32()
                    .and_then(|limit| u32::try_from(limit).ok())
                    .filter(|n| *n > 0)
                {
                    Some(limit) => drop(limits.insert(FieldName::new(&field.name), limit)),
                    None if value.to_i32().is_some() => self.faults.at(
                        value.location(),
                        format!("the page limit of `{}.{}` must be above 0", node.name, field.name),
                        "write the number of rows that a page is to have, such as 100",
                    ),
                    // A value of another kind has been reported already.
                    None => {}
                }
            }
        }
        limits
    }
}
