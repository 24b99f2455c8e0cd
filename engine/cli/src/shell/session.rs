//! The operations of the shell, each a function of a JSON command.
//!
//! Owns [`Session`]: the store, and what was heard of it since the last question. Both shells run the same ones.
//! What is set is in `session/settings.rs`, what is waited for in `session/waiting.rs`, what is heard in `session/ears.rs`, what
//! waits for the server in `session/outbox.rs`, which keys a command may have in `session/keys.rs`.

mod ears;
mod keys;
mod outbox;
mod refused;
mod settings;
mod waiting;

use std::convert::Infallible;
use std::time::{Duration, Instant};

use landfall::{Change, DataStore, Error, HubEvent, Page, Query, Record, RecordKey};
use landfall_core::KeyKind;
use serde_json::{Map, Value as Json, json};

use super::recorder::Recorder;
use super::values::{self, Fault, Form};
use ears::Ears;

/// How long `start` waits for the store to be ready before it answers all the same.
const START_WAIT: Duration = Duration::from_secs(60);

/// A store and what was heard of it.
pub(crate) struct Session {
    operations: Operations,
    ears: Ears,
}

/// What is asked of a store.
struct Operations {
    store: DataStore,
    recorder: Recorder,
    form: Form,
    started: Instant,
}

/// What the shell does with an answer.
pub(crate) enum Reply {
    /// Print it and go on.
    Answer(Json),
    /// End.
    Exit,
}

impl Session {
    /// Opens a session that answers of records in that form.
    ///
    /// # Errors
    /// Whatever keeps it from listening to the store.
    pub(crate) async fn open(store: DataStore, recorder: Recorder, form: Form) -> Result<Self, Error> {
        let hub = store.hub().await?;
        Ok(Self {
            operations: Operations {
                store,
                recorder,
                form,
                started: Instant::now(),
            },
            ears: Ears::new(hub),
        })
    }

    /// The store.
    pub(crate) fn store(&self) -> &DataStore {
        &self.operations.store
    }

    /// Keeps what is heard of the store, for as long as it is polled: it belongs beside whatever is waited for between two
    /// commands. Nothing is lost if it is dropped.
    pub(crate) async fn listen(&mut self) -> Infallible {
        self.ears.listen().await
    }

    /// Carries out one command; what happens meanwhile is heard.
    pub(crate) async fn carry_out(&mut self, command: &Json) -> Result<Reply, Fault> {
        let op = keys::op_of(command)?;
        let answer = match op {
            "exit" => return Ok(Reply::Exit),
            "observe" => self.observe(command).await,
            "observed" => self.observed(),
            "observeQuery" => self.observe_query(command).await,
            "snapshots" => self.snapshots(),
            "hub" => Ok(self.hub()),
            "waitHub" => self.wait_hub(command).await,
            _ => {
                let Self { operations, ears } = self;
                let answer = tokio::select! {
                    biased;
                    never = ears.listen() => match never {},
                    answer = operations.carry_out(op, command) => answer,
                };
                // Whoever saved is answered after observers were told, which may have been since they were listened to.
                ears.catch_up();
                answer
            }
        };
        answer.map(Reply::Answer)
    }

    async fn observe(&mut self, command: &Json) -> Result<Json, Fault> {
        let def = self.operations.model(command)?;
        let predicate = where_of(command)?.unwrap_or(landfall::Predicate::All);
        let records = self.operations.store.records();
        let observer = records.observe(&def.name, predicate).await.map_err(text)?;
        self.ears.observe(observer);
        Ok(true.into())
    }

    fn observed(&mut self) -> Result<Json, Fault> {
        self.ears.catch_up();
        let changes = self.ears.take_changes()?;
        Ok(changes
            .iter()
            .map(|change| self.operations.change(change))
            .collect())
    }

    async fn observe_query(&mut self, command: &Json) -> Result<Json, Fault> {
        let query = self.operations.query_of(command)?;
        let observer = self.operations.store.records().observe_query(query).await;
        self.ears.observe_query(observer.map_err(text)?);
        Ok(true.into())
    }

    fn snapshots(&mut self) -> Result<Json, Fault> {
        self.ears.catch_up();
        let results = self.ears.take_results()?;
        let json = results.iter().map(|result| {
            let items: Vec<Json> = result
                .items
                .iter()
                .map(|record| self.operations.json(record))
                .collect();
            json!({ "items": items, "isSynced": result.is_synced })
        });
        Ok(json.collect())
    }

