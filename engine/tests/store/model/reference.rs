//! What scripts do, and what it does to the naive store.

use std::collections::{BTreeMap, BTreeSet};

use landfall::{Predicate, Query, Value};
use proptest::prelude::*;
use proptest::{collection, option};
use proptest_state_machine::ReferenceStateMachine;

use super::naive::{Naive, Name, Row};
use super::questions;
use super::schemas::{LANGUAGE, VERSIONS, models};

/// Queries that are observed at the same time.
const WATCHED_MAX: usize = 4;

/// One write.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// The record as it is, or a new one, with these fields.
    Save {
        name: Name,
        fields: Row,
        condition: Option<Predicate>,
    },
    Delete {
        name: Name,
        condition: Option<Predicate>,
    },
}

/// One step of a script.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The version of the models that it was made for: shrinking takes migrations away.
    version: usize,
    pub(super) act: Act,
}

/// What a step does.
#[derive(Clone, Debug)]
pub(super) enum Act {
    One(Op),
    Together(Vec<Op>),
    DeleteWhere {
        model: usize,
        predicate: Predicate,
    },
    Ask(Query),
    Watch(Query),
    Reopen,
    /// Takes all but so many of the newest entries from the log, as far as nothing waits for the server.
    Trim(u64),
    /// Opens the store with the next version of the schema.
    Migrate,
    Clear,
    /// Exports everything and imports it into another store.
    Move,
}

/// The naive store, and what came of the last step.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Whether the store keeps everything to itself, so that nothing ever waits for the server.
    pub(super) local: bool,
    pub(super) naive: Naive,
    pub(super) watched: Vec<Query>,
    /// Whether the last write was carried out.
    pub(super) accepted: bool,
    /// Records that the last write took away.
    pub(super) gone: Vec<Name>,
}

pub(super) struct Reference;

fn name(version: usize, model: usize) -> BoxedStrategy<Name> {
    if models(version)[model].key.len() == 2 {
        let key = (0..2_u8, 0..3_u8).prop_map(|(site, item)| vec![format!("r{site}"), format!("i{item}")]);
        return key.prop_map(move |key| (model, key)).boxed();
    }
    let records = if model == 0 { 3_u8 } else { 7 };
    (0..records)
        .prop_map(move |number| (model, vec![format!("r{number}")]))
        .boxed()
}

fn save(version: usize, model: usize) -> BoxedStrategy<Op> {
    let spec = models(version).swap_remove(model);
    let fields: Vec<_> = spec
        .fields
        .iter()
        .map(|field| {
            // What is required is given most of the time, or a new record could hardly be made.
            let given = if field.required { 0.95 } else { 0.5 };
            let name = field.name.to_owned();
            option::weighted(given, questions::value(*field)).prop_map(move |value| (name.clone(), value))
        })
        .collect();
    let parent = option::weighted(0.7, option::weighted(0.9, 0..4_u8));
    let condition = option::weighted(0.15, questions::predicate(version, model, 1, false));
    (name(version, model), fields, parent, condition)
        .prop_map(move |(name, fields, parent, condition)| {
            let given = |(field, value): (String, Option<Value>)| Some((field, value?));
            let mut fields: Row = fields.into_iter().filter_map(given).collect();
            if let (Some((field, ..)), Some(parent)) = (spec.parent, parent) {
                let id = parent.map_or(Value::Null, |number| format!("r{number}").as_str().into());
                fields.insert(field.to_owned(), id);
            }
            Op::Save {
                name,
                fields,
                condition,
            }
        })
        .boxed()
}

fn op(version: usize) -> BoxedStrategy<Op> {
    (0..4_usize, 0..10)
        .prop_flat_map(move |(model, which)| {
            if which < 8 {
                return save(version, model);
            }
            let condition = option::weighted(0.3, questions::predicate(version, model, 1, false));
            (name(version, model), condition)
                .prop_map(|(name, condition)| Op::Delete { name, condition })
                .boxed()
        })
        .boxed()
}

impl ReferenceStateMachine for Reference {
    type State = State;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<State> {
        any::<bool>()
            .prop_map(|local| State {
                local,
                ..State::default()
            })
            .boxed()
    }

    fn transitions(state: &State) -> BoxedStrategy<Step> {
        let version = state.naive.version;
        let delete_where = (0..4_usize).prop_flat_map(move |model| {
            let predicate = questions::predicate(version, model, 2, false);
            predicate.prop_map(move |predicate| Act::DeleteWhere { model, predicate })
        });
        let act = prop_oneof![
            40 => op(version).prop_map(Act::One),
            20 => collection::vec(op(version), 1..6).prop_map(Act::Together),
            2 => delete_where,
            14 => questions::query(version).prop_map(Act::Ask),
            8 => questions::query(version).prop_map(Act::Watch),
            3 => Just(Act::Reopen),
            3 => (0..20_u64).prop_map(Act::Trim),
            2 => Just(Act::Migrate),
            1 => Just(Act::Clear),
            1 => Just(Act::Move),
        ];
        act.prop_map(move |act| Step { version, act }).boxed()
    }

