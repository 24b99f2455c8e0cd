//! What migrations do to everything that a store holds, as pure functions.
//!
//! Owns [`Carrier`]: migrations read against the schema that a store holds and the one that it is to have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::convert::standard;
use super::{Converter, Migration, MigrationMisfit, MigrationStep};
use crate::entry::{Change, Decision, MutationRef, RecordBase};
use crate::mutation::{Mutation, MutationKind};
use crate::names::{FieldName, ModelName};
use crate::predicate::{Op, Predicate};
use crate::record::{FieldMap, RecordKey, RemoteRecord};
use crate::schema::{
    EnumDef, FieldDef, FieldType, ModelDef, ModelParts, NonModelDef, Schema, SchemaError, SchemaParts,
};
use crate::validate::check_value;
use crate::value::Value;

/// A value that cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{model}.{field}`: {reason}")]
pub struct CarryFault {
    /// The model, by its new name.
    pub model: ModelName,
    /// The field, by its new name; by its old one if it was removed.
    pub field: FieldName,
    /// Why not.
    pub reason: String,
}

/// Migrations in force between two schemas.
#[derive(Clone)]
pub struct Carrier {
    old: Arc<Schema>,
    new: Arc<Schema>,
    /// By the model's old name; every model of the old schema is here.
    models: BTreeMap<ModelName, CarriedModel>,
}

#[derive(Clone)]
struct CarriedModel {
    /// The new name; none if the model goes.
    to: Option<ModelName>,
    /// By the field's old name; every stored field is here.
    fields: BTreeMap<FieldName, CarriedField>,
    /// By the field's new name.
    fills: BTreeMap<FieldName, Value>,
    touched: bool,
}

#[derive(Clone)]
struct CarriedField {
    /// The new name; none if the field goes.
    to: Option<FieldName>,
    conversions: Vec<Option<Converter>>,
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let touched = self.models.iter().filter(|(_, model)| model.touched);
        let names: Vec<_> = touched.map(|(name, model)| (name, &model.to)).collect();
        f.debug_struct("Carrier").field("models", &names).finish()
    }
}

impl Carrier {
    /// Reads migrations against the schema that the data has and the one that it is to have.
    ///
    /// # Errors
    /// The first step that does not fit.
    pub fn new(
        old: &Arc<Schema>,
        new: &Arc<Schema>,
        migrations: &[&Migration],
    ) -> Result<Self, MigrationMisfit> {
        let unchanged = |def: &Arc<ModelDef>| {
            let same = |field: &FieldDef| {
                let carried = CarriedField {
                    to: Some(field.name.clone()),
                    conversions: Vec::new(),
                };
                (field.name.clone(), carried)
            };
            let model = CarriedModel {
                to: Some(def.name.clone()),
                fields: def.stored_fields().map(same).collect(),
                fills: BTreeMap::new(),
                touched: false,
            };
            (def.name.clone(), model)
        };
        let mut carrier = Self {
            models: old.models().map(unchanged).collect(),
            old: Arc::clone(old),
            new: Arc::clone(new),
        };
        for migration in migrations {
            for step in migration.steps() {
                carrier.take(step).map_err(|reason| MigrationMisfit {
                    migration: migration.name().to_owned(),
                    step: step.to_string(),
                    reason,
                })?;
            }
        }
        Ok(carrier)
    }

    fn take(&mut self, step: &MigrationStep) -> Result<(), String> {
        match step {
            MigrationStep::RenameModel { from, to } => {
                if self.models.values().any(|model| model.to.as_ref() == Some(to)) {
                    return Err(format!("there is a model `{to}` already"));
                }
                self.model_mut(from)?.to = Some(to.clone());
            }
            MigrationStep::RemoveModel { model } => self.model_mut(model)?.to = None,
            MigrationStep::RenameField { model, from, to } => {
                let model = self.model_mut(model)?;
                if model.fields.values().any(|field| field.to.as_ref() == Some(to)) {
                    return Err(format!("there is a field `{to}` already"));
                }
                field_mut(model, from)?.to = Some(to.clone());
            }
            MigrationStep::RemoveField { model, field } => {
                self.refuse_key(model, field)?;
                let model = self.model_mut(model)?;
                model.fills.remove(field);
                field_mut(model, field)?.to = None;
            }
            MigrationStep::Convert { model, field, with } => {
                self.refuse_key(model, field)?;
                let model = self.model_mut(model)?;
                field_mut(model, field)?.conversions.push(with.clone());
            }
            MigrationStep::Fill { model, field, value } => {
                self.model_mut(model)?.fills.insert(field.clone(), value.clone());
            }
        }
        Ok(())
    }

