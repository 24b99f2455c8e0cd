//! Relations of the second generation: `@hasOne`, `@hasMany`, `@belongsTo`.
//!
//! Owns which fields hold the foreign key of a relation, and the foreign keys that a relation implies. Many-to-many
//! relations (`many_to_many.rs`) and the first generation (`legacy.rs`) come here only to be dispatched.

use apollo_compiler::parser::SourceSpan;
use landfall_core::{Association, FieldDef, FieldName, FieldType, Scalar};

use super::document::{Declarations, TypeNode, names_argument, text_argument};
use super::{Builder, RELATION_DIRECTIVES, RelationSite, field_names, find};
use crate::naming::camel;
use crate::suggest::did_you_mean;

/// What a relation comes to: its association, and fields that must be there for it.
pub(super) struct Resolved {
    pub(super) association: Association,
    /// Each with the model that holds it.
    pub(super) implied: Vec<(String, FieldDef)>,
}

impl Resolved {
    pub(super) fn plain(association: Association) -> Self {
        Self {
            association,
            implied: Vec::new(),
        }
    }
}

impl<'a> Builder<'a> {
    /// Gives every relation field its association, and the models the foreign keys that are implied.
    pub(super) fn relations(&mut self) {
        let declarations = self.declarations;
        for node in declarations.objects.values().filter(|node| node.is_model()) {
            self.check_mutual(node);
            for site in sites(declarations, node) {
                let Some(resolved) = self.resolve(site) else {
                    continue;
                };
                for (model, field) in resolved.implied {
                    self.imply(&model, field);
                }
                let parts = self.models.get_mut(site.model);
                if let Some(field) = parts.and_then(|parts| {
                    parts
                        .fields
                        .iter_mut()
                        .find(|field| field.name == *site.field.name)
                }) {
                    field.association = Some(resolved.association);
                }
            }
        }
    }

    fn resolve(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        match site.directive.name.as_str() {
            "hasOne" => self.has_one(site),
            "hasMany" => self.has_many(site),
            "belongsTo" => self.belongs_to(site),
            "connection" => self.connection(site),
            // Many-to-many relations have become has-many relations to their join model before.
            _ => None,
        }
    }

    fn has_one(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        if let Some(names) = names_argument(site.directive, "references") {
            let associated_with = self.explicit(site, site.other, site.model, &names)?;
            return Some(Resolved::plain(Association::HasOne {
                associated_with,
                targets: Vec::new(),
            }));
        }
        let associated_with = field_names(&self.key_of(site.other));
        if let Some(names) = names_argument(site.directive, "fields") {
            let targets = self.explicit(site, site.model, site.other, &names)?;
            return Some(Resolved::plain(Association::HasOne {
                associated_with,
                targets,
            }));
        }
        let (targets, implied) = self.own_foreign_keys(site);
        Some(Resolved {
            association: Association::HasOne {
                associated_with,
                targets,
            },
            implied,
        })
    }

    fn has_many(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        if let Some(names) = names_argument(site.directive, "references") {
            let associated_with = self.explicit(site, site.other, site.model, &names)?;
            return Some(Resolved::plain(Association::HasMany { associated_with }));
        }
        let index = text_argument(site.directive, "indexName");
        let fields = names_argument(site.directive, "fields");
        if index.is_none() && fields.is_none() {
            // The other side holds this model's key under a name made of this model and field.
            let words = |key: &FieldDef| camel(&[site.model, &site.field.name, &key.name]);
            let keys = self.key_of(site.model);
            let fields = foreign_keys(&keys, words, site.field.ty.is_non_null());
            let associated_with = field_names(&fields);
            let implied = fields
                .into_iter()
                .map(|field| (site.other.to_owned(), field))
                .collect();
            return Some(Resolved {
                association: Association::HasMany { associated_with },
                implied,
            });
        }
        self.indexed_has_many(site, index, fields.as_deref())
    }

