//! The rules of `@auth` where GraphQL is executed.
//!
//! Owns the questions that resolvers ask before they answer: may this caller ask this field, which rows may a page hold,
//! may this write happen, is this field of this record shown. What the rules say is in `auth/access.rs`.
//!
//! Invariants: 1. a refusal names the field that was asked for and nothing of what is stored; 2. in the answer of a
//! mutation, which subscribers are sent as well, fields with rules of their own are null.

use apollo_compiler::response::{JsonMap, JsonValue};
use landfall_core::{MutationKind, Value};

use super::context::Context;
use super::errors::Fault;
use super::walk::{FieldError, ResolveInfo};
use crate::auth::{Access, Caller, Operation, Verdict, compared_fields, shown_owner};
use crate::compile::ModelPlan;
use crate::conflict::Write;
use crate::filter::Filter;
use crate::item::{Attributes, DELETED, Item, LAST_CHANGED_AT, TYPE_NAME, VERSION};

/// The type of every refusal of a field.
const UNAUTHORIZED: &str = "Unauthorized";

/// A field that is asked for: what it does with which model, and how it is called.
#[derive(Clone, Copy)]
pub(super) struct Asked<'c> {
    pub(super) plan: &'c ModelPlan,
    pub(super) operation: Operation,
    /// The type that has the field.
    pub(super) parent: &'c str,
    pub(super) field: &'c str,
}

