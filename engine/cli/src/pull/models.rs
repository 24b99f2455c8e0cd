//! From the types and operations of an API back to its models.
//!
//! Owns what a model is, its fields, key, timestamps, indexes, names of operations and owner fields, and the writing of
//! SDL. Relations are read in `relations.rs`. What introspection does not tell is not guessed but noted.
//!
//! Invariant: what is returned has been read back by the parser that `include_schema!` uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::introspection::{Api, Field, Kind, Type};
use super::relations;

/// Fields that conflict detection gives to every model, and to nothing else.
const METADATA: [&str; 3] = ["_version", "_deleted", "_lastChangedAt"];

/// What was pulled.
#[derive(Debug)]
pub(super) struct Pulled {
    pub(super) sdl: String,
    /// What the SDL does not say, or says on a guess.
    pub(super) notes: Vec<String>,
    /// How many models there are, join models left out.
    pub(super) models: usize,
}

/// A model as far as it could be read.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) name: &'a str,
    pub(super) ty: &'a Type,
    /// Primary key, partition field first.
    pub(super) key: Vec<&'a str>,
    key_is_declared: bool,
    /// `createdAt` and `updatedAt`; `None` if switched off.
    timestamps: [Option<String>; 2],
    /// Fields that only the server writes: timestamps, and owners that the schema does not declare.
    managed: BTreeSet<&'a str>,
    owners: Vec<&'a str>,
    pub(super) indexes: Vec<Index>,
    /// What `@model` says of operations.
    operations: Vec<String>,
}

impl Model<'_> {
    /// How many owner fields the model has.
    pub(super) fn owners_len(&self) -> usize {
        self.owners.len()
    }
}

/// A secondary index that a query reads, or that a relation needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    pub(super) name: Option<String>,
    pub(super) fields: Vec<String>,
    pub(super) query: Option<String>,
}

/// Models by name, as ordered by the server.
pub(super) type Models<'a> = indexmap::IndexMap<&'a str, Model<'a>>;

/// Reads the models of an API.
///
/// # Errors
/// If it has none, or if what was read makes no schema.
pub(super) fn pull(api: &Api) -> miette::Result<Pulled> {
    let mut models: Models<'_> = api
        .types()
        .filter(|ty| is_model(api, ty))
        .map(|ty| (ty.name.as_str(), model(api, ty)))
        .collect();
    if models.is_empty() {
        return Err(miette::miette!(
            "the API has no model: no type has `_version`, `_deleted` and `_lastChangedAt`; is conflict detection on?"
        ));
    }
    let mut notes = Vec::new();
    let relations = relations::read(&mut models, &mut notes);
    let mut sdl = String::from(
        "# Read from the API's introspection, which tells no defaults and no rules but owners'.\n",
    );
    let mut reached = BTreeSet::new();
    let mut written = 0;
    for model in models
        .values()
        .filter(|model| !relations.joins.contains(model.name))
    {
        write_model(&mut sdl, model, &relations, &mut reached);
        written += 1;
    }
    write_reached(&mut sdl, api, reached);
    let schema = landfall_codegen::parse_sdl("the pulled schema", &sdl)
        .map_err(|errors| miette::miette!("what the API tells makes no schema:\n{errors}\n{sdl}"))?;
    for model in schema.models() {
        let sync = format!("sync{}", model.plural_name);
        if !api.queries().iter().any(|field| field.name == sync) {
            notes.push(format!(
                "clients ask `{sync}` for `{}`, which this API does not have",
                model.name
            ));
        }
    }
    Ok(Pulled {
        sdl,
        notes,
        models: written,
    })
}

fn is_model(api: &Api, ty: &Type) -> bool {
    ty.kind == Kind::Object && !api.is_root(&ty.name) && METADATA.iter().all(|name| ty.field(name).is_some())
}

pub(super) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