    /// A has-many over an index of the other model, or over its primary key if no index is named.
    pub(super) fn indexed_has_many(
        &mut self,
        site: RelationSite<'_>,
        index: Option<(&str, Option<SourceSpan>)>,
        fields: Option<&[(String, Option<SourceSpan>)]>,
    ) -> Option<Resolved> {
        let key = self.key_of(site.model);
        if let Some(fields) = fields {
            let given: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
            let expected: Vec<&str> = key.iter().map(|field| &*field.name).collect();
            if given != expected {
                self.faults.at(
                    fields
                        .first()
                        .and_then(|(_, place)| *place)
                        .or_else(|| site.place()),
                    format!(
                        "@{} follows the fields {} of `{}`",
                        site.directive.name,
                        given.join(", "),
                        site.model
                    ),
                    format!("name its primary key: {}", expected.join(", ")),
                );
                return None;
            }
        }
        let far = match index {
            None => field_names(&self.key_of(site.other)),
            Some((name, place)) => self.index_fields(site.other, name, place)?,
        };
        let place = index.and_then(|(_, place)| place).or_else(|| site.place());
        if far.len() < key.len() {
            self.faults.at(
                place,
                format!(
                    "the index has fewer fields than the primary key of `{}`, which has {}",
                    site.model,
                    key.len()
                ),
                "add the others to its `sortKeyFields`",
            );
            return None;
        }
        let associated_with: Vec<FieldName> = far.into_iter().take(key.len()).collect();
        self.check_types(site, place, site.other, &associated_with, &key)?;
        Some(Resolved::plain(Association::HasMany { associated_with }))
    }

    fn index_fields(&mut self, model: &str, name: &str, place: Option<SourceSpan>) -> Option<Vec<FieldName>> {
        let indexes = self
            .models
            .get(model)
            .map_or(&[][..], |parts| parts.indexes.as_slice());
        if let Some(index) = indexes.iter().find(|index| index.name == name) {
            return Some(index.fields.clone());
        }
        let known = indexes.iter().map(|index| index.name.as_str());
        let label = did_you_mean(
            name,
            known,
            format!("add @index(name: \"{name}\") to the foreign key in `{model}`"),
        );
        self.faults
            .at(place, format!("`{model}` has no index `{name}`"), label);
        None
    }

    fn belongs_to(&mut self, site: RelationSite<'_>) -> Option<Resolved> {
        let names =
            names_argument(site.directive, "references").or_else(|| names_argument(site.directive, "fields"));
        if let Some(names) = names {
            let targets = self.explicit(site, site.model, site.other, &names)?;
            return Some(Resolved::plain(Association::BelongsTo { targets }));
        }
        let Some(counterpart) = self.counterpart(site) else {
            self.faults.at(
                site.place(),
                format!("`{}` has no @hasOne or @hasMany of `{}`", site.other, site.model),
                format!(
                    "add one to `{}`, or name the foreign key with `fields: [...]`",
                    site.other
                ),
            );
            return None;
        };
        let resolved = self.resolve(counterpart)?;
        if let Association::HasMany { associated_with } | Association::HasOne { associated_with, .. } =
            &resolved.association
            && resolved.association.targets().is_empty()
        {
            let association = Association::BelongsTo {
                targets: associated_with.clone(),
            };
            return Some(Resolved {
                association,
                implied: resolved.implied,
            });
        }
        // A has-one holds the key on its side; this side then holds one of its own for the way back.
        let (targets, implied) = self.own_foreign_keys(site);
        Some(Resolved {
            association: Association::BelongsTo { targets },
            implied,
        })
    }

