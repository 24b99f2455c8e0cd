//! Relations, read off the fields of models and the names of foreign keys.
//!
//! Owns the way from a field of a model's type, or of its connection, to a directive. A foreign key by Amplify's naming
//! rule is certain; one that is named after the relation or the model, with an index over it, is taken; everything else
//! is noted and left out, as a wrong relation would show wrong records.

use std::collections::{BTreeMap, BTreeSet};

use super::introspection::Field;
use super::models::{Index, Model, Models, lower_first, sort_argument, upper_first};

/// A field of a model, both by name.
type Place = (String, String);

/// What was read of the relations of all models.
#[derive(Debug, Default)]
pub(super) struct Relations {
    /// Type and directive of each relation field.
    pub(super) fields: BTreeMap<Place, String>,
    /// Foreign keys that a directive implies, so that they are not declared.
    pub(super) implied: BTreeSet<Place>,
    /// Fields of which it could not be told how they are followed.
    pub(super) unknown: BTreeSet<Place>,
    /// Models that are made by many-to-many relations.
    pub(super) joins: BTreeSet<String>,
}

/// Reads all relations; models gain the indexes that their relations need and no query reads.
pub(super) fn read(models: &mut Models<'_>, notes: &mut Vec<String>) -> Relations {
    let mut relations = Relations::default();
    many_to_many(models, &mut relations);
    let mut needed: Vec<(String, Index)> = Vec::new();
    for model in models
        .values()
        .filter(|model| !relations.joins.contains(model.name))
    {
        for field in &model.ty.fields {
            let place = (model.name.to_owned(), field.name.clone());
            if relations.fields.contains_key(&place) {
                continue;
            }
            let found = match (related_by_list(models, field), models.get(field.ty.named())) {
                (Some(other), _) => to_many(model, field, other, &mut needed),
                (None, Some(other)) => to_one(models, model, field, other),
                (None, None) => continue,
            };
            match found {
                Some(found) => {
                    relations.fields.insert(place, found.text);
                    relations.implied.extend(found.implied);
                }
                None => {
                    notes.push(format!(
                        "`{}.{}` was left out: it cannot be told which fields hold its foreign key",
                        model.name, field.name
                    ));
                    relations.unknown.insert(place);
                }
            }
        }
    }
    for (model, index) in needed {
        if let Some(model) = models.get_mut(model.as_str()) {
            model.indexes.push(index);
        }
    }
    name_indexes(models, &mut relations);
    relations
}

/// A relation as it is written, with the foreign keys that it implies.
struct Found {
    text: String,
    implied: Vec<Place>,
}

/// The model whose connection a field is.
fn related_by_list<'m, 'a>(models: &'m Models<'a>, field: &Field) -> Option<&'m Model<'a>> {
    let name = field
        .ty
        .named()
        .strip_prefix("Model")?
        .strip_suffix("Connection")?;
    models.get(name)
}

/// `Post`, `comments`, `id` give `postCommentsId`.
fn by_rule(model: &Model<'_>, field: &str, other_key: &[&str]) -> Vec<String> {
    let stem = lower_first(model.name) + &upper_first(field);
    other_key
        .iter()
        .map(|key| format!("{stem}{}", upper_first(key)))
        .collect()
}

fn has_all(model: &Model<'_>, fields: &[String]) -> bool {
    fields.iter().all(|field| model.ty.field(field).is_some())
}

fn places(model: &Model<'_>, fields: Vec<String>) -> Vec<Place> {
    fields
        .into_iter()
        .map(|field| (model.name.to_owned(), field))
        .collect()
}

fn quoted(fields: &[String]) -> String {
    let quoted: Vec<String> = fields.iter().map(|field| format!("\"{field}\"")).collect();
    quoted.join(", ")
}

