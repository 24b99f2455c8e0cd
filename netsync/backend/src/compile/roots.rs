//! GraphQL text of the root fields, and what each of them does.
//!
//! Owns [`RootField`]. Does not execute (`execute/`).

use landfall_core::{ModelName, MutationKind};

use super::inputs::{
    key_condition_argument, model_condition, model_filter, model_subscription_filter, mutation_input,
};
use super::operations::KINDS;
use super::plan::{IndexPlan, ModelPlan};
use super::types::line;
use super::{CompiledSchema, Models, names};

/// What a root field does, and on which model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootField {
    /// `getPost`: one record by its key.
    Get(ModelName),
    /// `listPosts`: records by scan, or by partition key where the model's key is declared.
    List(ModelName),
    /// `syncPosts`: base or delta sync.
    Sync(ModelName),
    /// A query field of an index, by the index's name.
    IndexQuery(ModelName, String),
    /// `createPost`, `updatePost`, `deletePost`.
    Mutate(ModelName, MutationKind),
    /// `onCreatePost`, `onUpdatePost`, `onDeletePost`.
    Subscribe(ModelName, MutationKind),
}

impl RootField {
    /// Whether it is a field of the type `Query`.
    pub(super) fn is_query(&self) -> bool {
        !matches!(self, Self::Mutate(..) | Self::Subscribe(..))
    }
}

/// Collects root fields of one type with what they do.
struct Roots<'a> {
    out: String,
    schema: &'a mut CompiledSchema,
    collisions: &'a mut Vec<String>,
}

/// Writes the root types; gives the names that several fields have, within a type or across.
pub(super) fn write(out: &mut String, compiled: &mut CompiledSchema) -> Vec<String> {
    type Writer = fn(&mut Roots<'_>, &Models);
    let writers: [(&str, Writer); 3] = [
        ("Query", write_queries),
        ("Mutation", write_mutations),
        ("Subscription", write_subscriptions),
    ];
    let models = compiled.models.clone();
    let mut collisions = Vec::new();
    for (ty, write) in writers {
        let mut roots = Roots {
            out: String::new(),
            schema: compiled,
            collisions: &mut collisions,
        };
        write(&mut roots, &models);
        // GraphQL has no types without fields; a schema may do without mutations and subscriptions.
        if !roots.out.is_empty() {
            line(out, format_args!("type {ty} {{\n{}}}", roots.out));
        }
    }
    collisions
}

impl Roots<'_> {
    fn add(&mut self, name: String, arguments: &str, result: &str, does: RootField) {
        line(&mut self.out, format_args!("  {name}({arguments}): {result}"));
        if self.schema.roots.insert(name.clone(), does).is_some() {
            self.collisions.push(name);
        }
    }
}

fn write_queries(roots: &mut Roots<'_>, models: &Models) {
    for plan in models.values() {
        let name = plan.name();
        let connection = format!("Model{name}Connection");
        let filter = model_filter(name);
        let key: Vec<String> = plan
            .key
            .fields()
            .map(|field| format!("{field}: {}!", plan.attributes[field].ty))
            .collect();
        if let Some(get) = plan.get_name() {
            roots.add(get, &key.join(", "), name, RootField::Get(name.clone()));
        }
        if let Some(list) = plan.list_name() {
            let does = RootField::List(name.clone());
            roots.add(list, &list_arguments(plan), &connection, does);
        }
        if let Some(sync) = plan.sync_name() {
            let arguments =
                format!("filter: {filter}, limit: Int, nextToken: String, lastSync: AWSTimestamp");
            roots.add(sync, &arguments, &connection, RootField::Sync(name.clone()));
        }
        for index in &plan.indexes {
            if let Some(field) = &index.query_field {
                let does = RootField::IndexQuery(name.clone(), index.name.clone());
                roots.add(field.clone(), &index_arguments(plan, index), &connection, does);
            }
        }
    }
}

fn list_arguments(plan: &ModelPlan) -> String {
    let common = format!(
        "filter: {}, limit: Int, nextToken: String",
        model_filter(plan.name())
    );
    if !plan.def.key.declared {
        return common;
    }
    let partition = format!(
        "{}: {}",
        plan.key.partition, plan.attributes[&plan.key.partition].ty
    );
    let sort = key_condition_argument(plan, &plan.key, "Primary");
    let arguments: Vec<String> = [
        Some(partition),
        sort,
        Some(common),
        Some("sortDirection: ModelSortDirection".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect();
    arguments.join(", ")
}

fn index_arguments(plan: &ModelPlan, index: &IndexPlan) -> String {
    let partition = format!(
        "{}: {}!",
        index.key.partition, plan.attributes[&index.key.partition].ty
    );
    let sort = key_condition_argument(plan, &index.key, &names::pascal(&index.name));
    let common = format!(
        "sortDirection: ModelSortDirection, filter: {}, limit: Int, nextToken: String",
        model_filter(plan.name())
    );
    let arguments: Vec<String> = [Some(partition), sort, Some(common)]
        .into_iter()
        .flatten()
        .collect();
    arguments.join(", ")
}

fn write_mutations(roots: &mut Roots<'_>, models: &Models) {
    for plan in models.values() {
        let name = plan.name();
        for kind in KINDS {
            let Some(mutation) = plan.mutation_name(kind) else {
                continue;
            };
            let arguments = format!(
                "input: {}!, condition: {}",
                mutation_input(kind, name),
                model_condition(name)
            );
            let does = RootField::Mutate(name.clone(), kind);
            roots.add(mutation, &arguments, name, does);
        }
    }
}

fn write_subscriptions(roots: &mut Roots<'_>, models: &Models) {
    for plan in models.values() {
        let name = plan.name();
        let mut arguments = format!("filter: {}", model_subscription_filter(name));
        let owners = plan
            .rules
            .iter()
            .flat_map(|rules| rules.owner_arguments(&plan.def));
        for owner in owners {
            arguments.push_str(&format!(", {owner}: String"));
        }
        for kind in KINDS {
            let Some(mutation) = plan.mutation_name(kind) else {
                continue;
            };
            let result = format!("{name} @aws_subscribe(mutations: [\"{mutation}\"])");
            for subscription in plan.subscription_names(kind) {
                let does = RootField::Subscribe(name.clone(), kind);
                roots.add(subscription, &arguments, &result, does);
            }
        }
    }
}
