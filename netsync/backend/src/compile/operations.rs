//! What the operations of a model are called, and which of them there are.
//!
//! Owns the meeting of `@model`'s arguments with the naming rules. A subscription needs its mutation, and a level other
//! than off.

use landfall_core::{MutationKind, SubscriptionLevel};

use super::names;
use super::plan::ModelPlan;

/// The three kinds of mutation, in the order of the root fields.
pub(super) const KINDS: [MutationKind; 3] =
    [MutationKind::Create, MutationKind::Update, MutationKind::Delete];

impl ModelPlan {
    /// `getPost`.
    pub(super) fn get_name(&self) -> Option<String> {
        let by_rule = || format!("get{}", names::upper_first(self.name()));
        self.def.api.get.or(by_rule)
    }

    /// `listPosts`.
    pub(super) fn list_name(&self) -> Option<String> {
        self.def.api.list.or(|| format!("list{}", self.def.plural_name))
    }

    /// `syncPosts`.
    pub(super) fn sync_name(&self) -> Option<String> {
        self.def.api.sync.or(|| format!("sync{}", self.def.plural_name))
    }

    /// `createPost` and its like.
    pub(super) fn mutation_name(&self, kind: MutationKind) -> Option<String> {
        let api = &self.def.api;
        let name = match kind {
            MutationKind::Create => &api.create,
            MutationKind::Update => &api.update,
            MutationKind::Delete => &api.delete,
        };
        name.or(|| names::mutation_field(kind, self.name()))
    }

    /// `onCreatePost` and its like.
    pub(super) fn subscription_names(&self, kind: MutationKind) -> Vec<String> {
        let api = &self.def.api;
        if api.subscriptions == SubscriptionLevel::Off || self.mutation_name(kind).is_none() {
            return Vec::new();
        }
        let names = match kind {
            MutationKind::Create => &api.on_create,
            MutationKind::Update => &api.on_update,
            MutationKind::Delete => &api.on_delete,
        };
        names.or(|| names::subscription_field(kind, self.name()))
    }

    /// Whether anything can be mutated.
    pub(super) fn has_mutations(&self) -> bool {
        KINDS.iter().any(|kind| self.mutation_name(*kind).is_some())
    }

    /// Whether anything can be subscribed to.
    pub(super) fn has_subscriptions(&self) -> bool {
        KINDS
            .iter()
            .any(|kind| !self.subscription_names(*kind).is_empty())
    }
}