/// Foreign keys to a model as people name them: `postId`, `postID`, `post_id`, after a relation or after the model.
fn by_custom(holder: &Model<'_>, stems: &[String], key: &[&str]) -> Option<Vec<String>> {
    for stem in stems {
        let styles: [&dyn Fn(&str) -> String; 3] = [
            &|key| format!("{stem}{}", upper_first(key)),
            &|key| format!("{stem}{}", key.to_uppercase()),
            &|key| format!("{stem}_{key}"),
        ];
        for style in styles {
            let fields: Vec<String> = key.iter().map(|key| style(key)).collect();
            if has_all(holder, &fields) {
                return Some(fields);
            }
        }
    }
    None
}

fn to_many(
    model: &Model<'_>,
    field: &Field,
    other: &Model<'_>,
    needed: &mut Vec<(String, Index)>,
) -> Option<Found> {
    let implied = by_rule(model, &field.name, &model.key);
    if has_all(other, &implied) {
        return Some(Found {
            text: format!("[{}] @hasMany", other.name),
            implied: places(other, implied),
        });
    }
    // The other side may have a relation back that the foreign key is named after.
    let backs: Vec<&Field> = other
        .ty
        .fields
        .iter()
        .filter(|back| back.ty.named() == model.name)
        .collect();
    let mut stems: Vec<String> = backs.iter().map(|back| back.name.clone()).collect();
    stems.push(lower_first(model.name));
    let by_back = backs
        .iter()
        .map(|back| by_rule(other, &back.name, &model.key))
        .find(|fields| has_all(other, fields));
    let mut fields = by_back.or_else(|| by_custom(other, &stems, &model.key))?;
    // The sort key of the index is an argument of the relation.
    if let Some(sort) = sort_argument(field)
        && other.ty.field(&sort.name).is_some()
    {
        fields.push(sort.name.clone());
    }
    let known = other.indexes.iter().any(|index| index.fields == fields);
    let awaited = needed
        .iter()
        .any(|(name, index)| name == other.name && index.fields == fields);
    if !known && !awaited && other.key != fields {
        needed.push((
            other.name.to_owned(),
            Index {
                name: None,
                fields: fields.clone(),
                query: None,
            },
        ));
    }
    Some(Found {
        // The index gets its name once all are known.
        text: format!("[{}] @hasMany({}|{})", other.name, other.name, fields.join(",")),
        implied: Vec::new(),
    })
}

fn to_one(models: &Models<'_>, model: &Model<'_>, field: &Field, other: &Model<'_>) -> Option<Found> {
    let bang = if field.ty.is_required() { "!" } else { "" };
    let ty = format!("{}{bang}", other.name);
    let counterpart = |implied_by: &Field| {
        let fields = by_rule(other, &implied_by.name, &other.key);
        has_all(model, &fields)
    };
    let is_many = |back: &&Field| related_by_list(models, back).is_some_and(|of| of.name == model.name);
    if other.ty.fields.iter().filter(is_many).any(counterpart) {
        return Some(Found {
            text: format!("{ty} @belongsTo"),
            implied: Vec::new(),
        });
    }
    let own = by_rule(model, &field.name, &other.key);
    if has_all(model, &own) && other.ty.fields.iter().any(|back| is_many(&back)) {
        // As the first generation has it: the child names the key, the parent follows it.
        return Some(Found {
            text: format!("{ty} @belongsTo(fields: [{}])", quoted(&own)),
            implied: Vec::new(),
        });
    }
    if has_all(model, &own) {
        // Of a pair that holds the other's key both ways, the first is said to have the second.
        let back = other.ty.fields.iter().find(|back| back.ty.named() == model.name);
        let is_second = back.is_some_and(|back| has_all(other, &by_rule(other, &back.name, &model.key)))
            && models.get_index_of(other.name) < models.get_index_of(model.name);
        let directive = if is_second { "@belongsTo" } else { "@hasOne" };
        return Some(Found {
            text: format!("{ty} {directive}"),
            implied: places(model, own),
        });
    }
    let stems = [field.name.clone(), lower_first(other.name)];
    if let Some(fields) = by_custom(model, &stems, &other.key) {
        return Some(Found {
            text: format!("{ty} @belongsTo(fields: [{}])", quoted(&fields)),
            implied: Vec::new(),
        });
    }
    let backs = other
        .ty
        .fields
        .iter()
        .filter(|back| back.ty.named() == model.name);
    let mut stems: Vec<String> = backs.map(|back| back.name.clone()).collect();
    stems.push(lower_first(model.name));
    let fields = by_custom(other, &stems, &model.key)?;
    Some(Found {
        text: format!("{ty} @hasOne(references: [{}])", quoted(&fields)),
        implied: Vec::new(),
    })
}