    fn hub(&mut self) -> Json {
        self.ears.catch_up();
        let Self { operations, ears } = self;
        let events = std::iter::from_fn(|| ears.next_event());
        events.map(|event| operations.event(&event)).collect()
    }
}

impl Operations {
    /// Carries out a command that needs nothing of what was heard.
    async fn carry_out(&self, op: &str, command: &Json) -> Result<Json, Fault> {
        match op {
            "configure" => self.configure(command),
            "start" => self.start().await,
            "stop" => self.store.stop().await.map(|()| true.into()).map_err(text),
            "clear" => self.store.clear().await.map(|()| true.into()).map_err(text),
            "save" => self.save(command).await,
            "update" => self.update(command).await,
            "delete" => self.delete(command).await,
            "get" => self.get(command),
            "query" => self.query(command),
            "count" => self.count(command),
            "explain" => self.explain(command),
            "waitFor" => self.wait_for(command).await,
            "errors" => self.recorder.take_errors().map(Json::from),
            "conflicts" => self.recorder.take_conflicts().map(Json::from),
            "outbox" => self.outbox(command),
            "metrics" => self.metrics(),
            "retry" => self.retry(command).await,
            "edit" => self.edit(command).await,
            "discard" => self.discard(command).await,
            "online" => self.online(command),
            "time" => Ok(u64::try_from(self.started.elapsed().as_millis())
                .unwrap_or(u64::MAX)
                .into()),
            other => Err(format!("there is no op `{other}`")),
        }
    }

    fn metrics(&self) -> Result<Json, Fault> {
        let metrics = self.store.metrics().map_err(text)?;
        serde_json::to_value(metrics).map_err(text)
    }

    async fn start(&self) -> Result<Json, Fault> {
        self.store.start().await.map_err(text)?;
        // Complete means in sync, or known to be out of reach; a server that hangs does not hold the shell up for ever.
        match tokio::time::timeout(START_WAIT, self.store.ready()).await {
            Ok(ready) => ready.map(|_| true.into()).map_err(text),
            Err(_) => Ok(true.into()),
        }
    }

    async fn save(&self, command: &Json) -> Result<Json, Fault> {
        let def = self.model(command)?;
        let mut record = Record::new(std::sync::Arc::clone(&def), Vec::new());
        values::set_fields(&mut record, fields(command)?, self.store.schema())?;
        let given = record.get("id").is_some_and(|id| !id.is_null());
        let makes_id = match def.key.kind {
            KeyKind::Managed => true,
            KeyKind::OptionallyManaged => !given,
            // A composite key may begin with an `id` that the store can make, too.
            KeyKind::Custom | KeyKind::Composite => false,
        };
        if makes_id {
            let key = self.store.records().new_id(def.name.clone());
            record.set("id", key.id.to_string().into());
        }
        let saved = self
            .store
            .records()
            .save_if(record, where_of(command)?)
            .await
            .map_err(|error| self.form.refused(&def, error))?;
        Ok(self.json(&saved))
    }

    async fn update(&self, command: &Json) -> Result<Json, Fault> {
        let key = self.key(command)?;
        let found = self.store.records().get(&key.model, &key.id).map_err(text)?;
        let mut record = found.ok_or_else(|| format!("there is no record {key}"))?;
        let def = std::sync::Arc::clone(record.def());
        values::set_fields(&mut record, fields(command)?, self.store.schema())?;
        if record.id().as_ref() != Some(&key.id) {
            return Err("the identifier of a record cannot be changed".to_owned());
        }
        let saved = self
            .store
            .records()
            .save_if(record, where_of(command)?)
            .await
            .map_err(|error| self.form.refused(&def, error))?;
        Ok(self.json(&saved))
    }

    async fn delete(&self, command: &Json) -> Result<Json, Fault> {
        let def = self.model(command)?;
        let all = flag(command, "all")?;
        if command.get("id").is_some() {
            let deleted = self
                .store
                .records()
                .delete_if(self.key(command)?, where_of(command)?)
                .await;
            return Ok(deleted
                .map_err(text)?
                .map_or(Json::Null, |record| self.json(&record)));
        }
        let predicate = match (where_of(command)?, all) {
            (Some(predicate), _) => predicate,
            (None, true) => landfall::Predicate::All,
            (None, false) => return Err("`delete` needs `id`, `where` or `\"all\": true`".to_owned()),
        };
        let deleted = self
            .store
            .records()
            .delete_where(&def.name, predicate)
            .await
            .map_err(text)?;
        Ok(deleted.iter().map(|record| self.json(record)).collect())
    }