pub(super) fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// The operations of one model, by what they take and give.
struct Operations<'a> {
    get: Option<&'a Field>,
    list: Option<&'a Field>,
    sync: Option<&'a Field>,
    by_index: Vec<&'a Field>,
    /// Create, update, delete.
    mutations: [Option<&'a Field>; 3],
    /// Of each mutation.
    subscriptions: [Vec<&'a Field>; 3],
}

/// Beginnings of the names of mutations.
const VERBS: [&str; 3] = ["create", "update", "delete"];

impl<'a> Operations<'a> {
    fn of(api: &'a Api, ty: &'a Type) -> Self {
        let name = &ty.name;
        let connection = format!("Model{name}Connection");
        let mut found = Self {
            get: api
                .queries()
                .iter()
                .find(|field| field.ty.named() == name && field.args.iter().all(|arg| arg.ty.is_required())),
            list: None,
            sync: None,
            by_index: Vec::new(),
            mutations: [None; 3],
            subscriptions: Default::default(),
        };
        for field in api
            .queries()
            .iter()
            .filter(|field| field.ty.named() == connection)
        {
            if field.arg("lastSync").is_some() {
                found.sync = Some(field);
            } else if field.args.first().is_some_and(|arg| arg.ty.is_required()) {
                found.by_index.push(field);
            } else {
                found.list = Some(field);
            }
        }
        for (at, verb) in VERBS.iter().enumerate() {
            let input = format!("{}{}Input", upper_first(verb), upper_first(name));
            let is_it = |field: &&Field| field.arg("input").is_some_and(|arg| arg.ty.named() == input);
            found.mutations[at] = api.mutations().iter().find(is_it);
        }
        for field in api
            .subscriptions()
            .iter()
            .filter(|field| field.ty.named() == name)
        {
            // Introspection does not tell what a subscription listens to; its name does.
            let verb = VERBS
                .iter()
                .position(|verb| field.name.starts_with(&format!("on{}", upper_first(verb))));
            if let Some(at) = verb {
                found.subscriptions[at].push(field);
            }
        }
        found
    }

    fn input(&self, api: &'a Api, at: usize) -> Option<&'a Type> {
        api.find(self.mutations[at]?.arg("input")?.ty.named())
    }
}

fn model<'a>(api: &'a Api, ty: &'a Type) -> Model<'a> {
    let operations = Operations::of(api, ty);
    let key = key(api, &operations);
    let key_is_declared = key != ["id"] || operations.list.is_some_and(|list| list.arg(key[0]).is_some());
    let taken = |field: &str| {
        let inputs: Vec<&Type> = (0..2).filter_map(|at| operations.input(api, at)).collect();
        // Without mutations the usual names must do.
        if inputs.is_empty() {
            !["createdAt", "updatedAt"].contains(&field)
        } else {
            inputs.iter().any(|input| input.has_input(field))
        }
    };
    let untaken = |of: &str, required: bool| -> Vec<&'a str> {
        let fits = |field: &&Field| {
            field.ty.named() == of
                && !field.ty.is_list()
                && field.ty.is_required() == required
                && !taken(&field.name)
                && !METADATA.contains(&field.name.as_str())
        };
        ty.fields
            .iter()
            .filter(fits)
            .map(|field| field.name.as_str())
            .collect()
    };
    let stamps = untaken("AWSDateTime", true);
    let filled = untaken("String", false);
    Model {
        name: &ty.name,
        ty,
        timestamps: timestamps(ty, &stamps),
        managed: stamps.into_iter().chain(filled.iter().copied()).collect(),
        owners: owners(&operations, filled),
        indexes: operations
            .by_index
            .iter()
            .filter_map(|field| index(api, ty, field))
            .collect(),
        operations: names(&ty.name, &operations),
        key,
        key_is_declared,
    }
}

/// The key: what `get` asks for, or what a delete does.
fn key<'a>(api: &'a Api, operations: &Operations<'a>) -> Vec<&'a str> {
    let from_get = operations
        .get
        .map(|get| get.args.iter().map(|arg| arg.name.as_str()).collect::<Vec<_>>());
    let from_input = |at: usize| -> Option<Vec<&'a str>> {
        let input = operations.input(api, at)?;
        let required = input.input_fields.iter().filter(|field| field.ty.is_required());
        Some(required.map(|field| field.name.as_str()).collect())
    };
    from_get
        .or_else(|| from_input(2))
        .or_else(|| from_input(1))
        .filter(|key| !key.is_empty())
        .unwrap_or_else(|| vec!["id"])
}

