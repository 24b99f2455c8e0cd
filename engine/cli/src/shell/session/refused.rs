//! `retry`, `edit` and `discard`: what can be done about changes that the server refused.
//!
//! A record has one refused change at most: those behind it wait for it.

use landfall::{FieldMap, Mutation, Record, Seq};
use serde_json::Value as Json;

use super::super::values::{self, Fault};
use super::{Operations, fields, flag, text};

/// Refused changes that are looked at at a time.
const PAGE_LEN: usize = 1_000;

impl Operations {
    /// Sends refused changes again; answers with their number.
    pub(super) async fn retry(&self, command: &Json) -> Result<Json, Fault> {
        if flag(command, "all")? {
            return self
                .store
                .outbox()
                .retry_all()
                .await
                .map(Json::from)
                .map_err(text);
        }
        let refused = self.refused(command)?;
        for mutation in &refused {
            self.store.outbox().retry(mutation.seq).await.map_err(text)?;
        }
        Ok(refused.len().into())
    }

    /// Gives refused changes up; answers with their number.
    pub(super) async fn discard(&self, command: &Json) -> Result<Json, Fault> {
        if flag(command, "all")? {
            return self
                .store
                .outbox()
                .discard_all()
                .await
                .map(Json::from)
                .map_err(text);
        }
        let refused = self.refused(command)?;
        for mutation in &refused {
            self.store.outbox().discard(mutation.seq).await.map_err(text)?;
        }
        Ok(refused.len().into())
    }

    /// Changes fields of a refused change and sends it again; answers with the number 1.
    pub(super) async fn edit(&self, command: &Json) -> Result<Json, Fault> {
        if flag(command, "all")? {
            return Err("`edit` is about one record; name it by `model` and `id`".to_owned());
        }
        let def = self.model(command)?;
        let refused = self.refused(command)?;
        let mutation = refused.first().ok_or("there is no refused change")?;
        let patch = self.edited(mutation, command)?;
        self.store
            .outbox()
            .edit(mutation.seq, patch)
            .await
            .map_err(|error| self.form.refused(&def, error))?;
        Ok(refused.len().into())
    }

    /// The fields that the change sets, those given laid over those that it set before.
    fn edited(&self, mutation: &Mutation, command: &Json) -> Result<FieldMap, Fault> {
        let def = self.model(command)?;
        let given = fields(command)?;
        let mut record = Record::new(std::sync::Arc::clone(&def), Vec::new());
        values::set_fields(&mut record, given, self.store.schema())?;
        let relations = def
            .relations()
            .filter(|(field, _)| given.contains_key(field.name.as_str()));
        let targets: Vec<&str> = relations
            .flat_map(|(_, association)| association.targets())
            .map(landfall_core::FieldName::as_str)
            .collect();
        let mut patch = mutation.patch.clone();
        // A create holds its identifier as well, which no edit sets.
        patch.retain(|name, _| !def.key.fields.contains(name));
        for field in def.stored_fields() {
            let name = field.name.as_str();
            if given.contains_key(name) || targets.contains(&name) {
                let value = record.get(name).cloned().unwrap_or(landfall::Value::Null);
                patch.insert(field.name.clone(), value);
            }
        }
        Ok(patch)
    }

    /// The refused changes of the record that a command is about.
    fn refused(&self, command: &Json) -> Result<Vec<Mutation>, Fault> {
        let key = self.key(command)?;
        let mut of_record: Vec<Mutation> = Vec::new();
        let mut after = Seq::ZERO;
        loop {
            let page = self.store.outbox().parked_after(after, PAGE_LEN).map_err(text)?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            of_record.extend(page.into_iter().filter(|mutation| mutation.key == key));
        }
        if of_record.is_empty() {
            return Err(format!(
                "no change of {key} was refused; `outbox` lists what waits"
            ));
        }
        Ok(of_record)
    }
}