impl<'c> Context<'c> {
    /// What the caller may do with a model.
    pub(super) fn access(&self, plan: &'c ModelPlan) -> Access<'c> {
        Access {
            rules: plan.rules.as_ref().unwrap_or(self.implied),
            caller: self.caller,
        }
    }

    /// The refusal of a field.
    pub(super) fn unauthorized(&self, field: &str, parent: &str) -> FieldError {
        let message = format!("Not Authorized to access {field} on type {parent}");
        self.fault(Fault::new(UNAUTHORIZED, message))
    }

    /// Refuses a field that the authorizer denied to this caller.
    pub(super) fn check_denied(&self, parent: &str, field: &str) -> Result<(), FieldError> {
        if is_denied(self.caller, parent, field) {
            return Err(self.unauthorized(field, parent));
        }
        Ok(())
    }

    /// The rows that a page may hold; `None` if every row may be in it.
    pub(super) fn visible_rows(
        &self,
        asked: Asked<'c>,
        filter: Option<&JsonValue>,
        key_fields: impl Iterator<Item = String>,
    ) -> Result<Option<Filter>, FieldError> {
        let compared = filter.map(compared_fields).unwrap_or_default();
        let compared: Vec<String> = compared.into_iter().chain(key_fields).collect();
        self.check_compared(asked.plan, &compared)?;
        let access = self.access(asked.plan);
        let compared = compared
            .into_iter()
            .filter(|field| !goes_with_row(asked.plan, access, field));
        match access.rows(asked.operation, compared) {
            Ok(Verdict::Allowed) => Ok(None),
            Ok(Verdict::If(filter)) => Ok(Some(filter)),
            Ok(Verdict::Denied) => Err(self.unauthorized(asked.field, asked.parent)),
            Err(fields) => Err(self.unauthorized_on(&fields)),
        }
    }

    /// The records that may be asked for by these fields of their key; `None` if every record may be. Fields without rules
    /// of their own go with the record, and who may see that is decided elsewhere.
    pub(super) fn protected(
        &self,
        asked: Asked<'c>,
        key_fields: impl Iterator<Item = String>,
    ) -> Result<Option<Filter>, FieldError> {
        let access = self.access(asked.plan);
        if !access.fields_differ() || access.operation(asked.operation) == Verdict::Denied {
            return Ok(None);
        }
        let (mut filters, mut denied) = (Vec::new(), Vec::new());
        for field in key_fields.filter(|field| !goes_with_row(asked.plan, access, field)) {
            match access.field(&field, asked.operation) {
                Verdict::Allowed => {}
                Verdict::If(filter) => filters.push(filter),
                Verdict::Denied => denied.push(field),
            }
        }
        if denied.is_empty() {
            Ok((!filters.is_empty()).then_some(Filter::All(filters)))
        } else {
            Err(self.unauthorized_on(&denied))
        }
    }

    /// Whether rows may come in the order of a field, which tells how its values compare: if it is shown with every row,
    /// or if the filter compares it and [`Context::visible_rows`] has let that happen.
    pub(super) fn may_order_by(&self, asked: Asked<'c>, filter: Option<&JsonValue>, field: &str) -> bool {
        if is_denied(self.caller, asked.plan.name(), field) {
            return false;
        }
        let access = self.access(asked.plan);
        !access.fields_differ()
            || goes_with_row(asked.plan, access, field)
            || access.field(field, asked.operation) == Verdict::Allowed
            || filter.is_some_and(|filter| compared_fields(filter).iter().any(|compared| compared == field))
    }

    /// A record that was asked for by its key, if the caller may see it.
    ///
    /// AppSync tells a record that is there and hidden from one that is not there, and so does this.
    pub(super) fn visible_record(
        &self,
        asked: Asked<'c>,
        read: impl FnOnce() -> Result<Option<Item>, FieldError>,
    ) -> Result<Option<Item>, FieldError> {
        let refused = || self.unauthorized(asked.field, asked.parent);
        let verdict = self.access(asked.plan).operation(asked.operation);
        if verdict == Verdict::Denied {
            return Err(refused());
        }
        match read()? {
            Some(item) if !verdict.holds(&item.attributes) => Err(refused()),
            found => Ok(found),
        }
    }

    /// Whether a mutation may happen. A create gets its owner here, where the input names none.
    pub(super) fn check_write(
        &self,
        asked: Asked<'c>,
        given: &JsonMap,
        condition: Option<&JsonValue>,
        key: &Attributes,
        write: &mut Write,
    ) -> Result<(), FieldError> {
        let (plan, access) = (asked.plan, self.access(asked.plan));
        let verdict = match asked.operation {
            Operation::Delete => access.deletion(),
            operation => access.operation(operation),
        };
        if verdict == Verdict::Denied {
            return Err(self.unauthorized(asked.field, asked.parent));
        }
        let compared = condition.map(compared_fields).unwrap_or_default();
        self.check_compared(plan, &compared)?;
        let always = verdict == Verdict::Allowed && !access.fields_differ();
        if always && !matches!(write, Write::Create { .. }) {
            return Ok(());
        }
        let stored;
        let judged = if let Write::Create { attributes } = write {
            fill_owners(plan, access, given, attributes);
            &*attributes
        } else {
            // Of a record that is not there the rules see a record without any field.
            stored = self.read(|reading| reading.get(plan, key))?;
            stored
                .as_ref()
                .map_or(const { &Attributes::new() }, |item| &item.attributes)
        };
        if !verdict.holds(judged) {
            return Err(self.unauthorized(asked.field, asked.parent));
        }
        if !access.fields_differ() {
            return Ok(());
        }
        let written = given.keys().map(|name| name.as_str().to_owned());
        let mut denied = denied_fields(plan, access, asked.operation, written, judged);
        let compared: Vec<String> = compared
            .into_iter()
            .filter(|field| !denied.contains(field))
            .collect();
        denied.extend(denied_fields(
            plan,
            access,
            Operation::Get,
            compared.into_iter(),
            judged,
        ));
        if denied.is_empty() {
            return Ok(());
        }
        Err(self.unauthorized_on(&denied))
    }

    /// Refuses to compare fields that the authorizer denied to this caller.
    fn check_compared(&self, plan: &ModelPlan, fields: &[String]) -> Result<(), FieldError> {
        let denied = denied_by_authorizer(self.caller, plan, fields);
        if denied.is_empty() {
            return Ok(());
        }
        Err(self.unauthorized_on(&denied))
    }

    fn unauthorized_on(&self, fields: &[String]) -> FieldError {
        let message = format!("Unauthorized on [{}]", fields.join(", "));
        self.fault(Fault::new(UNAUTHORIZED, message))
    }

    /// Whether a field of a record is shown.
    pub(super) fn shown(&self, plan: &'c ModelPlan, operation: Operation, item: &Item, field: &str) -> Shown {
        if is_denied(self.caller, plan.name(), field) {
            return Shown::Refused;
        }
        let access = self.access(plan);
        if !access.fields_differ() || goes_with_row(plan, access, field) {
            return Shown::Yes;
        }
        let required = plan
            .def
            .field(field)
            .or_else(|| plan.attributes.get(field))
            .is_some_and(|field| field.required);
        if self.writer.is_some() && access.rules.fields.contains_key(field) && !required {
            return Shown::Redacted;
        }
        let holds = |operation| access.field(field, operation).holds(&item.attributes);
        if holds(operation) || (self.writer.is_some() && holds(Operation::Get)) {
            Shown::Yes
        } else {
            Shown::Refused
        }
    }

    /// Whether a relation is left out of the answers of mutations, because subscribers may not see the other side.
    pub(super) fn redacts_relation(&self, plan: &'c ModelPlan, other: &'c ModelPlan, field: &str) -> bool {
        let required = plan.def.field(field).is_some_and(|field| field.required);
        self.writer.is_some() && !required && self.access(other).rules.hides_from(self.access(plan).rules)
    }

    /// The fields of a record that decide who may see it.
    pub(super) fn facts(&self, plan: &'c ModelPlan, item: &Item) -> Attributes {
        let fields = self.access(plan).rules.dynamic_fields();
        let fact = |field: &landfall_core::FieldName| {
            let value = item.attributes.get(field.as_str())?;
            Some((field.to_string(), value.clone()))
        };
        fields.into_iter().filter_map(fact).collect()
    }
}

/// What becomes of a field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is shown.
    Yes,
    /// It is null, without an error.
    Redacted,
    /// It is null, with an error.
    Refused,
}

