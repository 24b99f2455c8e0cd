//! What scenarios are written in: people, what they do, what is done to them, what is expected.
//!
//! Owns [`Stage`] and [`Person`].

use landfall::{
    DataStore, Error, FieldMap, Op, Predicate, Query, Record, RecordId, RecordKey, Stage as MutationStage,
    SyncError, Value,
};
use landfall_core::Change;

use crate::client::SimClient;
use crate::clock::pass;
use crate::network::Trouble;
use crate::world::{World, discard_refused};

/// Where a scenario takes place.
#[derive(Clone, Debug)]
pub struct Stage {
    world: World,
}

/// Somebody with a device.
#[derive(Clone, Debug)]
pub struct Person {
    client: SimClient,
    stage: Stage,
}

impl Stage {
    pub(super) fn new(world: World) -> Self {
        Self { world }
    }

    /// Anna and Berta, whose stores are open and sync.
    pub fn people(&self) -> (Person, Person) {
        let person = |index: usize| Person {
            client: self.world.clients[index].clone(),
            stage: self.clone(),
        };
        (person(0), person(1))
    }

    /// The world, for what a scenario cannot say otherwise.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Lets so many seconds pass.
    pub async fn later(&self, seconds: u64) {
        pass(seconds * 1_000).await;
    }

    /// Lets a moment pass, in which nothing can have come back from the server.
    pub async fn at_once(&self) {
        pass(1).await;
    }

    /// Says that something must be so.
    pub fn expect(&self, holds: bool, what: &str) {
        if !holds {
            self.world.violated("S", &format!("expected: {what}"));
        }
    }

    /// Waits until all hold what the server holds and nothing waits.
    pub async fn all_agree(&self) {
        if let Err(differences) = self.world.agree().await {
            let first = differences.first().cloned().unwrap_or_default();
            self.world
                .violated("S", &format!("expected: all agree, and {first}"));
        }
    }

    /// What the server has under this name; `None` if nothing, or deleted.
    pub fn on_server(&self, note: &str) -> Option<String> {
        let records = self.world.network.backend().records("Note").unwrap_or_default();
        let id = RecordId::text(note);
        let record = records
            .into_iter()
            .find(|record| record.id == id && !record.sync.deleted)?;
        record.fields.get("text")?.as_str().map(str::to_owned)
    }

    /// How many versions of a note the server has made.
    pub fn versions(&self, note: &str) -> u64 {
        let records = self.world.network.backend().records("Note").unwrap_or_default();
        let id = RecordId::text(note);
        let record = records.into_iter().find(|record| record.id == id);
        record.map_or(0, |record| record.sync.version.0)
    }

    /// How many records of a model the server has, without deleted ones.
    pub fn count(&self, model: &str) -> usize {
        let records = self.world.network.backend().records(model).unwrap_or_default();
        records.iter().filter(|record| !record.sync.deleted).count()
    }
}

impl Person {
    /// Makes a note, or changes its text.
    pub async fn writes(&self, note: &str, text: &str) {
        self.sets(
            "Note",
            note,
            &[("owner", self.client.name().into()), ("text", text.into())],
        )
        .await;
    }

    /// Makes a record, or changes fields of it.
    pub async fn sets(&self, model: &str, id: &str, fields: &[(&str, Value)]) {
        let Some(mut record) = self.copy(model, id) else {
            return self.stage.expect(false, "the client is on");
        };
        for (name, value) in fields {
            record.set(name, value.clone());
        }
        self.saves(record).await;
    }

    /// A copy of a record as it is now, to be saved later; a new one if there is none.
    pub fn copy(&self, model: &str, id: &str) -> Option<Record> {
        let store = self.client.running()?;
        let id = RecordId::text(id);
        if let Some(record) = store.records().get(model, &id).ok()? {
            return Some(record);
        }
        let mut record = Record::new(store.records().def(model).ok()?, Vec::new());
        record.set("id", id.to_string().into());
        Some(record)
    }

    /// Saves a record.
    pub async fn saves(&self, record: Record) {
        let Some(store) = self.client.running() else {
            return self.stage.expect(false, "the client is on");
        };
        if let Err(error) = self.save(&store, record).await {
            self.stage
                .expect(false, &format!("the save succeeds, and it says {error}"));
        }
    }

    /// Saves a record; what was acknowledged must be there at once and after every crash.
    async fn save(&self, store: &DataStore, record: Record) -> Result<(), Error> {
        let model = record.def().name.clone();
        let key = record.id().map(|id| RecordKey::new(model, id));
        let text = record.get("text").cloned();
        let saved = self
            .client
            .answered("save", async { store.records().save(record).await });
        let Some(saved) = saved.await else {
            return Ok(());
        };
        saved?;
        let judge = self.client.judge();
        judge.look();
        if let (Some(key), Some(Value::String(text))) = (key, text)
            && !judge.has_logged(&key, &text)
        {
            let what =
                format!("the save of {key} with `{text}` was acknowledged, and the log has no such change");
            judge.violated("I1", &what);
        }
        Ok(())
    }