/// The names of both timestamps, given the fields that only the server writes.
fn timestamps(ty: &Type, stamps: &[&str]) -> [Option<String>; 2] {
    let usual = ["createdAt", "updatedAt"];
    let mut renamed = stamps.iter().filter(|name| !usual.contains(name));
    usual.map(|name| {
        if ty.field(name).is_some() {
            Some(name.to_owned())
        } else {
            renamed.next().map(|name| (*name).to_owned())
        }
    })
}

/// Fields of owner rules: those that the server fills, and those that a subscription asks for.
fn owners<'a>(operations: &Operations<'a>, filled: Vec<&'a str>) -> Vec<&'a str> {
    let mut owners = Vec::new();
    for field in operations.subscriptions.iter().flatten() {
        for arg in field.args.iter().filter(|arg| arg.name != "filter") {
            if !owners.contains(&arg.name.as_str()) {
                owners.push(arg.name.as_str());
            }
        }
    }
    let more: Vec<&str> = filled.into_iter().filter(|name| !owners.contains(name)).collect();
    owners.extend(more);
    owners
}

fn index(api: &Api, ty: &Type, field: &Field) -> Option<Index> {
    let partition = field.args.first()?.name.clone();
    ty.field(&partition)?;
    let mut fields = vec![partition];
    let mut name = None;
    if let Some(sort) = sort_argument(field) {
        let condition = sort.ty.named();
        let stem = format!("Model{}", ty.name);
        match condition
            .strip_prefix(&stem)
            .and_then(|rest| rest.strip_suffix("CompositeKeyConditionInput"))
        {
            Some(key) => {
                let input = api.find(&format!("{stem}{key}CompositeKeyInput"))?;
                fields.extend(input.input_fields.iter().map(|field| field.name.clone()));
                name = Some(lower_first(key));
            }
            None => fields.push(sort.name.clone()),
        }
    }
    Some(Index {
        name,
        fields,
        query: Some(field.name.clone()),
    })
}

/// The argument over the sort key: the one of a key condition.
pub(super) fn sort_argument(field: &Field) -> Option<&super::introspection::Input> {
    field
        .args
        .iter()
        .find(|arg| arg.ty.named().ends_with("KeyConditionInput"))
}