/// Whether the authorizer denied a field to this caller.
pub(crate) fn is_denied(caller: &Caller, parent: &str, field: &str) -> bool {
    match caller {
        Caller::Lambda(user) => user
            .denied_fields
            .iter()
            .any(|(denied_type, denied)| denied_type == parent && denied == field),
        _ => false,
    }
}

/// The fields of a model, out of these, that the authorizer denied to this caller.
pub(crate) fn denied_by_authorizer(caller: &Caller, plan: &ModelPlan, fields: &[String]) -> Vec<String> {
    let denied = fields
        .iter()
        .filter(|field| is_denied(caller, plan.name(), field));
    denied.cloned().collect()
}

/// Whether a field is shown to whoever may see the record: its key, and the metadata that sync lives on.
pub(crate) fn goes_with_row(plan: &ModelPlan, access: Access<'_>, field: &str) -> bool {
    matches!(field, VERSION | DELETED | LAST_CHANGED_AT | TYPE_NAME)
        || (plan.is_key(field) && !access.rules.fields.contains_key(field))
}

/// The value of a field as clients see it: owners are shown by the last part of their name.
pub(super) fn shown_value(plan: &ModelPlan, field: &str, value: &Value) -> Option<Value> {
    plan.split_owners.contains(field).then(|| shown_owner(value))
}

/// What a field asks for, of a root field or a relation.
pub(super) fn asked<'c>(
    plan: &'c ModelPlan,
    operation: Operation,
    info: &'c ResolveInfo<'_>,
    parent: &'c str,
) -> Asked<'c> {
    Asked {
        plan,
        operation,
        parent,
        field: info.field_name(),
    }
}

/// The operation of a mutation's root field, with its names.
pub(super) fn asked_mutation<'c>(plan: &'c ModelPlan, kind: MutationKind, field: &'c str) -> Asked<'c> {
    Asked {
        plan,
        operation: Operation::of_mutation(kind),
        parent: "Mutation",
        field,
    }
}

fn denied_fields(
    plan: &ModelPlan,
    access: Access<'_>,
    operation: Operation,
    fields: impl Iterator<Item = String>,
    judged: &Attributes,
) -> Vec<String> {
    fields
        .filter(|field| !goes_with_row(plan, access, field))
        .filter(|field| !access.field(field, operation).holds(judged))
        .collect()
}

fn fill_owners(plan: &ModelPlan, access: Access<'_>, given: &JsonMap, attributes: &mut Attributes) {
    let is_given = |field: &str| {
        given.contains_key(field) || attributes.get(field).is_some_and(|value| !value.is_null())
    };
    let owners: Vec<(String, String)> = access
        .owners_to_fill(is_given)
        .map(|(field, name)| (field.to_string(), name))
        .collect();
    for (field, name) in owners {
        let list = plan
            .attributes
            .get(field.as_str())
            .is_some_and(|field| field.list.is_some());
        let value = if list {
            Value::List(vec![Value::String(name)])
        } else {
            Value::String(name)
        };
        attributes.insert(field, value);
    }
}