/// Finds the join models: two required relations, the foreign keys that they need, and a list of them on both ends.
fn many_to_many(models: &Models<'_>, relations: &mut Relations) {
    for join in models.values() {
        let ends: Vec<&Field> = join
            .ty
            .fields
            .iter()
            .filter(|field| models.contains_key(field.ty.named()))
            .collect();
        let [one, two] = ends.as_slice() else { continue };
        let (Some(first), Some(second)) = (models.get(one.ty.named()), models.get(two.ty.named())) else {
            continue;
        };
        let is_end = |field: &Field, model: &Model<'_>| {
            field.ty.is_required()
                && field.name == lower_first(model.name)
                && has_all(join, &join_keys(model))
        };
        let counted = ends.len() + first.key.len() + second.key.len();
        let others = join.ty.fields.len().saturating_sub(counted);
        // The identifier, two timestamps, three fields of metadata, and perhaps owners.
        let is_plain = join.key == ["id"] && others <= 6 + join.owners_len();
        let lists = |model: &Model<'_>| -> Vec<String> {
            let fields = model.ty.fields.iter();
            fields
                .filter(|field| related_by_list(models, field).is_some_and(|of| of.name == join.name))
                .map(|field| field.name.clone())
                .collect()
        };
        let (from, to) = (lists(first), lists(second));
        if let ([from], [to]) = (from.as_slice(), to.as_slice())
            && first.name != second.name
            && is_plain
            && is_end(one, first)
            && is_end(two, second)
        {
            for (model, field, other) in [(first, from, second), (second, to, first)] {
                let text = format!("[{}] @manyToMany(relationName: \"{}\")", other.name, join.name);
                relations
                    .fields
                    .insert((model.name.to_owned(), field.clone()), text);
            }
            relations.joins.insert(join.name.to_owned());
        }
    }
}

/// Foreign keys in a join model: only the partition field gets a capital.
fn join_keys(model: &Model<'_>) -> Vec<String> {
    let prefix = lower_first(model.name);
    let mut keys: Vec<String> = model.key.iter().map(|key| format!("{prefix}{key}")).collect();
    keys[0] = format!("{prefix}{}", upper_first(model.key[0]));
    keys
}

/// Names the indexes that relations follow, and the indexes in the relations.
fn name_indexes(models: &mut Models<'_>, relations: &mut Relations) {
    let keys: BTreeMap<String, Vec<String>> = models
        .values()
        .map(|model| {
            let key = model.key.iter().map(|field| (*field).to_owned());
            (model.name.to_owned(), key.collect())
        })
        .collect();
    for (place, text) in &mut relations.fields {
        let Some((before, rest)) = text.split_once("@hasMany(") else {
            continue;
        };
        let Some((other, fields)) = rest.trim_end_matches(')').split_once('|') else {
            continue;
        };
        let fields: Vec<String> = fields.split(',').map(str::to_owned).collect();
        let index = models
            .get_mut(other)
            .and_then(|model| model.indexes.iter_mut().find(|index| index.fields == fields));
        *text = match index {
            Some(index) => {
                let by_fields = || {
                    let words: Vec<String> = fields.iter().map(|field| upper_first(field)).collect();
                    format!("by{}", words.join("And"))
                };
                let name = index.name.get_or_insert_with(by_fields);
                format!("{before}@hasMany(indexName: \"{name}\")")
            }
            // The other model's own key is what is followed.
            None => {
                let key = &keys[place.0.as_str()];
                format!("{before}@hasMany(fields: [{}])", quoted(key))
            }
        };
    }
}