    /// The model that has this name by now.
    fn model_mut(&mut self, name: &ModelName) -> Result<&mut CarriedModel, String> {
        let known: Vec<String> = self
            .models
            .values()
            .filter_map(|model| model.to.as_ref().map(ToString::to_string))
            .collect();
        let found = self
            .models
            .values_mut()
            .find(|model| model.to.as_ref() == Some(name));
        let model =
            found.ok_or_else(|| format!("there is no model `{name}` by then, only {}", known.join(", ")))?;
        model.touched = true;
        Ok(model)
    }

    /// Records are found by their identifiers, which therefore stay what they are.
    fn refuse_key(&self, model: &ModelName, field: &FieldName) -> Result<(), String> {
        let found = self
            .models
            .iter()
            .find(|(_, carried)| carried.to.as_ref() == Some(model));
        let is_key = found.is_some_and(|(old, carried)| {
            let key = self
                .old
                .model(old)
                .map(|def| def.key.fields.as_slice())
                .unwrap_or_default();
            let now = |name: &FieldName| carried.fields.get(name).and_then(|field| field.to.as_ref());
            key.iter().any(|name| now(name) == Some(field))
        });
        if is_key {
            return Err("it is part of the identifier, which cannot change".to_owned());
        }
        Ok(())
    }

    /// The new name of a model; `None` if it goes.
    pub fn model(&self, old: &ModelName) -> Option<ModelName> {
        match self.models.get(old) {
            Some(model) => model.to.clone(),
            // An entry of a model that was gone before.
            None => Some(old.clone()),
        }
    }

    /// Models of the old schema whose records are not as they were, in order.
    pub fn touched(&self) -> impl Iterator<Item = &ModelName> {
        self.models
            .iter()
            .filter(|(_, model)| model.touched)
            .map(|(name, _)| name)
    }

    /// The new key of a record; `None` if its model goes.
    pub fn key(&self, old: &RecordKey) -> Option<RecordKey> {
        Some(RecordKey {
            model: self.model(&old.model)?,
            id: old.id.clone(),
        })
    }

    /// Fields of a record by their new names and in their new types. `whole` says that all fields are there, so that
    /// missing ones are filled.
    ///
    /// # Errors
    /// The first value that cannot be converted, or that does not fit its field then.
    pub fn fields(&self, model: &ModelName, fields: &FieldMap, whole: bool) -> Result<FieldMap, CarryFault> {
        let Some(carried) = self.models.get(model).filter(|model| model.touched) else {
            return Ok(fields.clone());
        };
        let Some(to) = &carried.to else {
            return Ok(FieldMap::new());
        };
        let mut out = FieldMap::new();
        for (name, value) in fields {
            match carried.fields.get(name) {
                // A field that goes, or one that the model had once and lost before.
                None | Some(CarriedField { to: None, .. }) => {}
                Some(
                    field @ CarriedField {
                        to: Some(new_name), ..
                    },
                ) => {
                    let value = self.value(to, new_name, carried, field, value)?;
                    out.insert(new_name.clone(), value);
                }
            }
        }
        if whole {
            for (name, value) in &carried.fills {
                let place = out.entry(name.clone()).or_default();
                if place.is_null() {
                    *place = self.checked(to, name, value.clone())?;
                }
            }
        }
        Ok(out)
    }

    fn value(
        &self,
        model: &ModelName,
        name: &FieldName,
        carried: &CarriedModel,
        field: &CarriedField,
        value: &Value,
    ) -> Result<Value, CarryFault> {
        let filled = carried.fills.get(name);
        if field.conversions.is_empty() && filled.is_none() {
            return Ok(value.clone());
        }
        let mut value = value.clone();
        for conversion in &field.conversions {
            if value.is_null() {
                break;
            }
            let converted = match (conversion, self.new_field(model, name)) {
                (Some(convert), _) => convert(&value),
                (None, Some(new)) => standard(&value, new),
                (None, None) => Err("the new schema has no such field".to_owned()),
            };
            value = converted.map_err(|reason| CarryFault {
                model: model.clone(),
                field: name.clone(),
                reason,
            })?;
        }
        if let (true, Some(filled)) = (value.is_null(), filled) {
            value = filled.clone();
        }
        self.checked(model, name, value)
    }

