//! `@manyToMany`: the join model between two models.
//!
//! Owns its names, fields, indexes and rules. Both fields become has-many relations to the join model.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use landfall_core::{
    AUTH_FIELD, Association, FieldDef, FieldName, FieldType, IndexDef, KeyDef, ModelParts, Scalar, Timestamps,
};

use super::document::text_argument;
use super::relations::{foreign_keys, sites};
use super::{Builder, RelationSite, field_names, keys};
use crate::naming::{self, camel, lower_first, upper_first};

impl<'a> Builder<'a> {
    /// Adds the join models, and turns the fields into relations to them.
    pub(super) fn many_to_many(&mut self) {
        for (name, sites) in self.pairs() {
            let Some([first, second]) = self.check_pair(&name, &sites) else {
                continue;
            };
            let sides = [self.side(first), self.side(second)];
            let join = self.join_model(&name, &sides);
            for (site, side) in [first, second].into_iter().zip(&sides) {
                self.point_at_join(site, &name, side);
            }
            self.models.insert(name, join);
        }
    }

    /// The fields of each relation by the name of its join model.
    fn pairs(&mut self) -> IndexMap<String, Vec<RelationSite<'a>>> {
        let declarations = self.declarations;
        let mut pairs: IndexMap<String, Vec<RelationSite<'a>>> = IndexMap::new();
        for node in declarations.objects.values().filter(|node| node.is_model()) {
            for site in sites(declarations, node) {
                if site.directive.name == "manyToMany"
                    && site.field.ty.is_list()
                    && let Some((name, place)) = text_argument(site.directive, "relationName")
                {
                    if keys::is_name(name) {
                        pairs.entry(upper_first(name)).or_default().push(site);
                    } else {
                        let message = format!("`{name}` cannot be the name of a type");
                        self.faults.at(place, message, "use letters, digits and `_` only");
                    }
                }
            }
        }
        pairs
    }

    fn check_pair(&mut self, name: &str, sites: &[RelationSite<'a>]) -> Option<[RelationSite<'a>; 2]> {
        let place = sites.last().and_then(RelationSite::place);
        let &[first, second] = sites else {
            let message = format!("the relation `{name}` has {} ends; it needs two", sites.len());
            let label = match sites {
                [only] => format!(
                    "add a field with @manyToMany(relationName: \"{name}\") to `{}`",
                    only.other
                ),
                _ => "give this relation a name of its own".to_owned(),
            };
            self.faults.at(place, message, label);
            return None;
        };
        let fault = if first.model == second.model {
            Some((
                "both its ends in one model",
                "declare the join model yourself, with two @belongsTo".to_owned(),
            ))
        } else if first.other != second.model || second.other != first.model {
            Some((
                "ends that do not face each other",
                format!("write `[{}]`, or name another relation", first.model),
            ))
        } else if self.declarations.objects.contains_key(name) || self.declarations.enums.contains_key(name) {
            Some((
                "the name of a type, which its join model needs",
                "choose another `relationName`".to_owned(),
            ))
        } else {
            None
        };
        if let Some((what, label)) = fault {
            self.faults
                .at(place, format!("the relation `{name}` has {what}"), label);
            return None;
        }
        Some([first, second])
    }

    /// Fields of the join model for one of its ends: the foreign keys, then the relation.
    fn side(&self, site: RelationSite<'_>) -> Vec<FieldDef> {
        let key = self.key_of(site.model);
        let partition = key.first().map(|field| field.name.clone());
        let prefix = lower_first(site.model);
        // Sort fields are joined as they are, only the partition field gets a capital.
        let mut fields = foreign_keys(
            &key,
            |key| {
                if Some(&key.name) == partition.as_ref() {
                    camel(&[&prefix, &key.name])
                } else {
                    format!("{prefix}{}", key.name)
                }
            },
            true,
        );
        let targets = field_names(&fields);
        fields.push(FieldDef {
            ty: FieldType::Model(site.model.into()),
            required: true,
            association: Some(Association::BelongsTo { targets }),
            ..FieldDef::scalar(&prefix, Scalar::Id)
        });
        fields
    }

    fn join_model(&self, name: &str, sides: &[Vec<FieldDef>; 2]) -> ModelParts {
        let mut fields = vec![FieldDef {
            required: true,
            ..FieldDef::scalar("id", Scalar::Id)
        }];
        let (stored, relations): (Vec<_>, Vec<_>) =
            sides.iter().flatten().cloned().partition(FieldDef::is_stored);
        fields.extend(stored);
        fields.extend(relations);
        for stamp in ["createdAt", "updatedAt"] {
            fields.push(FieldDef {
                read_only: true,
                ..FieldDef::scalar(stamp, Scalar::AwsDateTime)
            });
        }
        let models: Vec<&ModelParts> = sides
            .iter()
            .filter_map(|side| self.models.get(&*model_of(side)))
            .collect();
        // A rule that both ends have is needed once.
        let mut auth: BTreeMap<String, serde_json::Value> = BTreeMap::new();
        let mut rules = Vec::new();
        let on_models = models
            .iter()
            .flat_map(|parts| &parts.auth)
            .filter(|rule| rule.get(AUTH_FIELD).is_none());
        for rule in on_models {
            if auth.insert(rule.to_string(), rule.clone()).is_none() {
                rules.push(rule.clone());
            }
        }
        ModelParts {
            name: name.into(),
            plural_name: naming::plural(name),
            syncable: true,
            fields,
            key: KeyDef::of_fields(vec!["id".into()], false),
            indexes: sides.iter().map(|side| index(name, side)).collect(),
            timestamps: Timestamps::default(),
            auth: rules,
        }
    }

    fn point_at_join(&mut self, site: RelationSite<'_>, join: &str, side: &[FieldDef]) {
        let associated_with = targets_of(side);
        let parts = self.models.get_mut(site.model);
        let field = parts.and_then(|parts| {
            parts
                .fields
                .iter_mut()
                .find(|field| field.name == *site.field.name)
        });
        if let Some(field) = field {
            field.ty = FieldType::Model(join.into());
            field.association = Some(Association::HasMany { associated_with });
        }
    }
}

fn index(join: &str, side: &[FieldDef]) -> IndexDef {
    let fields = targets_of(side);
    let names: Vec<&str> = fields.iter().map(FieldName::as_str).collect();
    let query_field = Some(naming::index_query(join, &names));
    IndexDef {
        name: format!("by{}", model_of(side)),
        fields,
        query_field,
    }
}

fn targets_of(side: &[FieldDef]) -> Vec<FieldName> {
    let stored: Vec<FieldDef> = side.iter().filter(|field| field.is_stored()).cloned().collect();
    field_names(&stored)
}

/// The model at the end of the relation that a side closes with.
fn model_of(side: &[FieldDef]) -> String {
    side.last()
        .map(|relation| relation.ty.to_string())
        .unwrap_or_default()
}