/// The arguments of `@model` that name operations otherwise than by rule.
fn names(model: &str, operations: &Operations<'_>) -> Vec<String> {
    let member = |member: &str, found: Option<&Field>, by_rule: &dyn Fn(&str) -> bool| match found {
        None => Some(format!("{member}: null")),
        Some(field) if by_rule(&field.name) => None,
        Some(field) => Some(format!("{member}: \"{}\"", field.name)),
    };
    let upper = upper_first(model);
    let is = |name: String| move |found: &str| found == name;
    let queries: Vec<String> = [
        member("get", operations.get, &is(format!("get{upper}"))),
        // Plurals are checked once the schema is read back.
        member("list", operations.list, &|found| found.starts_with("list")),
        member("sync", operations.sync, &|found| found.starts_with("sync")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut mutations = Vec::new();
    let mut subscriptions = Vec::new();
    for (at, verb) in VERBS.iter().enumerate() {
        let mutation = operations.mutations[at];
        mutations.extend(member(verb, mutation, &is(format!("{verb}{upper}"))));
        let names: Vec<&str> = operations.subscriptions[at]
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        let on = format!("on{}", upper_first(verb));
        let by_rule = format!("{on}{upper}");
        // Long names are cut by rule, to 45 characters and five of a hash.
        let usual = |name: &str| name == by_rule || (by_rule.len() > 50 && name.len() == 50);
        match names.as_slice() {
            [] if mutation.is_some() => subscriptions.push(format!("{on}: null")),
            [] => {}
            [only] if usual(only) => {}
            several => {
                let quoted: Vec<String> = several.iter().map(|name| format!("\"{name}\"")).collect();
                subscriptions.push(format!("{on}: [{}]", quoted.join(", ")));
            }
        }
    }
    let group = |name: &str, members: Vec<String>| {
        (!members.is_empty()).then(|| format!("{name}: {{ {} }}", members.join(", ")))
    };
    [
        group("queries", queries),
        group("mutations", mutations),
        group("subscriptions", subscriptions),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn write_model(
    sdl: &mut String,
    model: &Model<'_>,
    relations: &relations::Relations,
    reached: &mut BTreeSet<String>,
) {
    let mut arguments = model.operations.clone();
    if let Some(timestamps) = timestamps_argument(&model.timestamps) {
        arguments.push(timestamps);
    }
    let arguments = if arguments.is_empty() {
        String::new()
    } else {
        format!("({})", arguments.join(", "))
    };
    let rules: Vec<String> = model
        .owners
        .iter()
        .map(|owner| match *owner {
            "owner" => "{ allow: owner }".to_owned(),
            owner => format!("{{ allow: owner, ownerField: \"{owner}\" }}"),
        })
        .collect();
    let auth = if rules.is_empty() {
        String::new()
    } else {
        format!(" @auth(rules: [{}])", rules.join(", "))
    };
    // Writing to a string cannot fail.
    let _ = writeln!(sdl, "\ntype {} @model{arguments}{auth} {{", model.name);
    for field in &model.ty.fields {
        let name = field.name.as_str();
        let place = (model.name.to_owned(), name.to_owned());
        if let Some(relation) = relations.fields.get(&place) {
            let _ = writeln!(sdl, "  {name}: {relation}");
            continue;
        }
        let implied = METADATA.contains(&name)
            || model.managed.contains(name)
            || relations.implied.contains(&place)
            || relations.unknown.contains(&place);
        if !implied {
            let _ = writeln!(sdl, "  {name}: {}{}", field.ty, directives(model, name));
            reached.insert(field.ty.named().to_owned());
        }
    }
    sdl.push_str("}\n");
}

fn timestamps_argument(names: &[Option<String>; 2]) -> Option<String> {
    let member = |usual: &str, name: &Option<String>| match name {
        Some(name) if name == usual => None,
        Some(name) => Some(format!("{usual}: \"{name}\"")),
        None => Some(format!("{usual}: null")),
    };
    if names == &[None, None] {
        return Some("timestamps: null".to_owned());
    }
    let members: Vec<String> = [member("createdAt", &names[0]), member("updatedAt", &names[1])]
        .into_iter()
        .flatten()
        .collect();
    (!members.is_empty()).then(|| format!("timestamps: {{ {} }}", members.join(", ")))
}

/// The key and index directives of a field.
fn directives(model: &Model<'_>, field: &str) -> String {
    let list = |fields: &[String]| -> String {
        let quoted: Vec<String> = fields.iter().map(|field| format!("\"{field}\"")).collect();
        quoted.join(", ")
    };
    let mut text = String::new();
    if model.key_is_declared && model.key[0] == field {
        let sort: Vec<String> = model.key[1..].iter().map(|field| (*field).to_owned()).collect();
        text.push_str(" @primaryKey");
        if !sort.is_empty() {
            text.push_str(&format!("(sortKeyFields: [{}])", list(&sort)));
        }
    }
    for index in model.indexes.iter().filter(|index| index.fields[0] == field) {
        let mut arguments = Vec::new();
        arguments.extend(index.name.as_ref().map(|name| format!("name: \"{name}\"")));
        if index.fields.len() > 1 {
            arguments.push(format!("sortKeyFields: [{}]", list(&index.fields[1..])));
        }
        arguments.push(match &index.query {
            Some(query) => format!("queryField: \"{query}\""),
            None => "queryField: null".to_owned(),
        });
        text.push_str(&format!(" @index({})", arguments.join(", ")));
    }
    text
}

/// Writes the enums and non-model types that fields reach.
fn write_reached(sdl: &mut String, api: &Api, mut waiting: BTreeSet<String>) {
    let mut texts = BTreeMap::new();
    while let Some(name) = waiting.pop_first() {
        let Some(ty) = api.find(&name).filter(|_| !texts.contains_key(&name)) else {
            continue;
        };
        let members: Vec<String> = match ty.kind {
            Kind::Enum => ty.enum_values.iter().map(|value| value.name.clone()).collect(),
            Kind::Object => ty
                .fields
                .iter()
                .map(|field| {
                    waiting.insert(field.ty.named().to_owned());
                    format!("{}: {}", field.name, field.ty)
                })
                .collect(),
            _ => continue,
        };
        let keyword = if ty.kind == Kind::Enum { "enum" } else { "type" };
        texts.insert(
            name.clone(),
            format!("\n{keyword} {name} {{\n  {}\n}}\n", members.join("\n  ")),
        );
    }
    texts.values().for_each(|text| sdl.push_str(text));
}
