//! The order in which models sync: parents before children.
//!
//! Owns only the ordering. A has-one that holds the foreign key makes no child here, unlike in the outbox: sync keeps
//! records whose parent is missing, so the order is a courtesy, and a has-one with a belongs-to on its other side would
//! make a cycle of every such pair. Invariant: every model appears exactly once, in the first level after all its parents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Belonging, ModelDef};
use crate::names::ModelName;

/// Groups syncable models into levels; models in a cycle of relations share the last one.
pub(super) fn levels(
    models: &IndexMap<ModelName, Arc<ModelDef>>,
    belongings: &BTreeMap<ModelName, Vec<Belonging>>,
) -> Vec<Vec<ModelName>> {
    let mut waiting: BTreeMap<&ModelName, BTreeSet<&ModelName>> = models
        .values()
        .filter(|model| model.syncable)
        .map(|model| (&model.name, parents(model, models, belongings)))
        .collect();
    let mut levels = Vec::new();
    while !waiting.is_empty() {
        let mut ready: Vec<ModelName> = models
            .keys()
            .filter(|name| waiting.get(name).is_some_and(BTreeSet::is_empty))
            .cloned()
            .collect();
        if ready.is_empty() {
            ready = models
                .keys()
                .filter(|name| waiting.contains_key(name))
                .cloned()
                .collect();
        }
        for name in &ready {
            waiting.remove(name);
        }
        for parents in waiting.values_mut() {
            parents.retain(|parent| !ready.contains(parent));
        }
        levels.push(ready);
    }
    levels
}

fn parents<'a>(
    model: &'a ModelDef,
    models: &'a IndexMap<ModelName, Arc<ModelDef>>,
    belongings: &BTreeMap<ModelName, Vec<Belonging>>,
) -> BTreeSet<&'a ModelName> {
    let belongings = belongings.get(&model.name).into_iter().flatten();
    belongings
        .filter(|belonging| belonging.is_child && belonging.to != model.name)
        .filter_map(|belonging| models.get(&belonging.to))
        .filter(|parent| parent.syncable)
        .map(|parent| &parent.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::names::ModelName;
    use crate::schema::{Association, FieldDef, Schema, SchemaParts};
    use crate::test_support::{belongs_to, blog, field, has_many, model, names, relation, sdl};

    /// Levels of models given as name and parents, as text: levels with `|` between.
    fn levels(models: &[(&str, &[&str])]) -> String {
        levels_where(models, &[])
    }

    fn levels_where(models: &[(&str, &[&str])], local_only: &[&str]) -> String {
        let models = models.iter().map(|(name, parents)| {
            let relations = parents.iter().flat_map(|parent| {
                let target = format!("{parent}Id");
                [
                    field(&format!("{target}: ID")),
                    belongs_to(&format!("the{parent}"), parent, &[&target]),
                ]
            });
            let mut model = model(name, sdl("id: ID!").into_iter().chain(relations).collect());
            model.syncable = !local_only.contains(name);
            model
        });
        text(&SchemaParts {
            models: models.collect(),
            ..SchemaParts::default()
        })
    }

    fn text(parts: &SchemaParts) -> String {
        let schema = Schema::build(parts.clone()).expect("a sound schema");
        let levels = schema.topological_levels().iter();
        levels
            .map(|level| level.iter().map(ModelName::as_str).collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
            .join(" | ")
    }

    #[test]
    fn parents_come_before_children() {
        assert_eq!(levels(&[("A", &[])]), "A");
        assert_eq!(levels(&[("C", &["B"]), ("B", &["A"]), ("A", &[])]), "A | B | C");
        // A model waits for the last of its parents.
        assert_eq!(
            levels(&[("D", &["A", "C"]), ("C", &["B"]), ("B", &["A"]), ("A", &[])]),
            "A | B | C | D"
        );
        assert_eq!(
            levels(&[("D", &["B", "C"]), ("B", &["A"]), ("C", &["A"]), ("A", &[])]),
            "A | B C | D"
        );
    }

    #[test]
    fn models_of_one_level_keep_their_declaration_order() {
        assert_eq!(levels(&[("Z", &[]), ("M", &[]), ("A", &[])]), "Z M A");
        let schema = blog();
        let first: Vec<&str> = schema.topological_levels()[0]
            .iter()
            .map(ModelName::as_str)
            .collect();
        assert_eq!(first, ["Blog", "Todo", "Memo", "Order"]);
    }

    #[test]
    fn a_model_that_belongs_to_itself_is_no_cycle() {
        assert_eq!(levels(&[("A", &["A"]), ("B", &["A"])]), "A | B");
    }

    #[test]
    fn a_cycle_comes_last_in_one_group_with_what_depends_on_it() {
        assert_eq!(levels(&[("A", &["B"]), ("B", &["A"])]), "A B");
        assert_eq!(
            levels(&[
                ("A", &["C"]),
                ("B", &["A"]),
                ("C", &["B"]),
                ("X", &[]),
                ("Y", &["X"])
            ]),
            "X | Y | A B C"
        );
        assert_eq!(
            levels(&[("A", &["B", "X"]), ("B", &["A"]), ("Y", &["A"]), ("X", &[])]),
            "X | A B Y"
        );
        // Two cycles that know nothing of each other share the group as well.
        assert_eq!(
            levels(&[("A", &["B"]), ("B", &["A"]), ("C", &["D"]), ("D", &["C"])]),
            "A B C D"
        );
    }

    #[test]
    fn local_only_models_take_no_part() {
        assert_eq!(
            levels_where(&[("A", &["L"]), ("L", &[]), ("B", &["A"])], &["L"]),
            "A | B"
        );
        assert_eq!(levels_where(&[("L", &["A"]), ("A", &["L"])], &["L"]), "A");
        assert_eq!(levels_where(&[("L", &[])], &["L"]), "");
    }

    #[test]
    fn who_holds_the_key_of_another_is_its_child_unless_it_has_it_as_its_one() {
        let key = || vec![field("id: ID!"), field("bId: ID")];
        let has_one = Association::HasOne {
            associated_with: names(&["id"]),
            targets: names(&["bId"]),
        };
        let with = |more: FieldDef| SchemaParts {
            models: vec![model("A", [key(), vec![more]].concat()), model("B", key())],
            ..SchemaParts::default()
        };
        assert_eq!(text(&with(relation("b", "B", has_one))), "A B");
        assert_eq!(text(&with(has_many("b", "B", &["bId"]))), "A | B");
        assert_eq!(text(&with(belongs_to("b", "B", &["bId"]))), "B | A");
    }
}
