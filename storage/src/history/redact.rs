//! Values replaced so that a log can be shown to others: nothing that a user wrote is left, and equal stays equal.
//!
//! Owns [`Redaction`]. Kept are names of models and fields, kinds, versions, times, positions, nulls, booleans, lengths
//! of lists and which values are equal to which, identifiers and references included. Replaced are all other values,
//! texts of errors and reasons, conditions and sync expressions. Enum values change places with each other; what stands for other
//! values is of their type (`redact/stand_in.rs`).
//!
//! The replacement is a keyed hash. Whoever has not the key, which is to be random and thrown away, cannot try values
//! out; but how often a value occurs can still be seen, and so can booleans.

mod stand_in;

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{
    CONDITION_FAILED, Change, Decision, FieldDef, FieldMap, FieldType, IdPart, LogEntry, ModelDef, Mutation,
    Op, Predicate, RecordBase, RecordId, RecordKey, Refusal, RemoteRecord, Scalar, Schema, Stage, Value,
};

use stand_in::StandIns;

/// Types of errors that are kept as they are: those of AppSync, of DynamoDB, and the engine's own.
const ERROR_TYPES: [&str; 14] = [
    "BadRequest",
    "BadRequestException",
    CONDITION_FAILED,
    "ConflictUnhandled",
    "ExecutionTimeout",
    "Lambda:Unhandled",
    "MappingTemplate",
    "OperationDisabled",
    "ProvisionedThroughputExceededException",
    "RecordDeleted",
    "ThrottlingException",
    "Unauthorized",
    "UnauthorizedException",
    "ValidationException",
];

/// Length of the key in bytes.
pub const REDACTION_KEY_BYTES: usize = 32;

/// Replaces the values of entries.
pub struct Redaction {
    stand_ins: StandIns,
    schema: Option<Arc<Schema>>,
}

impl std::fmt::Debug for Redaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redaction")
    }
}

/// Reasons that the engine gives, which say nothing of anybody's data.
const OWN_REASONS: [&str; 1] = ["left the sync expression"];

impl Redaction {
    /// A redaction by a random key, which the caller forgets. The schema is that of the log.
    pub fn new(key: [u8; REDACTION_KEY_BYTES], schema: Option<Arc<Schema>>) -> Self {
        Self {
            stand_ins: StandIns::new(key),
            schema,
        }
    }

    /// The entry with its values replaced.
    pub(crate) fn entry(&self, entry: LogEntry) -> LogEntry {
        LogEntry {
            change: self.change(entry.change),
            ..entry
        }
    }

    fn change(&self, mut change: Change) -> Change {
        match &mut change {
            Change::Write(write) => {
                let def = self.def(&write.key);
                write.patch = self.fields(def, &write.patch);
                write.condition = write
                    .condition
                    .as_ref()
                    .map(|condition| self.predicate(def, condition));
                self.keys(&mut write.parents);
                write.key = self.key(&write.key);
            }
            Change::Edited(edited) => {
                edited.patch = self.fields(self.def(&edited.key), &edited.patch);
                self.keys(&mut edited.parents);
                edited.key = self.key(&edited.key);
            }
            Change::Sent(sent) => sent.key = self.key(&sent.key),
            Change::OutcomeUnknown(of)
            | Change::NotApplied(of)
            | Change::Retried(of)
            | Change::Discarded(of) => of.key = self.key(&of.key),
            Change::Acknowledged(ack) => {
                ack.remote = self.remote(&ack.key, &ack.remote);
                ack.key = self.key(&ack.key);
            }
            Change::Conflict(conflict) => {
                if let Decision::Retry { patch, .. } = &mut conflict.decision {
                    *patch = self.fields(self.def(&conflict.key), patch);
                }
                conflict.given_up = self.fields(self.def(&conflict.key), &conflict.given_up);
                conflict.remote = self.remote(&conflict.key, &conflict.remote);
                conflict.key = self.key(&conflict.key);
            }
            Change::Refused(refused) => {
                refused.refusal = self.refusal(&refused.refusal);
                refused.remote = refused
                    .remote
                    .as_ref()
                    .map(|remote| self.remote(&refused.key, remote));
                refused.key = self.key(&refused.key);
            }
            Change::Remote(remote) => {
                remote.remote = self.remote(&remote.key, &remote.remote);
                remote.key = self.key(&remote.key);
            }
            Change::Base(base) => self.base(base),
            Change::Evicted(evicted) => {
                if !OWN_REASONS.contains(&evicted.reason.as_str()) {
                    evicted.reason = self.text(&evicted.reason);
                }
                evicted.key = self.key(&evicted.key);
            }
            Change::Quarantined(bad) => {
                bad.reason = self.text(&bad.reason);
                bad.json = self.text(&bad.json);
            }
            Change::Checkpoint(checkpoint) => {
                let cursor = &mut checkpoint.cursor;
                cursor.expression = cursor.expression.as_ref().map(|text| self.text(text));
                if let Some(paging) = &mut cursor.paging {
                    paging.next_token = self.text(&paging.next_token);
                }
            }
            // What is not understood cannot be told apart from data.
            Change::Opaque(opaque) => opaque.payload.clear(),
            // The schema is the shape, which is kept; the rest holds no values, and what is added later says so here.
            Change::SchemaChanged(_) | Change::Cleared => {}
            other => unreachable!("`{}` was added to Change without its redaction", other.name()),
        }
        change
    }

