//! What a caller may do: the decision.
//!
//! Owns [`Access`] and [`Verdict`]. Pure: given the rules of a model and a caller it says of an operation, of a field or
//! of a record whether it is allowed. Who asks, and what a refusal looks like, is in `execute/` and `realtime/`.
//!
//! Invariants: 1. without a rule that allows it, nothing is allowed; 2. a rule speaks only of callers of its provider;
//! 3. rules are alternatives: none takes away what another gives.

use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::{FieldName, Value};

use super::identity::{Caller, IamRole, Provider};
use super::rules::{ModelRules, Operation, Rule, Who};
use crate::filter::{Comparison, Filter};
use crate::item::Attributes;

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Whatever the record.
    Allowed,
    /// For records that the filter selects.
    If(Filter),
    /// For no record.
    Denied,
}

impl Verdict {
    /// Whether it is allowed for a record with these attributes.
    pub(crate) fn holds(&self, attributes: &Attributes) -> bool {
        match self {
            Self::Allowed => true,
            Self::If(filter) => filter.test(&|name| attributes.get(name)),
            Self::Denied => false,
        }
    }

    /// Both must allow.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Denied, _) | (_, Self::Denied) => Self::Denied,
            (Self::Allowed, verdict) | (verdict, Self::Allowed) => verdict,
            (Self::If(a), Self::If(b)) => Self::If(Filter::All(vec![a, b])),
        }
    }

    /// Either allows.
    fn any(verdicts: impl Iterator<Item = Self>) -> Self {
        let mut filters = Vec::new();
        for verdict in verdicts {
            match verdict {
                Self::Allowed => return Self::Allowed,
                Self::If(filter) => filters.push(filter),
                Self::Denied => {}
            }
        }
        match filters.len() {
            0 => Self::Denied,
            1 => Self::If(filters.remove(0)),
            _ => Self::If(Filter::Any(filters)),
        }
    }
}

/// What one caller may do with one model.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    pub(crate) rules: &'a ModelRules,
    pub(crate) caller: &'a Caller,
}