    fn new_field(&self, model: &ModelName, name: &FieldName) -> Option<&FieldDef> {
        self.new
            .model(model)?
            .field(name)
            .filter(|field| field.is_stored())
    }

    fn checked(&self, model: &ModelName, name: &FieldName, mut value: Value) -> Result<Value, CarryFault> {
        // Whether the new schema has the field at all is seen when the schemas are compared.
        if let Some(field) = self.new_field(model, name) {
            check_value(&self.new, field, &mut value).map_err(|reason| CarryFault {
                model: model.clone(),
                field: name.clone(),
                reason,
            })?;
        }
        Ok(value)
    }

    /// A condition by the new names.
    fn predicate(&self, model: &ModelName, predicate: &Predicate) -> Result<Predicate, CarryFault> {
        let Some(carried) = self.models.get(model).filter(|model| model.touched) else {
            return Ok(predicate.clone());
        };
        let group = |members: &[Predicate]| -> Result<Vec<_>, CarryFault> {
            members
                .iter()
                .map(|member| self.predicate(model, member))
                .collect()
        };
        Ok(match predicate {
            Predicate::All => Predicate::All,
            Predicate::And(members) => Predicate::And(group(members)?),
            Predicate::Or(members) => Predicate::Or(group(members)?),
            Predicate::Not(member) => Predicate::Not(Box::new(self.predicate(model, member)?)),
            Predicate::Related(relation, other) => Predicate::Related(relation.clone(), other.clone()),
            Predicate::Field(name, op) => match carried.fields.get(name) {
                None => predicate.clone(),
                Some(field) => {
                    let absence = matches!(op, Op::Eq(Value::Null) | Op::Ne(Value::Null));
                    match &field.to {
                        Some(to) if field.conversions.is_empty() || absence => {
                            Predicate::Field(to.clone(), op.clone())
                        }
                        _ => {
                            return Err(CarryFault {
                                model: model.clone(),
                                field: name.clone(),
                                reason: "the condition of a change that waits for the server compares it; let that \
                                         change be sent first"
                                    .to_owned(),
                            });
                        }
                    }
                }
            },
        })
    }

