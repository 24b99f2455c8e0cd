//! Primary keys, secondary indexes and timestamps.
//!
//! Owns `@primaryKey`, `@index`, `@key` and the timestamps of `@model`, with the rules on the fields that they name.

use std::collections::BTreeSet;

use apollo_compiler::Node;
use apollo_compiler::ast::{Directive, Value};
use apollo_compiler::parser::SourceSpan;
use landfall_core::{FieldDef, FieldName, FieldType, IndexDef, KeyDef, ModelParts, Scalar, Timestamps};

use super::document::{TypeNode, names_argument, text_argument};
use super::{Builder, find};
use crate::naming;
use crate::suggest::did_you_mean;

/// Longest name that is accepted for fields and indexes, in bytes; DynamoDB's own limit.
const NAME_LEN_MAX: usize = 255;

/// A field that a key names, and where it names it.
type Named = (String, Option<SourceSpan>);

impl Builder<'_> {
    /// Reads the primary key; without one the model gets the implicit `id`.
    pub(super) fn primary_key(&mut self, node: &TypeNode, parts: &mut ModelParts) {
        let mut declared: Vec<(Option<SourceSpan>, Vec<Named>)> = Vec::new();
        for field in &node.fields {
            if let Some(directive) = field.directives.get("primaryKey") {
                let mut fields = vec![(field.name.to_string(), directive.location())];
                fields.extend(names_argument(directive, "sortKeyFields").unwrap_or_default());
                declared.push((directive.location(), fields));
            }
        }
        for directive in node
            .directives
            .iter()
            .filter(|d| d.name == "key" && text_argument(d, "name").is_none())
        {
            declared.push((
                directive.location(),
                names_argument(directive, "fields").unwrap_or_default(),
            ));
        }
        for (place, _) in declared.iter().skip(1) {
            let message = format!("`{}` has two primary keys", node.name);
            self.faults.at(
                *place,
                message,
                "remove it, or put its field into `sortKeyFields` of the other",
            );
        }
        let Some((place, fields)) = declared.into_iter().next() else {
            return self.implicit_id(node, parts);
        };
        if fields.is_empty() {
            self.faults.at(
                place,
                format!("the key of `{}` names no field", node.name),
                "name at least one field",
            );
            return self.implicit_id(node, parts);
        }
        let names = self.key_fields(node, parts, &fields, "the primary key", true);
        parts.key = KeyDef::of_fields(names, true);
    }

    fn implicit_id(&mut self, node: &TypeNode, parts: &mut ModelParts) {
        let Some(field) = node.field("id") else {
            parts.fields.insert(
                0,
                FieldDef {
                    required: true,
                    ..FieldDef::scalar("id", Scalar::Id)
                },
            );
            return;
        };
        let fits = find(parts, "id").is_some_and(|id| {
            id.required
                && id.list.is_none()
                && matches!(id.ty, FieldType::Scalar(Scalar::Id | Scalar::String))
        });
        // A type that is unknown altogether has been reported already.
        if !fits && find(parts, "id").is_some() {
            self.faults.at(
                field.ty.inner_named_type().location(),
                format!(
                    "`{}.id` is the identifier, but is of type {}",
                    node.name, field.ty
                ),
                "write `id: ID!`, or choose another field with @primaryKey",
            );
        }
    }

    /// Checks the fields that a key names, and returns their names.
    fn key_fields(
        &mut self,
        node: &TypeNode,
        parts: &ModelParts,
        fields: &[Named],
        purpose: &str,
        required: bool,
    ) -> Vec<FieldName> {
        let mut seen = BTreeSet::new();
        for (name, place) in fields {
            if !seen.insert(name.as_str()) {
                let message = format!("{purpose} of `{}` names `{name}` twice", node.name);
                self.faults.at(*place, message, "remove one of them");
                continue;
            }
            match find(parts, name) {
                Some(field) => self.check_key_field(node, field, *place, purpose, required),
                // A field with a type that is unknown has been reported already.
                None if node.field(name).is_some() => {}
                None => {
                    let known = parts.fields.iter().map(|field| field.name.as_str());
                    let label = did_you_mean(name, known, format!("declare the field in `{}`", node.name));
                    let message = format!("`{}` has no field `{name}`, which {purpose} names", node.name);
                    self.faults.at(*place, message, label);
                }
            }
        }
        fields.iter().map(|(name, _)| FieldName::new(name)).collect()
    }

    fn check_key_field(
        &mut self,
        node: &TypeNode,
        field: &FieldDef,
        place: Option<SourceSpan>,
        purpose: &str,
        required: bool,
    ) {
        let at = format!("`{}.{}`", node.name, field.name);
        if let FieldType::Model(_) = field.ty {
            let message = format!("{at} is a relation, so it cannot be in {purpose}");
            return self
                .faults
                .at(place, message, "use the field that holds the foreign key");
        }
        let is_plain = matches!(field.ty, FieldType::Scalar(_) | FieldType::Enum(_))
            && field.ty != FieldType::Scalar(Scalar::AwsJson);
        if !is_plain || field.list.is_some() {
            let message = format!("{at} is of type {field}, so it cannot be in {purpose}");
            return self
                .faults
                .at(place, message, "use a field of one scalar or enum");
        }
        if required && !field.required {
            let message = format!("{at} is part of {purpose}, but is optional");
            let declared = node
                .field(&field.name)
                .and_then(|field| field.ty.inner_named_type().location());
            self.faults
                .at(declared.or(place), message, format!("write `{}!`", field.ty));
        }
    }

    /// Reads `@index` and the named ones among `@key`.
    pub(super) fn indexes(&mut self, node: &TypeNode, parts: &mut ModelParts) {
        for field in &node.fields {
            for directive in field
                .directives
                .iter()
                .filter(|directive| directive.name == "index")
            {
                let mut fields = vec![(field.name.to_string(), directive.location())];
                fields.extend(names_argument(directive, "sortKeyFields").unwrap_or_default());
                let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                let implied = naming::index_query(&node.name, &names);
                let name =
                    text_argument(directive, "name").map_or(implied.clone(), |(name, _)| name.to_owned());
                // A query field is implied as well, unless it is null in so many words.
                let query_field = match directive.specified_argument_by_name("queryField") {
                    Some(value) => value.as_str().map(str::to_owned),
                    None => Some(implied),
                };
                self.index(node, parts, directive, &fields, name, query_field);
            }
        }
        for directive in node.directives.iter().filter(|directive| directive.name == "key") {
            if let Some((name, _)) = text_argument(directive, "name") {
                let fields = names_argument(directive, "fields").unwrap_or_default();
                let query_field = text_argument(directive, "queryField").map(|(name, _)| name.to_owned());
                self.index(node, parts, directive, &fields, name.to_owned(), query_field);
            }
        }
    }

    fn index(
        &mut self,
        node: &TypeNode,
        parts: &mut ModelParts,
        directive: &Directive,
        fields: &[Named],
        name: String,
        query_field: Option<String>,
    ) {
        let place_of = |argument: &str| text_argument(directive, argument).and_then(|(_, place)| place);
        let place = place_of("name").or_else(|| fields.first().and_then(|(_, place)| *place));
        if name.is_empty() || name.len() > NAME_LEN_MAX {
            let message = format!(
                "the name of an index has 1 to {NAME_LEN_MAX} characters, not {}",
                name.len()
            );
            self.faults.at(place, message, "choose another name");
        }
        if parts.indexes.iter().any(|index| index.name == name) {
            let message = format!("`{}` has two indexes named `{name}`", node.name);
            self.faults
                .at(place, message, "give it a name of its own with `name: \"...\"`");
            return;
        }
        if let Some(query_field) = query_field.as_ref().filter(|name| !is_name(name)) {
            let message = format!("`{query_field}` cannot be the name of a query");
            self.faults.at(
                place_of("queryField").or(place),
                message,
                "use letters, digits and `_` only",
            );
        }
        let fields = self.key_fields(node, parts, fields, &format!("the index `{name}`"), false);
        if fields.is_empty() {
            self.faults.at(
                place,
                format!("the index `{name}` names no field"),
                "name at least one field",
            );
            return;
        }
        parts.indexes.push(IndexDef {
            name,
            fields,
            query_field,
        });
    }

    /// Reports query fields that two indexes share, since they would be one field of `Query`.
    pub(super) fn check_query_fields(&mut self) {
        let mut seen = BTreeSet::new();
        for parts in self.models.values() {
            for query in parts
                .indexes
                .iter()
                .filter_map(|index| index.query_field.as_ref())
            {
                if !seen.insert(query.clone()) {
                    let node = self.declarations.objects.get(&*parts.name);
                    self.faults.at(
                        node.and_then(|node| node.name.location()),
                        format!("two indexes are read by the query `{query}`"),
                        "give one of them another `queryField`",
                    );
                }
            }
        }
    }

    /// Reads the names of the timestamps, and adds those that the type does not declare.
    pub(super) fn timestamps(&mut self, node: &TypeNode, parts: &mut ModelParts) {
        let value = node
            .directive("model")
            .and_then(|model| model.specified_argument_by_name("timestamps"));
        parts.timestamps = match value.map(|value| &**value) {
            None => Timestamps::default(),
            Some(Value::Null) => Timestamps {
                created_at: None,
                updated_at: None,
            },
            Some(value) => {
                let mut name = |key: &str| match value.as_object()?.iter().find(|(name, _)| name == key) {
                    None => Some(FieldName::new(key)),
                    Some((_, value)) => {
                        let text = value.as_str()?;
                        if !is_name(text) {
                            let message = format!("`{text}` cannot be the name of a field");
                            self.faults
                                .at(value.location(), message, "use letters, digits and `_` only");
                            return None;
                        }
                        Some(FieldName::new(text))
                    }
                };
                Timestamps {
                    created_at: name("createdAt"),
                    updated_at: name("updatedAt"),
                }
            }
        };
        let Timestamps {
            created_at,
            updated_at,
        } = &parts.timestamps;
        if created_at.is_some() && created_at == updated_at {
            let message = format!("`{}` has one field for both timestamps", node.name);
            self.faults
                .at(value.and_then(Node::location), message, "give them two names");
        }
        for name in [created_at.clone(), updated_at.clone()].into_iter().flatten() {
            match node.field(&name) {
                Some(declared) => {
                    let fits = find(parts, &name).is_none_or(|field| {
                        field.list.is_none()
                            && matches!(field.ty, FieldType::Scalar(Scalar::AwsDateTime | Scalar::String))
                    });
                    if !fits {
                        let message = format!("`{}.{name}` is a timestamp that the server writes", node.name);
                        let place = declared.ty.inner_named_type().location();
                        self.faults.at(
                            place,
                            message,
                            "use AWSDateTime, or rename the timestamp in @model",
                        );
                    }
                }
                None if find(parts, &name).is_none() => parts.fields.push(FieldDef {
                    read_only: true,
                    ..FieldDef::scalar(&name, Scalar::AwsDateTime)
                }),
                None => {}
            }
        }
    }
}

/// Whether the text is a GraphQL name.
pub(super) fn is_name(text: &str) -> bool {
    text.len() <= NAME_LEN_MAX && apollo_compiler::Name::is_valid_syntax(text)
}
