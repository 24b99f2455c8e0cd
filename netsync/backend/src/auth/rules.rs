//! The rules of `@auth`, read and checked.
//!
//! Owns [`ModelRules`]: what a schema says of who may do what with a model and with its single fields. Does not know who
//! is calling (`identity.rs`) and decides nothing (`access.rs`).
//!
//! Invariants: 1. rules on a field stand in place of the model's rules for that field; 2. every owner and group field
//! that a rule reads is a stored text or list of texts; 3. what cannot be understood is refused, never passed over.

use std::collections::{BTreeMap, BTreeSet};

use landfall_core::{FieldDef, FieldName, FieldType, ListDef, ModelDef, MutationKind, Scalar};
use serde_json::Value as Json;

use super::identity::Provider;
use super::settings::AuthMode;
use crate::error::BackendError;

/// Something that a rule can allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    /// One record by its key, also through a relation.
    Get,
    /// Pages of records, also of an index or a relation.
    List,
    Sync,
    /// Subscriptions.
    Listen,
}

impl Operation {
    /// Every operation.
    pub(crate) const ALL: [Self; 7] = [
        Self::Create,
        Self::Update,
        Self::Delete,
        Self::Get,
        Self::List,
        Self::Sync,
        Self::Listen,
    ];

    /// What `read` stands for.
    const READ: [Self; 4] = [Self::Get, Self::List, Self::Sync, Self::Listen];

    /// The operation of a mutation.
    pub(crate) fn of_mutation(kind: MutationKind) -> Self {
        match kind {
            MutationKind::Create => Self::Create,
            MutationKind::Update => Self::Update,
            MutationKind::Delete => Self::Delete,
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) who: Who,
    pub(crate) provider: Provider,
    pub(crate) operations: BTreeSet<Operation>,
}

/// Whom a rule speaks of, among the callers of its provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Everybody (`public`), for IAM those who did not sign in.
    Public,
    /// Whoever signed in (`private`).
    Private,
    /// Whoever the authorizer let in (`custom`).
    Custom,
    /// Whom a field of the record names.
    Owner {
        field: FieldName,
        /// Claims whose values, joined by `::`, make the name.
        claim: Vec<String>,
    },
    /// Members of certain groups.
    Groups { claim: String, groups: BTreeSet<String> },
    /// Members of the groups that a field of the record names.
    GroupsField { field: FieldName, claim: String },
}

impl Rule {
    /// The field of the record that the rule compares with.
    pub(crate) fn dynamic_field(&self) -> Option<&FieldName> {
        match &self.who {
            Who::Owner { field, .. } | Who::GroupsField { field, .. } => Some(field),
            Who::Public | Who::Private | Who::Custom | Who::Groups { .. } => None,
        }
    }
}

/// All rules of one model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelRules {
    /// Rules on the model.
    pub(crate) model: Vec<Rule>,
    /// Rules on single fields, which stand in place of the model's.
    pub(crate) fields: BTreeMap<FieldName, Vec<Rule>>,
}

impl ModelRules {
    /// The rules of a model without any: everybody who comes by the API's default mode may do everything.
    pub(crate) fn implied(mode: AuthMode) -> Self {
        let rule = |who, provider| Rule {
            who,
            provider,
            operations: Operation::ALL.into(),
        };
        let model = match mode {
            AuthMode::ApiKey => vec![rule(Who::Public, Provider::ApiKey)],
            AuthMode::UserPool => vec![rule(Who::Private, Provider::UserPools)],
            AuthMode::Oidc => vec![rule(Who::Private, Provider::Oidc)],
            AuthMode::Iam => vec![
                rule(Who::Public, Provider::Iam),
                rule(Who::Private, Provider::Iam),
            ],
            AuthMode::Lambda => vec![rule(Who::Custom, Provider::Function)],
        };
        Self {
            model,
            fields: BTreeMap::new(),
        }
    }