    fn base(&self, base: &mut RecordBase) {
        let def = self.def(&base.key);
        for row in [&mut base.row, &mut base.shadow].into_iter().flatten() {
            *row = self.fields(def, row);
        }
        for mutation in &mut base.pending {
            self.mutation(mutation);
        }
        base.key = self.key(&base.key);
    }

    /// What waited when the base was made.
    fn mutation(&self, mutation: &mut Mutation) {
        let def = self.def(&mutation.key);
        mutation.patch = self.fields(def, &mutation.patch);
        mutation.base = mutation.base.as_ref().map(|base| self.fields(def, base));
        mutation.condition = mutation
            .condition
            .as_ref()
            .map(|condition| self.predicate(def, condition));
        if let Stage::Parked(refusal) = &mut mutation.stage {
            *refusal = self.refusal(refusal);
        }
        self.keys(&mut mutation.parents);
        mutation.key = self.key(&mutation.key);
    }

    fn keys(&self, keys: &mut [RecordKey]) {
        for key in keys {
            *key = self.key(key);
        }
    }

    fn def(&self, key: &RecordKey) -> Option<&Arc<ModelDef>> {
        self.schema.as_ref()?.model(&key.model)
    }

    /// The key of a record as it is called in the redacted log.
    pub fn key(&self, key: &RecordKey) -> RecordKey {
        RecordKey {
            model: key.model.clone(),
            id: self.id(self.def(key), &key.id),
        }
    }

    fn id(&self, def: Option<&Arc<ModelDef>>, id: &RecordId) -> RecordId {
        let part = |(at, part): (usize, &IdPart)| match part {
            IdPart::Bool(truth) => IdPart::Bool(*truth),
            IdPart::Int(number) => IdPart::Int(self.stand_ins.int(*number)),
            IdPart::Text(text) => {
                let field = def.and_then(|def| Some(def.stored_field(*def.key_slots().get(at)?)));
                IdPart::Text(self.text_in(field.map(|field| &field.ty), text))
            }
        };
        RecordId::new(id.parts().iter().enumerate().map(part).collect())
    }