    fn preconditions(state: &State, step: &Step) -> bool {
        step.version == state.naive.version
            && match &step.act {
                Act::Migrate => step.version + 1 < VERSIONS,
                Act::Watch(_) => state.watched.len() < WATCHED_MAX,
                _ => true,
            }
    }

    fn apply(mut state: State, step: &Step) -> State {
        state.gone.clear();
        match &step.act {
            Act::One(op) => state.write(std::slice::from_ref(op)),
            Act::Together(ops) => state.write(ops),
            Act::DeleteWhere { model, predicate } => {
                let found = state.naive.selected(*model, predicate);
                let names: Vec<Name> = found.iter().map(|(key, _)| (*model, (*key).clone())).collect();
                state.gone = names.iter().flat_map(|name| state.naive.delete(name)).collect();
            }
            Act::Watch(query) => state.watched.push(query.clone()),
            Act::Migrate => state.migrate(),
            Act::Clear => state.naive.models = <[BTreeMap<_, _>; 4]>::default(),
            Act::Ask(_) | Act::Reopen | Act::Trim(_) | Act::Move => {}
        }
        state
    }
}

impl State {
    /// Carries out writes, all or none.
    fn write(&mut self, ops: &[Op]) {
        let before = self.naive.clone();
        let mut work = Work {
            naive: &mut self.naive,
            seen: before.clone(),
            made: BTreeSet::new(),
            gone: Vec::new(),
        };
        self.accepted = ops.iter().all(|op| work.take(op).is_some());
        self.gone = work.gone;
        if !self.accepted {
            self.naive = before;
            self.gone.clear();
        }
    }

    fn migrate(&mut self) {
        self.watched.clear();
        let naive = &mut self.naive;
        naive.version += 1;
        if naive.version == 1 {
            for row in naive.models[1].values_mut() {
                if let Some(rating) = row.remove("rating") {
                    row.insert("points".to_owned(), rating);
                }
                row.insert("lang".to_owned(), LANGUAGE.into());
            }
        } else {
            for row in naive.models[0].values_mut() {
                row.remove("stars");
            }
            for row in naive.models[1].values_mut() {
                if let Some(Value::Int(points)) = row.get("points") {
                    let text = points.to_string();
                    row.insert("points".to_owned(), text.as_str().into());
                }
            }
        }
    }
}

/// Writes while they are being carried out: a transaction reads its own saves and deletes, but not what they take along.
struct Work<'n> {
    naive: &'n mut Naive,
    /// What its reads find.
    seen: Naive,
    /// Records that it wrote before.
    made: BTreeSet<Name>,
    gone: Vec<Name>,
}

impl Work<'_> {
    /// Carries one write out; `None` if it is refused.
    fn take(&mut self, op: &Op) -> Option<()> {
        match op {
            Op::Save {
                name: (model, key),
                fields,
                condition,
            } => {
                let spec = self.naive.spec(*model);
                let found = self.seen.models[*model].get(key).cloned();
                let was_there = found.is_some();
                let mut row = found.unwrap_or_default();
                for (field, id) in spec.key.iter().zip(key) {
                    row.insert((*field).to_owned(), id.as_str().into());
                }
                for (field, value) in fields {
                    row.remove(field);
                    if !value.is_null() {
                        row.insert(field.clone(), value.clone());
                    }
                }
                let complete = spec
                    .fields
                    .iter()
                    .all(|field| !field.required || row.contains_key(field.name));
                if !complete {
                    return None;
                }
                let written = self.made.contains(&(*model, key.clone()));
                match self.naive.models[*model].get(key) {
                    // What was read is gone, and not by this transaction's own word.
                    None if was_there && !written => return None,
                    None => {}
                    Some(stored) => {
                        let holds = |condition| self.naive.selects(*model, stored, condition);
                        if !condition.as_ref().is_none_or(holds) {
                            return None;
                        }
                    }
                }
                self.naive.models[*model].insert(key.clone(), row.clone());
                self.seen.models[*model].insert(key.clone(), row);
                self.made.insert((*model, key.clone()));
            }
            Op::Delete { name, condition } => {
                let (model, key) = name;
                if let (Some(stored), Some(condition)) = (self.naive.models[*model].get(key), condition)
                    && !self.naive.selects(*model, stored, condition)
                {
                    return None;
                }
                self.gone.extend(self.naive.delete(name));
                self.seen.models[*model].remove(key);
                self.made.insert(name.clone());
            }
        }
        Some(())
    }
}