    /// Reads the rules of a model; those on a field carry its name as `field`.
    ///
    /// # Errors
    /// [`BackendError::Rules`] naming what is wrong.
    pub(crate) fn read(def: &ModelDef) -> Result<Option<Self>, BackendError> {
        if def.auth.is_empty() {
            return Ok(None);
        }
        let refused = |fault: String| BackendError::Rules {
            model: def.name.to_string(),
            fault,
        };
        let mut rules = Self::default();
        for json in &def.auth {
            let rule = read_rule(json).map_err(refused)?;
            check_fields(def, &rule).map_err(refused)?;
            match json.get("field") {
                None => rules.model.push(rule),
                Some(Json::String(field)) if def.fields.contains_key(field.as_str()) => rules
                    .fields
                    .entry(FieldName::from(field.as_str()))
                    .or_default()
                    .push(rule),
                Some(field) => return Err(refused(format!("it has no field {field} to put a rule on"))),
            }
        }
        Ok(Some(rules))
    }

    /// The rules that hold for a field.
    pub(crate) fn of_field(&self, field: &str) -> &[Rule] {
        self.fields.get(field).unwrap_or(&self.model)
    }

    /// Every rule, the model's first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.model.iter().chain(self.fields.values().flatten())
    }

    /// The fields of a record that decide who may see it.
    pub(crate) fn dynamic_fields(&self) -> BTreeSet<&FieldName> {
        self.all().filter_map(Rule::dynamic_field).collect()
    }

    /// The owner fields whose names are made of several claims; clients see only the last part of these.
    pub(crate) fn split_owner_fields(&self) -> BTreeSet<FieldName> {
        self.all()
            .filter_map(|rule| match &rule.who {
                Who::Owner { field, claim } if claim.len() > 1 => Some(field.clone()),
                _ => None,
            })
            .collect()
    }

    /// Owner fields that the model does not declare: texts that the server adds to it.
    pub(crate) fn undeclared_owners<'a>(&'a self, def: &'a ModelDef) -> impl Iterator<Item = FieldDef> + 'a {
        let mut owners = Vec::new();
        for rule in self.all() {
            if let Who::Owner { field, .. } = &rule.who
                && !def.fields.contains_key(field.as_str())
                && !owners.contains(field)
            {
                owners.push(field.clone());
            }
        }
        owners
            .into_iter()
            .map(|field| FieldDef::scalar(&field, Scalar::String))
    }

    /// Names of the arguments that subscriptions take for owners: single texts of rules on the model.
    pub(crate) fn owner_arguments(&self, def: &ModelDef) -> BTreeSet<&FieldName> {
        self.model
            .iter()
            .filter(|rule| rule.operations.contains(&Operation::Listen))
            .filter_map(|rule| match &rule.who {
                Who::Owner { field, .. } => Some(field),
                _ => None,
            })
            .filter(|field| def.field(field).is_none_or(|field| field.list.is_none()))
            .collect()
    }

    /// Whether who may see a record depends on the record or differs from what `other` says.
    pub(crate) fn hides_from(&self, other: &Self) -> bool {
        let sorted = |rules: &Self| {
            let mut model = rules.model.clone();
            model.sort();
            model
        };
        self.all().any(|rule| rule.dynamic_field().is_some())
            || !self.fields.is_empty()
            || sorted(self) != sorted(other)
    }

    /// The providers of all rules.
    pub(crate) fn providers(&self) -> BTreeSet<Provider> {
        self.all().map(|rule| rule.provider).collect()
    }
}

/// The field that owner rules read unless they name another.
const OWNER_FIELD: &str = "owner";
/// The field that dynamic group rules read unless they name another.
const GROUPS_FIELD: &str = "groups";
/// The claim that holds a user's groups.
const GROUP_CLAIM: &str = "cognito:groups";