    /// The first @hasOne or @hasMany of the other model that points at this one, as Amplify chooses it.
    fn counterpart(&self, site: RelationSite<'_>) -> Option<RelationSite<'a>> {
        let node = self.declarations.objects.get(site.other)?;
        sites(self.declarations, node).find(|far| {
            far.other == site.model && matches!(far.directive.name.as_str(), "hasOne" | "hasMany")
        })
    }

    /// Foreign keys that this side implies: named after this model and field and the other's key.
    fn own_foreign_keys(&self, site: RelationSite<'_>) -> (Vec<FieldName>, Vec<(String, FieldDef)>) {
        let words = |key: &FieldDef| camel(&[site.model, &site.field.name, &key.name]);
        let fields = foreign_keys(&self.key_of(site.other), words, site.field.ty.is_non_null());
        let names = field_names(&fields);
        (
            names,
            fields
                .into_iter()
                .map(|field| (site.model.to_owned(), field))
                .collect(),
        )
    }

    /// Checks foreign keys that a directive names: fields of `holder` that hold the key of `referred`.
    pub(super) fn explicit(
        &mut self,
        site: RelationSite<'_>,
        holder: &str,
        referred: &str,
        names: &[(String, Option<SourceSpan>)],
    ) -> Option<Vec<FieldName>> {
        let key = self.key_of(referred);
        let mut sound = true;
        for (name, place) in names {
            sound &= self.check_stored(holder, name, *place);
        }
        if !sound {
            return None;
        }
        if names.len() != key.len() {
            let keys: Vec<&str> = key.iter().map(|field| &*field.name).collect();
            self.faults.at(
                names
                    .first()
                    .and_then(|(_, place)| *place)
                    .or_else(|| site.place()),
                format!(
                    "the relation names {} fields, but the key of `{referred}` has {}",
                    names.len(),
                    key.len()
                ),
                format!("name one field of `{holder}` for each of {}", keys.join(", ")),
            );
            return None;
        }
        let fields: Vec<FieldName> = names.iter().map(|(name, _)| FieldName::new(name)).collect();
        let place = names.first().and_then(|(_, place)| *place);
        self.check_types(site, place, holder, &fields, &key)?;
        Some(fields)
    }

    fn check_stored(&mut self, model: &str, name: &str, place: Option<SourceSpan>) -> bool {
        let Some(parts) = self.models.get(model) else {
            return false;
        };
        let (message, label) = match find(parts, name) {
            Some(field)
                if field.list.is_none() && matches!(field.ty, FieldType::Scalar(_) | FieldType::Enum(_)) =>
            {
                return true;
            }
            Some(field) => (
                format!("`{model}.{name}` is of type {field}, so it cannot hold a foreign key"),
                "use a field of one scalar".to_owned(),
            ),
            None => {
                let known = parts
                    .fields
                    .iter()
                    .filter(|field| field.is_stored())
                    .map(|field| field.name.as_str());
                let label = did_you_mean(name, known, format!("declare it in `{model}`: `{name}: ID`"));
                (format!("`{model}` has no field `{name}`"), label)
            }
        };
        // A field whose type is unknown has been reported already.
        if self.declarations.objects.get(model).is_none_or(|node| {
            node.field(name).is_none()
                || self
                    .models
                    .get(model)
                    .is_some_and(|parts| find(parts, name).is_some())
        }) {
            self.faults.at(place, message, label);
        }
        false
    }

    /// Checks that foreign keys have the types of the key that they hold.
    fn check_types(
        &mut self,
        site: RelationSite<'_>,
        place: Option<SourceSpan>,
        holder: &str,
        names: &[FieldName],
        key: &[FieldDef],
    ) -> Option<()> {
        let mut sound = true;
        for (name, key) in names.iter().zip(key) {
            let Some(field) = self.models.get(holder).and_then(|parts| find(parts, name)) else {
                continue;
            };
            if same_type(&field.ty, &key.ty) {
                continue;
            }
            let at = format!("`{holder}.{name}`");
            let message = format!(
                "{at} is of type {}, but refers to `{}` of type {}",
                field.ty, key.name, key.ty
            );
            self.faults.at(
                place.or_else(|| site.place()),
                message,
                format!("change the type of {at} to {}", key.ty),
            );
            sound = false;
        }
        sound.then_some(())
    }

    /// Two models must not both hold the other by @hasOne or @hasMany: neither could be synced first.
    fn check_mutual(&mut self, node: &'a TypeNode) {
        let declarations = self.declarations;
        let owns = |site: &RelationSite<'_>| matches!(site.directive.name.as_str(), "hasOne" | "hasMany");
        for site in sites(declarations, node).filter(owns) {
            // Each pair is reported once, at the model that comes first.
            let position = |model: &str| declarations.objects.get_index_of(model);
            let far = self
                .counterpart(site)
                .filter(|far| position(site.model) < position(far.model));
            if let Some(far) = far {
                self.faults.at(
                    site.place(),
                    format!(
                        "`{}` and `{}` both have the other by @hasOne or @hasMany",
                        site.model, site.other
                    ),
                    format!("make this one or `{}.{}` a @belongsTo", far.model, far.field.name),
                );
            }
        }
    }
}

/// The relations of a model to models; relations that cannot be followed are left out.
pub(super) fn sites<'a>(
    declarations: &'a Declarations,
    node: &'a TypeNode,
) -> impl Iterator<Item = RelationSite<'a>> {
    node.fields.iter().filter_map(move |field| {
        let other = field.ty.inner_named_type().as_str();
        let directive = field
            .directives
            .iter()
            .find(|d| RELATION_DIRECTIVES.contains(&d.name.as_str()))?;
        declarations.is_model(other).then_some(RelationSite {
            model: &node.name,
            field,
            directive,
            other,
        })
    })
}

/// Fields that hold a key: same types, names by `name`.
pub(super) fn foreign_keys(
    key: &[FieldDef],
    name: impl Fn(&FieldDef) -> String,
    required: bool,
) -> Vec<FieldDef> {
    key.iter()
        .map(|key| FieldDef {
            ty: key.ty.clone(),
            required,
            ..FieldDef::scalar(&name(key), Scalar::Id)
        })
        .collect()
}

/// Whether one can hold the other; `ID` and `String` are as good as each other.
fn same_type(a: &FieldType, b: &FieldType) -> bool {
    let is_text = |ty: &FieldType| matches!(ty, FieldType::Scalar(Scalar::Id | Scalar::String));
    a == b || (is_text(a) && is_text(b))
}