impl Access<'_> {
    /// An operation on the model: allowed if it is allowed on any of its fields.
    pub(crate) fn operation(&self, operation: Operation) -> Verdict {
        if self.is_everywhere() {
            return Verdict::Allowed;
        }
        Verdict::any(self.rules.all().map(|rule| self.rule(rule, operation)))
    }

    /// An operation on a field.
    pub(crate) fn field(&self, field: &str, operation: Operation) -> Verdict {
        if self.is_everywhere() {
            return Verdict::Allowed;
        }
        let rules = self.rules.of_field(field);
        Verdict::any(rules.iter().map(|rule| self.rule(rule, operation)))
    }

    /// Whether fields differ in who may read them, so that each must be asked for.
    pub(crate) fn fields_differ(&self) -> bool {
        !self.rules.fields.is_empty() && !self.is_everywhere()
    }

    /// Deletion: of the model, and of every field that has rules of its own.
    pub(crate) fn deletion(&self) -> Verdict {
        self.rules
            .fields
            .keys()
            .map(|field| self.field(field, Operation::Delete))
            .fold(self.operation(Operation::Delete), Verdict::and)
    }

    /// The records that may be read by an operation that compares these fields: a comparison with a field tells its
    /// value, so who may not read the field may not compare it.
    ///
    /// # Errors
    /// The fields that this caller may compare in no record.
    pub(crate) fn rows(
        &self,
        operation: Operation,
        compared: impl IntoIterator<Item = String>,
    ) -> Result<Verdict, Vec<String>> {
        let mut verdict = self.operation(operation);
        let mut denied = Vec::new();
        if self.fields_differ() {
            for field in compared {
                match self.field(&field, operation) {
                    Verdict::Denied if !denied.contains(&field) => denied.push(field),
                    other => verdict = verdict.and(other),
                }
            }
        }
        if denied.is_empty() {
            Ok(verdict)
        } else {
            Err(denied)
        }
    }

    /// Whether this caller has an owner rule for subscriptions whose field is `field`, and goes by `name` in it.
    pub(crate) fn may_listen_as(&self, field: &str, name: &str) -> bool {
        self.rules.model.iter().any(|rule| {
            rule.operations.contains(&Operation::Listen)
                && matches!(&rule.who, Who::Owner { field: own, .. } if own == field)
                && self.names(rule).iter().any(|own| own == name)
        })
    }

    /// The owner fields that a create of this caller is to fill in, with the name to put there: those of the rules that
    /// let owners create, in the order of the rules, that `given` leaves out.
    pub(crate) fn owners_to_fill(
        &self,
        is_given: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (&FieldName, String)> {
        self.rules
            .model
            .iter()
            .filter(|rule| rule.operations.contains(&Operation::Create))
            .filter_map(move |rule| match &rule.who {
                Who::Owner { field, .. } if !is_given(field) => {
                    Some((field, self.names(rule).into_iter().next()?))
                }
                _ => None,
            })
    }

    fn is_everywhere(&self) -> bool {
        matches!(self.caller, Caller::Iam(user) if user.everywhere)
    }

    fn rule(&self, rule: &Rule, operation: Operation) -> Verdict {
        if !rule.operations.contains(&operation) {
            return Verdict::Denied;
        }
        let allowed = |yes: bool| if yes { Verdict::Allowed } else { Verdict::Denied };
        match (&rule.who, self.caller) {
            (Who::Public, Caller::ApiKey) => allowed(rule.provider == Provider::ApiKey),
            (Who::Public, Caller::Iam(user)) => {
                allowed(rule.provider == Provider::Iam && user.role == IamRole::Unauthenticated)
            }
            (Who::Private, Caller::Iam(user)) => {
                allowed(rule.provider == Provider::Iam && user.role == IamRole::Authenticated)
            }
            (Who::Private, Caller::User(user)) => allowed(rule.provider == user.provider),
            (Who::Custom, Caller::Lambda(_)) => allowed(rule.provider == Provider::Function),
            (Who::Groups { claim, groups }, Caller::User(user)) => allowed(
                rule.provider == user.provider
                    && user.groups(claim).iter().any(|group| groups.contains(group)),
            ),
            (Who::GroupsField { field, claim }, Caller::User(user)) if rule.provider == user.provider => {
                names_any(field, user.groups(claim))
            }
            (Who::Owner { field, .. }, Caller::User(_)) => names_any(field, self.names(rule)),
            _ => Verdict::Denied,
        }
    }

    /// What a record may call the caller under an owner rule.
    fn names(&self, rule: &Rule) -> Vec<String> {
        match (&rule.who, self.caller) {
            (Who::Owner { claim, .. }, Caller::User(user)) if rule.provider == user.provider => {
                user.names(claim)
            }
            _ => Vec::new(),
        }
    }
}

/// Selects the records whose field, a text or a list of them, has one of the names.
fn names_any(field: &FieldName, names: Vec<String>) -> Verdict {
    if names.is_empty() {
        return Verdict::Denied;
    }
    let values: Vec<Value> = names.into_iter().map(Value::String).collect();
    Verdict::If(Filter::Compare(field.to_string(), Comparison::NamesAny(values)))
}

/// The fields that a filter or condition input compares.
pub(crate) fn compared_fields(input: &JsonValue) -> Vec<String> {
    let mut fields = Vec::new();
    collect(input, &mut fields);
    fields
}

fn collect(input: &JsonValue, fields: &mut Vec<String>) {
    let members: &JsonMap = match input {
        JsonValue::Array(items) => return items.iter().for_each(|item| collect(item, fields)),
        JsonValue::Object(members) => members,
        _ => return,
    };
    for (name, operand) in members {
        match name.as_str() {
            "and" | "or" | "not" => collect(operand, fields),
            _ if operand.is_null() => {}
            name if fields.iter().any(|known| known == name) => {}
            name => fields.push(name.to_owned()),
        }
    }
}

/// What clients see of an owner: the part behind the last `::`.
pub(crate) fn shown_owner(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::from(text.rsplit("::").next().unwrap_or_default()),
        Value::List(items) => Value::List(items.iter().map(shown_owner).collect()),
        other => other.clone(),
    }
}