fn read_rule(json: &Json) -> Result<Rule, String> {
    let text = |name: &str| match json.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if !text.is_empty() => Ok(Some(text.as_str())),
        Some(other) => Err(format!("`{name}` must be a text, it is {other}")),
    };
    let allow = text("allow")?.ok_or("a rule does not say whom it allows")?;
    let provider = match text("provider")? {
        Some(name) => Some(Provider::of_name(name).ok_or_else(|| format!("there is no provider `{name}`"))?),
        None => None,
    };
    let group_claim = || Ok::<_, String>(text("groupClaim")?.unwrap_or(GROUP_CLAIM).to_owned());
    let who = match allow {
        "public" => Who::Public,
        "private" => Who::Private,
        "custom" => Who::Custom,
        "owner" => Who::Owner {
            field: text("ownerField")?.unwrap_or(OWNER_FIELD).into(),
            claim: identity_claim(text("identityClaim")?),
        },
        "groups" => match json.get("groups").filter(|groups| !groups.is_null()) {
            Some(groups) => Who::Groups {
                claim: group_claim()?,
                groups: texts("groups", groups)?,
            },
            None => Who::GroupsField {
                field: text("groupsField")?.unwrap_or(GROUPS_FIELD).into(),
                claim: group_claim()?,
            },
        },
        other => return Err(format!("there is no strategy `{other}`")),
    };
    let allowed = providers_of(allow);
    let provider = provider.unwrap_or(allowed[0]);
    if !allowed.contains(&provider) {
        return Err(format!(
            "`allow: {allow}` cannot have the provider `{}`",
            provider.name()
        ));
    }
    Ok(Rule {
        who,
        provider,
        operations: operations(json)?,
    })
}

/// The providers that a strategy can have, its default first.
fn providers_of(strategy: &str) -> &'static [Provider] {
    match strategy {
        "public" => &[Provider::ApiKey, Provider::Iam],
        "private" => &[Provider::UserPools, Provider::Oidc, Provider::Iam],
        "custom" => &[Provider::Function],
        _ => &[Provider::UserPools, Provider::Oidc],
    }
}

/// The claims that make an owner's name; model introspection writes Amplify's default as `cognito:username`.
fn identity_claim(given: Option<&str>) -> Vec<String> {
    match given {
        None | Some("username" | "cognito:username" | "sub::username") => {
            vec!["sub".to_owned(), "username".to_owned()]
        }
        Some(claim) => claim.split("::").map(str::to_owned).collect(),
    }
}

fn texts(name: &str, json: &Json) -> Result<BTreeSet<String>, String> {
    let items = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    let texts: Option<BTreeSet<String>> = items
        .iter()
        .map(|item| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned))
        .collect();
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("`{name}` must be a list of texts, it is {json}"))
}

fn operations(json: &Json) -> Result<BTreeSet<Operation>, String> {
    let Some(given) = json.get("operations").filter(|given| !given.is_null()) else {
        return Ok(Operation::ALL.into());
    };
    let items = given
        .as_array()
        .map_or(std::slice::from_ref(given), Vec::as_slice);
    let names: BTreeSet<&str> = items.iter().filter_map(Json::as_str).collect();
    if names.contains("read")
        && let Some(finer) = ["get", "list", "sync", "listen", "search"]
            .iter()
            .find(|name| names.contains(*name))
    {
        return Err(format!(
            "the operation `read` already stands for `{finer}`; leave one of them out"
        ));
    }
    let mut operations = BTreeSet::new();
    for item in items {
        match item.as_str() {
            Some("create") => operations.extend([Operation::Create]),
            Some("update") => operations.extend([Operation::Update]),
            Some("delete") => operations.extend([Operation::Delete]),
            Some("read") => operations.extend(Operation::READ),
            Some("get") => operations.extend([Operation::Get]),
            Some("list") => operations.extend([Operation::List]),
            Some("sync") => operations.extend([Operation::Sync]),
            Some("listen") => operations.extend([Operation::Listen]),
            // There is no search on this backend, so there is nothing to allow.
            Some("search") => {}
            _ => return Err(format!("there is no operation {item}")),
        }
    }
    Ok(operations)
}

/// Checks the field that a rule compares with.
fn check_fields(def: &ModelDef, rule: &Rule) -> Result<(), String> {
    let Some(name) = rule.dynamic_field() else {
        return Ok(());
    };
    match (def.field(name), &rule.who) {
        (Some(field), _) if is_text(field) => Ok(()),
        (Some(field), _) => Err(format!(
            "a rule reads `{name}`, which must be a String or a list of them, it is {field}"
        )),
        (None, Who::Owner { .. }) => Ok(()),
        (None, _) => Err(format!(
            "a rule reads groups from `{name}`; declare it as a String or a list of them"
        )),
    }
}

fn is_text(field: &FieldDef) -> bool {
    let textual = matches!(field.ty, FieldType::Scalar(Scalar::String | Scalar::Id));
    let flat = matches!(field.list, None | Some(ListDef { .. }));
    textual && flat
}

#[cfg(test)]
mod tests;
