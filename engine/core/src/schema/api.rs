//! What a model's GraphQL API is called: names of operations, those that are switched off, page sizes of relations.
//!
//! Owns what `@model(queries:, mutations:, subscriptions:)` and `limit` of a relation say. Only a server reads it:
//! Amplify's clients, and ours after them, build the default names whatever a schema says.

use std::collections::BTreeMap;

use crate::names::FieldName;

/// The operations of one model, as `@model` names them; the default is Amplify's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelApi {
    /// `getPost`.
    pub get: ApiName,
    /// `listPosts`.
    pub list: ApiName,
    /// `syncPosts`.
    pub sync: ApiName,
    /// `createPost`.
    pub create: ApiName,
    /// `updatePost`.
    pub update: ApiName,
    /// `deletePost`.
    pub delete: ApiName,
    /// `onCreatePost`; a subscription may have several names.
    pub on_create: ApiName<Vec<String>>,
    /// `onUpdatePost`.
    pub on_update: ApiName<Vec<String>>,
    /// `onDeletePost`.
    pub on_delete: ApiName<Vec<String>>,
    /// Who may subscribe.
    pub subscriptions: SubscriptionLevel,
    /// Rows on a page of a to-many relation that is read without a limit of its own, by relation field.
    pub page_limits: BTreeMap<FieldName, u32>,
}

/// What an operation is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ApiName<T = String> {
    /// By Amplify's rule.
    #[default]
    ByRule,
    /// Not at all: there is no such operation.
    Off,
    /// As the schema says.
    Named(T),
}

/// Who may subscribe to a model's mutations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionLevel {
    /// Those that the model's rules let read.
    #[default]
    On,
    /// Everyone who may call the API at all.
    Public,
    /// Nobody: there are no subscriptions.
    Off,
}

impl<T> ApiName<T> {
    /// Whether there is such an operation.
    pub fn is_on(&self) -> bool {
        !matches!(self, Self::Off)
    }
}

impl ApiName {
    /// The name, given the one by rule; `None` if the operation is switched off.
    pub fn or(&self, by_rule: impl FnOnce() -> String) -> Option<String> {
        match self {
            Self::ByRule => Some(by_rule()),
            Self::Off => None,
            Self::Named(name) => Some(name.clone()),
        }
    }
}

impl ApiName<Vec<String>> {
    /// The names, given the one by rule; none if the operation is switched off.
    pub fn or(&self, by_rule: impl FnOnce() -> String) -> Vec<String> {
        match self {
            Self::ByRule => vec![by_rule()],
            Self::Off => Vec::new(),
            Self::Named(names) => names.clone(),
        }
    }
}

impl ModelApi {
    /// Whether everything is as Amplify has it by default.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
