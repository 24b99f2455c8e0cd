//! `@connection` of Amplify's first generation.
//!
//! Owns which kind of relation a connection is, which the first generation leaves to be found out: from lists and
//! required fields on both sides, from names, and from keys.

use apollo_compiler::ast::Directive;
use landfall_core::{Association, FieldDef, FieldName};

use super::document::{names_argument, text_argument};
use super::relations::{Resolved, foreign_keys, sites};
use super::{Builder, RelationSite, field_names};
use crate::naming::camel;

impl<'a> Builder<'a> {
    pub(super) fn connection(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        let fields = names_argument(site.directive, "fields");
        match (&fields, site.field.ty.is_list()) {
            (Some(fields), true) => {
                let index = text_argument(site.directive, "keyName");
                self.indexed_has_many(site, index, Some(fields))
            }
            (Some(fields), false) => {
                let targets = self.explicit(site, site.model, site.other, fields)?;
                if self.is_listed_by_other(site) {
                    return Some(Resolved::plain(Association::BelongsTo { targets }));
                }
                let associated_with = field_names(&self.key_of(site.other));
                Some(Resolved::plain(Association::HasOne {
                    associated_with,
                    targets,
                }))
            }
            (None, true) => Some(self.unkeyed_list(site)),
            (None, false) => self.unkeyed_single(site),
        }
    }

    /// Whether the other model has a list of this one that follows its own key.
    fn is_listed_by_other(&self, site: RelationSite<'_>) -> bool {
        self.connections_back(site).any(|far| far.field.ty.is_list())
    }

    /// Connections of the other model that lead to this one.
    fn connections_back(&self, site: RelationSite<'_>) -> impl Iterator<Item = RelationSite<'a>> + use<'a> {
        let model = site.model.to_owned();
        let declarations = self.declarations;
        let node = declarations.objects.get(site.other);
        node.into_iter()
            .flat_map(move |node| sites(declarations, node))
            .filter(move |far| far.other == model && far.directive.name == "connection")
    }

    /// The other end of a connection with a name.
    fn named_partner(&self, site: RelationSite<'_>) -> Option<RelationSite<'a>> {
        let (name, _) = text_argument(site.directive, "name")?;
        self.connections_back(site).find(|far| {
            let is_itself = far.model == site.model && far.field.name == site.field.name;
            !is_itself && text_argument(far.directive, "name").is_some_and(|(far_name, _)| far_name == name)
        })
    }

    fn unkeyed_list(&mut self, site: RelationSite<'_>) -> Resolved {
        let partner = self.named_partner(site);
        let key_field =
            key_field(site.directive).or_else(|| partner.and_then(|far| key_field(far.directive)));
        let implicit = match partner {
            Some(far) => camel(&[far.model, &far.field.name, "id"]),
            None => camel(&[site.model, &site.field.name, "id"]),
        };
        let required = partner.is_some_and(|far| far.field.ty.is_non_null());
        let fields = self.held_key(site.model, &key_field.unwrap_or(implicit), required);
        let associated_with = field_names(&fields);
        let implied = fields
            .into_iter()
            .map(|field| (site.other.to_owned(), field))
            .collect();
        Resolved {
            association: Association::HasMany { associated_with },
            implied,
        }
    }

    fn unkeyed_single(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        let partner = self.named_partner(site);
        let key_field = key_field(site.directive).or_else(|| {
            partner
                .filter(|far| far.field.ty.is_list())
                .and_then(|far| key_field(far.directive))
        });
        let implicit = camel(&[site.model, &site.field.name, "id"]);
        let required = site.field.ty.is_non_null();
        let fields = self.held_key(site.other, &key_field.unwrap_or(implicit), required);
        let targets: Vec<FieldName> = field_names(&fields);
        let implied = fields
            .into_iter()
            .map(|field| (site.model.to_owned(), field))
            .collect();
        let one_to_one = partner.filter(|far| !far.field.ty.is_list());
        let association = match one_to_one.map(|far| far.field.ty.is_non_null()) {
            // Of two single ends the one that must be there belongs to the other.
            Some(far_required) if far_required == required => {
                self.faults.at(
                    site.place(),
                    format!(
                        "neither `{}` nor `{}` says which of them belongs to the other",
                        site.model, site.other
                    ),
                    "make one of the two fields required with `!`: that one belongs to the other",
                );
                return None;
            }
            Some(true) => Association::HasOne {
                associated_with: field_names(&self.key_of(site.other)),
                targets,
            },
            _ => Association::BelongsTo { targets },
        };
        Some(Resolved { association, implied })
    }

    /// Fields that hold the key of a model under one name; a composite key adds the names of its sort fields to it.
    fn held_key(&self, referred: &str, name: &str, required: bool) -> Vec<FieldDef> {
        let key = self.key_of(referred);
        let partition = key.first().map(|field| field.name.clone());
        let named = |key: &FieldDef| {
            if Some(&key.name) == partition.as_ref() {
                name.to_owned()
            } else {
                camel(&[name, &key.name])
            }
        };
        foreign_keys(&key, named, required)
    }
}

fn key_field(directive: &Directive) -> Option<String> {
    text_argument(directive, "keyField").map(|(name, _)| name.to_owned())
}