    fn get(&self, command: &Json) -> Result<Json, Fault> {
        let key = self.key(command)?;
        let found = self.store.records().get(&key.model, &key.id).map_err(text)?;
        Ok(found.map_or(Json::Null, |record| self.json(&record)))
    }

    fn query(&self, command: &Json) -> Result<Json, Fault> {
        let found = self
            .store
            .records()
            .query(&self.query_of(command)?)
            .map_err(text)?;
        Ok(found.iter().map(|record| self.json(record)).collect())
    }

    fn count(&self, command: &Json) -> Result<Json, Fault> {
        let def = self.model(command)?;
        let predicate = where_of(command)?.unwrap_or(landfall::Predicate::All);
        self.store
            .records()
            .count(&def.name, &predicate)
            .map(Json::from)
            .map_err(text)
    }

    fn explain(&self, command: &Json) -> Result<Json, Fault> {
        let explained = self
            .store
            .records()
            .explain(&self.query_of(command)?)
            .map_err(text)?;
        Ok(explained.to_string().into())
    }

    fn online(&self, command: &Json) -> Result<Json, Fault> {
        let online = command
            .get("value")
            .and_then(Json::as_bool)
            .ok_or("`online` needs `value`, true or false")?;
        self.store.set_online(online).map_err(text)?;
        Ok(true.into())
    }

    fn model(&self, command: &Json) -> Result<std::sync::Arc<landfall::ModelDef>, Fault> {
        let name = command
            .get("model")
            .and_then(Json::as_str)
            .ok_or("the command needs `model`")?;
        self.store.records().def(name).map_err(text)
    }

    fn key(&self, command: &Json) -> Result<RecordKey, Fault> {
        let def = self.model(command)?;
        let id = values::id(&def, command.get("id").ok_or("the command needs `id`")?)?;
        Ok(RecordKey {
            model: def.name.clone(),
            id,
        })
    }

    fn change(&self, change: &Change<Record>) -> Json {
        let op = match change.kind {
            landfall::ChangeKind::Insert => "INSERT",
            landfall::ChangeKind::Update => "UPDATE",
            landfall::ChangeKind::Delete => "DELETE",
        };
        json!({ "op": op, "el": self.json(&change.element) })
    }

    fn json(&self, record: &Record) -> Json {
        self.form.record(record)
    }

    /// A Hub event, in which a record is as everywhere else.
    fn event(&self, event: &HubEvent) -> Json {
        let mut data = event.data();
        if let HubEvent::OutboxMutationEnqueued { record, .. }
        | HubEvent::OutboxMutationProcessed { record, .. }
        | HubEvent::SubscriptionDataProcessed { record } = event
        {
            data["element"] = self.json(record);
        }
        json!({ "event": event.name(), "data": data })
    }

    fn query_of(&self, command: &Json) -> Result<Query, Fault> {
        let def = self.model(command)?;
        let number = |key: &str| match command.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => json
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .map(Some)
                .ok_or_else(|| format!("`{key}` is a whole number, not negative")),
        };
        // As in the originals, a limit of 0 is no limit.
        let limit = number("limit")?.filter(|limit| *limit > 0);
        let page = number("page")?.unwrap_or(0);
        if page > 0 && limit.is_none() {
            return Err("`page` needs `limit`".to_owned());
        }
        Ok(Query {
            model: def.name.clone(),
            predicate: where_of(command)?.unwrap_or(landfall::Predicate::All),
            sort: values::sort(command.get("sort").unwrap_or(&Json::Null))?,
            page: Page { limit, page },
        })
    }
}

fn text(error: impl std::fmt::Display) -> Fault {
    error.to_string()
}

fn fields(command: &Json) -> Result<&Map<String, Json>, Fault> {
    command
        .get("fields")
        .and_then(Json::as_object)
        .ok_or_else(|| "the command needs `fields`, an object".to_owned())
}

fn where_of(command: &Json) -> Result<Option<landfall::Predicate>, Fault> {
    match command.get("where") {
        None | Some(Json::Null) => Ok(None),
        Some(json) => values::predicate(json).map(Some),
    }
}

/// A choice that is off unless it is said.
fn flag(command: &Json, key: &str) -> Result<bool, Fault> {
    match command.get(key) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(_) => Err(format!("`{key}` is true or false")),
    }
}