    /// Fields that a waiting mutation sets and that go, by their old names: their values are given up unsent.
    pub fn given_up<'m>(&self, mutation: &'m Mutation) -> impl Iterator<Item = &'m FieldName> {
        let carried = self.models.get(&mutation.key.model);
        mutation.patch.keys().filter(move |name| {
            carried
                .and_then(|model| model.fields.get(*name))
                .is_some_and(|field| field.to.is_none())
        })
    }

    /// A waiting mutation; `None` if its model goes.
    ///
    /// # Errors
    /// As [`Carrier::fields`]; also for a condition that compares a field which is converted or goes.
    pub fn mutation(&self, mutation: &Mutation) -> Result<Option<Mutation>, CarryFault> {
        let Some(key) = self.key(&mutation.key) else {
            return Ok(None);
        };
        let model = &mutation.key.model;
        let whole = mutation.kind == MutationKind::Create;
        let condition = mutation.condition.as_ref();
        Ok(Some(Mutation {
            patch: self.fields(model, &mutation.patch, whole)?,
            base: mutation
                .base
                .as_ref()
                .map(|base| self.base_of(model, base))
                .transpose()?,
            condition: condition
                .map(|condition| self.predicate(model, condition))
                .transpose()?,
            parents: mutation
                .parents
                .iter()
                .filter_map(|parent| self.key(parent))
                .collect(),
            key,
            ..mutation.clone()
        }))
    }

    /// The record on which a mutation was made; nothing stays nothing.
    fn base_of(&self, model: &ModelName, base: &FieldMap) -> Result<FieldMap, CarryFault> {
        let mut base = self.fields(model, base, !base.is_empty())?;
        base.retain(|_, value| !value.is_null());
        Ok(base)
    }

    /// What happened, as it is told by the new schema; `None` if it happened to a model that goes.
    ///
    /// # Errors
    /// As [`Carrier::fields`]. Conditions of the past are kept as far as they can be.
    pub fn change(&self, change: &Change) -> Result<Option<Change>, CarryFault> {
        let mut change = change.clone();
        let carried = match &mut change {
            Change::Write(write) => {
                let model = write.key.model.clone();
                let whole = write.kind == MutationKind::Create;
                write.patch = self.fields(&model, &write.patch, whole)?;
                if let Some(condition) = &mut write.condition {
                    // What an old write was checked by is history, and need not be understood any more.
                    *condition = self.predicate(&model, condition).unwrap_or(Predicate::All);
                }
                write.parents = write
                    .parents
                    .iter()
                    .filter_map(|parent| self.key(parent))
                    .collect();
                self.rename(&mut write.key)
            }
            Change::Sent(sent) => self.rename(&mut sent.key),
            Change::OutcomeUnknown(MutationRef { key, .. })
            | Change::NotApplied(MutationRef { key, .. })
            | Change::Retried(MutationRef { key, .. })
            | Change::Discarded(MutationRef { key, .. }) => self.rename(key),
            Change::Edited(edited) => {
                edited.patch = self.fields(&edited.key.model, &edited.patch, edited.whole)?;
                edited.parents = edited
                    .parents
                    .iter()
                    .filter_map(|parent| self.key(parent))
                    .collect();
                self.rename(&mut edited.key)
            }
            Change::Acknowledged(ack) => {
                self.remote(&ack.key.model, &mut ack.remote)?;
                self.rename(&mut ack.key)
            }
            Change::Conflict(conflict) => {
                self.remote(&conflict.key.model, &mut conflict.remote)?;
                if let Decision::Retry { kind, patch } = &mut conflict.decision {
                    let whole = *kind == MutationKind::Create;
                    *patch = self.fields(&conflict.key.model, patch, whole)?;
                }
                conflict.given_up = self.fields(&conflict.key.model, &conflict.given_up, false)?;
                self.rename(&mut conflict.key)
            }
            Change::Refused(refused) => {
                if let Some(remote) = &mut refused.remote {
                    self.remote(&refused.key.model, remote)?;
                }
                self.rename(&mut refused.key)
            }
            Change::Remote(remote) => {
                self.remote(&remote.key.model, &mut remote.remote)?;
                self.rename(&mut remote.key)
            }
            Change::Evicted(evicted) => self.rename(&mut evicted.key),
            Change::Base(base) => self.base(base)?,
            Change::Quarantined(quarantined) => self.rename_model(&mut quarantined.model),
            Change::Checkpoint(checkpoint) => self.rename_model(&mut checkpoint.model),
            Change::SchemaChanged(_) | Change::Cleared | Change::Opaque(_) => Some(()),
        };
        Ok(carried.map(|()| change))
    }

    fn base(&self, base: &mut RecordBase) -> Result<Option<()>, CarryFault> {
        let model = base.key.model.clone();
        for row in [&mut base.row, &mut base.shadow].into_iter().flatten() {
            *row = self.fields(&model, row, true)?;
        }
        let carried = base.pending.iter().map(|mutation| self.past(mutation));
        base.pending = carried.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(self.rename(&mut base.key))
    }

    /// A mutation that waited once; what it was made under is history, as in an old write. If it still waits, it is
    /// carried over as such too, with its condition.
    fn past(&self, mutation: &Mutation) -> Result<Option<Mutation>, CarryFault> {
        let mut mutation = mutation.clone();
        let condition = mutation.condition.take().map(|condition| {
            self.predicate(&mutation.key.model, &condition)
                .unwrap_or(Predicate::All)
        });
        let carried = self.mutation(&mutation)?;
        Ok(carried.map(|carried| Mutation { condition, ..carried }))
    }

    fn remote(&self, model: &ModelName, remote: &mut RemoteRecord) -> Result<(), CarryFault> {
        // The server sends all fields of a record that is there, and may leave them out of a tombstone.
        remote.fields = self.fields(model, &remote.fields, !remote.sync.deleted)?;
        Ok(())
    }

    fn rename(&self, key: &mut RecordKey) -> Option<()> {
        *key = self.key(key)?;
        Some(())
    }

    fn rename_model(&self, model: &mut ModelName) -> Option<()> {
        *model = self.model(model)?;
        Some(())
    }

    /// The schema of the data once it is carried over, as far as fields and keys go: to be compared with the new one,
    /// since the steps may not cover every change.
    ///
    /// # Errors
    /// What makes it unsound, such as a type that was a model and is now an object.
    pub fn carried_schema(&self) -> Result<Arc<Schema>, Vec<SchemaError>> {
        let models: Vec<ModelParts> = self
            .old
            .models()
            .filter_map(|def| self.carried_model(def))
            .collect();
        if models.is_empty() {
            // Nothing is left that the new schema could lose.
            return Ok(Arc::clone(&self.new));
        }
        // A type all of whose values were converted is that of the new schema.
        let kept = self.kept_types();
        let carried_enum = |def: &EnumDef| match self.new.enumeration(&def.name) {
            Some(new) if !kept.contains(def.name.as_str()) => new.clone(),
            _ => def.clone(),
        };
        let carried_object = |def: &NonModelDef| match self.new.non_model(&def.name) {
            Some(new) if !kept.contains(def.name.as_str()) => new.clone(),
            _ => def.clone(),
        };
        let mut enums: Vec<EnumDef> = self.old.enums().map(carried_enum).collect();
        let mut non_models: Vec<NonModelDef> = self.old.non_models().map(carried_object).collect();
        // Converted fields are of the new schema, and may be of types that the old one did not have.
        let is_new_enum = |def: &&EnumDef| self.old.enumeration(&def.name).is_none();
        let is_new_object = |def: &&NonModelDef| self.old.non_model(&def.name).is_none();
        enums.extend(self.new.enums().filter(is_new_enum).cloned());
        non_models.extend(self.new.non_models().filter(is_new_object).cloned());
        #[allow(clippy::needless_update)] // What else a schema may say is not compared.
        let parts = SchemaParts {
            models,
            enums,
            non_models,
            ..SchemaParts::default()
        };
        Schema::build(parts).map(Arc::new)
    }

    fn carried_model(&self, def: &ModelDef) -> Option<ModelParts> {
        let carried = self.models.get(&def.name)?;
        let to = carried.to.as_ref()?;
        let mut fields = Vec::new();
        for field in def.stored_fields() {
            let change = &carried.fields[&field.name];
            let Some(name) = &change.to else { continue };
            let is_new = !change.conversions.is_empty() || carried.fills.contains_key(name);
            let new = self.new_field(to, name).filter(|_| is_new);
            fields.push(FieldDef {
                name: name.clone(),
                ..new.unwrap_or(field).clone()
            });
        }
        for name in carried.fills.keys() {
            if !fields.iter().any(|field| field.name == *name) {
                fields.extend(self.new_field(to, name).cloned());
            }
        }
        let now = |name: &FieldName| carried.fields[name].to.clone();
        let mut key = def.key.clone();
        key.fields = key.fields.iter().filter_map(now).collect();
        Some(ModelParts {
            name: to.clone(),
            plural_name: def.plural_name.clone(),
            syncable: def.syncable,
            fields,
            key,
            indexes: Vec::new(),
            timestamps: def.timestamps.clone(),
            auth: Vec::new(),
        })
    }

    /// Enums and object types of the old schema whose values stay as they are somewhere: in a field that is not
    /// converted, or in an object of such a type.
    fn kept_types(&self) -> BTreeSet<&str> {
        let mut kept = BTreeSet::new();
        let mut todo: Vec<&FieldDef> = Vec::new();
        for def in self.old.models() {
            let carried = &self.models[&def.name];
            let stays = |field: &&FieldDef| {
                let change = &carried.fields[&field.name];
                change.to.is_some() && change.conversions.is_empty()
            };
            if carried.to.is_some() {
                todo.extend(def.stored_fields().filter(stays));
            }
        }
        while let Some(field) = todo.pop() {
            let (FieldType::Enum(name) | FieldType::NonModel(name)) = &field.ty else {
                continue;
            };
            if kept.insert(name.as_str())
                && let Some(object) = self.old.non_model(name)
            {
                todo.extend(object.fields.values());
            }
        }
        kept
    }
}

fn field_mut<'m>(model: &'m mut CarriedModel, name: &FieldName) -> Result<&'m mut CarriedField, String> {
    let known: Vec<String> = model
        .fields
        .values()
        .filter_map(|field| field.to.as_ref().map(ToString::to_string))
        .collect();
    model
        .fields
        .values_mut()
        .find(|field| field.to.as_ref() == Some(name))
        .ok_or_else(|| format!("there is no field `{name}` by then, only {}", known.join(", ")))
}