    fn remote(&self, key: &RecordKey, remote: &RemoteRecord) -> RemoteRecord {
        RemoteRecord {
            id: self.id(self.def(key), &remote.id),
            fields: self.fields(self.def(key), &remote.fields),
            sync: remote.sync,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Refusal {
        Refusal {
            error_type: refusal.error_type.as_deref().map(|kind| self.error_type(kind)),
            message: self.text(&refusal.message),
        }
    }

    /// A resolver may give any text as the type of its error; those that AppSync, its data sources and the engine have
    /// themselves say nothing of anybody.
    fn error_type(&self, kind: &str) -> String {
        let name = kind.strip_prefix("DynamoDB:").unwrap_or(kind);
        if ERROR_TYPES.contains(&name) {
            kind.to_owned()
        } else {
            self.text(kind)
        }
    }

    fn fields(&self, def: Option<&Arc<ModelDef>>, fields: &FieldMap) -> FieldMap {
        fields
            .iter()
            .map(|(name, value)| {
                let field = def.and_then(|def| def.field(name));
                (name.clone(), self.value(field, value))
            })
            .collect()
    }

    fn value(&self, field: Option<&FieldDef>, value: &Value) -> Value {
        let ty = field.map(|field| &field.ty);
        match value {
            Value::Null => Value::Null,
            Value::Bool(truth) => Value::Bool(*truth),
            // A float may have been written as an integer, and equals it.
            Value::Int(number) if matches!(ty, Some(FieldType::Scalar(Scalar::Float))) => {
                Value::Float(self.stand_ins.float(*number as f64))
            }
            Value::Int(number) => Value::Int(self.stand_ins.int(*number)),
            Value::Float(number) => Value::Float(self.stand_ins.float(*number)),
            Value::String(text) => Value::String(self.text_in(ty, text)),
            Value::List(items) => Value::List(items.iter().map(|item| self.value(field, item)).collect()),
            Value::Object(members) => Value::Object(self.members(ty, members)),
        }
    }

    /// Members of a non-model type are part of the shape; those of free JSON are data.
    fn members(&self, ty: Option<&FieldType>, members: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        let known = match (ty, &self.schema) {
            (Some(FieldType::NonModel(name)), Some(schema)) => schema.non_model(name),
            _ => None,
        };
        members
            .iter()
            .map(
                |(name, value)| match known.and_then(|known| known.fields.get(name.as_str())) {
                    Some(field) => (name.clone(), self.value(Some(field), value)),
                    None => (self.text(name), self.value(None, value)),
                },
            )
            .collect()
    }

    fn predicate(&self, def: Option<&Arc<ModelDef>>, predicate: &Predicate) -> Predicate {
        let all = |members: &[Predicate]| members.iter().map(|member| self.predicate(def, member)).collect();
        match predicate {
            Predicate::All => Predicate::All,
            Predicate::Field(name, op) => {
                let field = def.and_then(|def| def.field(name));
                Predicate::Field(name.clone(), self.op(field, op))
            }
            Predicate::And(members) => Predicate::And(all(members)),
            Predicate::Or(members) => Predicate::Or(all(members)),
            Predicate::Not(member) => Predicate::Not(Box::new(self.predicate(def, member))),
            Predicate::Related(relation, member) => {
                let other = def.and_then(|def| match &def.field(relation)?.ty {
                    FieldType::Model(model) => self.schema.as_ref()?.model(model),
                    _ => None,
                });
                Predicate::Related(relation.clone(), Box::new(self.predicate(other, member)))
            }
        }
    }

    fn op(&self, field: Option<&FieldDef>, op: &Op) -> Op {
        let value = |operand: &Value| self.value(field, operand);
        match op {
            Op::Eq(a) => Op::Eq(value(a)),
            Op::Ne(a) => Op::Ne(value(a)),
            Op::Lt(a) => Op::Lt(value(a)),
            Op::Le(a) => Op::Le(value(a)),
            Op::Gt(a) => Op::Gt(value(a)),
            Op::Ge(a) => Op::Ge(value(a)),
            Op::Between(a, b) => Op::Between(value(a), value(b)),
            Op::BeginsWith(text) => Op::BeginsWith(self.text(text)),
            Op::Contains(a) => Op::Contains(value(a)),
            Op::NotContains(a) => Op::NotContains(value(a)),
            Op::In(items) => Op::In(items.iter().map(value).collect()),
        }
    }

    /// For text of a field of this type.
    fn text_in(&self, ty: Option<&FieldType>, text: &str) -> String {
        match ty {
            Some(FieldType::Enum(name)) => self.enum_value(name, text),
            Some(FieldType::Scalar(scalar)) => self.stand_ins.text_of(*scalar, text),
            _ => self.text(text),
        }
    }

    fn text(&self, text: &str) -> String {
        self.stand_ins.text(text)
    }

    /// One of the values of the enum, for each another.
    fn enum_value(&self, name: &str, text: &str) -> String {
        let values = self.schema.as_ref().and_then(|schema| schema.enumeration(name));
        let values = values.map_or(&[][..], |known| known.values.as_slice());
        let Some(at) = values.iter().position(|value| value == text) else {
            return self.text(text);
        };
        let mut shuffled: Vec<&String> = values.iter().collect();
        self.stand_ins.shuffle(&mut shuffled);
        shuffled[at].clone()
    }
}