    /// Tries to save a note; whether it succeeded.
    pub async fn tries_to_write(&self, note: &str, text: &str) -> bool {
        let (Some(store), Some(mut record)) = (self.client.running(), self.copy("Note", note)) else {
            return false;
        };
        record.set("owner", self.client.name().into());
        record.set("text", text.into());
        self.save(&store, record).await.is_ok()
    }

    /// Begins a save without waiting for it.
    pub fn begins_to_write(&self, note: &str, text: &str) {
        let (person, note, text) = (self.clone(), note.to_owned(), text.to_owned());
        actix::spawn(async move {
            person.tries_to_write(&note, &text).await;
        });
    }

    /// Deletes a record and what belongs to it.
    pub async fn deletes(&self, model: &str, id: &str) {
        let Some(store) = self.client.running() else {
            return self.stage.expect(false, "the client is on");
        };
        let deleted = store
            .records()
            .delete(RecordKey::new(model, RecordId::text(id)))
            .await;
        self.stage.expect(deleted.is_ok(), "the delete succeeds");
    }

    /// The text of a note as this person sees it.
    pub fn reads(&self, note: &str) -> Option<String> {
        self.field("Note", note, "text")?.as_str().map(str::to_owned)
    }

    /// A field as this person sees it.
    pub fn field(&self, model: &str, id: &str, field: &str) -> Option<Value> {
        let store = self.client.running()?;
        let record = store.records().get(model, &RecordId::text(id)).ok()??;
        record.get(field).cloned()
    }

    /// How many records of a model this person sees.
    pub fn sees(&self, model: &str) -> usize {
        let store = self.client.running();
        store.map_or(0, |store| {
            store
                .records()
                .query(&Query::all(model))
                .map_or(0, |found| found.len())
        })
    }

    /// How many items of a list this person sees, found by index.
    pub fn items_of(&self, list: &str) -> usize {
        let Some(store) = self.client.running() else {
            return 0;
        };
        let Some(foreign_key) = self.foreign_key() else {
            return 0;
        };
        let query = Query {
            predicate: Predicate::Field(foreign_key.as_str().into(), Op::Eq(list.into())),
            ..Query::all("Item")
        };
        store.records().query(&query).map_or(0, |found| found.len())
    }

    /// The field by which an item refers to its list.
    pub fn foreign_key(&self) -> Option<String> {
        let store = self.client.running()?;
        let def = store.records().def("Item").ok()?;
        let (_, association) = def.relations().next()?;
        association.targets().first().map(ToString::to_string)
    }

    /// Changes that wait for the server.
    pub fn waiting(&self) -> usize {
        let store = self.client.running();
        store.map_or(0, |store| {
            store.outbox().list(usize::MAX).map_or(0, |waiting| waiting.len())
        })
    }

    /// Changes that the server refused.
    pub fn refused(&self) -> usize {
        let waiting = self.client.running().map(|store| store.outbox().list(usize::MAX));
        let waiting = waiting.and_then(Result::ok).unwrap_or_default();
        let refused = waiting
            .iter()
            .filter(|one| matches!(one.stage, MutationStage::Parked(_)));
        refused.count()
    }

    /// Changes of which this person's app was told that they are lost.
    pub fn lost(&self) -> Vec<SyncError> {
        self.client.judge().lost()
    }

    /// What conflicts gave up of this person's changes, as the log has it.
    pub fn given_up(&self) -> Vec<FieldMap> {
        let store = self.client.running();
        let snapshot = store.and_then(|store| store.snapshot().ok());
        let entries = snapshot.and_then(|snapshot| snapshot.log(0.., usize::MAX).ok());
        let conflicts = entries
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| match entry.change {
                Change::Conflict(conflict) => Some(conflict.given_up),
                _ => None,
            });
        conflicts.collect()
    }

    /// Takes back what the server refused.
    pub async fn takes_back_what_was_refused(&self) {
        discard_refused(&self.client).await;
    }

    /// Has what the server refused sent again.
    pub async fn tries_again(&self) {
        let Some(store) = self.client.running() else {
            return;
        };
        for mutation in store.outbox().list(usize::MAX).unwrap_or_default() {
            if matches!(mutation.stage, MutationStage::Parked(_)) {
                store.outbox().retry(mutation.seq).await.unwrap_or(());
            }
        }
    }

    /// Goes where there is no network.
    pub fn goes_offline(&self) {
        self.client.link().partition();
    }

    /// Comes back to the network.
    pub fn comes_online(&self) {
        self.client.link().repair();
    }

    /// Puts something wrong on this person's link.
    pub fn suffers(&self, trouble: Trouble) {
        self.client.link().put(trouble);
    }

    /// Loses the power, and has it back after so many seconds.
    pub async fn loses_power(&self, seconds: u64) {
        self.client.crash(seconds * 1_000).await;
    }

    /// Loses the power in the middle of the n-th disk operation from now.
    pub fn loses_power_at_operation(&self, operation: u64) {
        self.client.disk().cut_power_after(operation);
    }

    /// The client, for what a scenario cannot say otherwise.
    pub fn client(&self) -> &SimClient {
        &self.client
    }

    /// Requests that were sent so far.
    pub fn requests(&self) -> u64 {
        self.client.link().requests_total()
    }
}
