//! A user: doing what the plan says, and keeping account of what the app was promised.
//!
//! Owns [`User`]. An action whose record is not there is passed over; one that the disk or a crash cut short is of
//! unknown outcome, as for an app.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use landfall::{DataStore, Error, Op, Predicate, Query, Record, RecordId, RecordKey, Stage, Value, WriteOp};

use crate::client::SimClient;
use crate::clock::pass;
use crate::oracle::Ledger;
use crate::plan::{Action, ActionStep};
use crate::world::discard_refused;

/// How long a user waits for a client that is off, in virtual milliseconds.
const WAIT_MS: u64 = 100;

/// A user of one client.
pub(super) struct User {
    client: SimClient,
    index: usize,
    /// Number of the newest write; shared with what the user does on the side.
    serial: Rc<Cell<u64>>,
    /// Whether the user waits for the store.
    waits: Rc<Cell<bool>>,
    /// Edits that are being thought about on the side.
    aside: Rc<Cell<usize>>,
}

impl User {
    pub(super) fn new(client: SimClient, index: usize) -> Self {
        Self {
            client,
            index,
            serial: Rc::default(),
            waits: Rc::default(),
            aside: Rc::default(),
        }
    }

    /// How many edits the user thinks about on the side: they are saved after the last action, some of them long after it.
    pub(super) fn aside(&self) -> Rc<Cell<usize>> {
        Rc::clone(&self.aside)
    }

    /// Whether the user waits for the store now.
    pub(super) fn waits(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.waits)
    }

    /// Does everything at its time.
    pub(super) async fn live(mut self, steps: Vec<ActionStep>) {
        let mut now_ms = 0;
        for step in steps {
            pass(step.at_ms.saturating_sub(now_ms)).await;
            now_ms = now_ms.max(step.at_ms);
            let store = loop {
                if let Some(store) = self.client.running() {
                    break store;
                }
                pass(WAIT_MS).await;
                now_ms += WAIT_MS;
            };
            self.client.note(step.action.name());
            let (client, name) = (self.client.clone(), step.action.name());
            self.waits.set(true);
            let done = client.answered(name, self.act(&store, step.action)).await;
            self.waits.set(false);
            if let Some(Err(error)) = done
                && !is_expected(&error)
            {
                self.client
                    .judge()
                    .violated("I8", &format!("an action failed: {error}"));
            }
        }
    }

    async fn act(&mut self, store: &DataStore, action: Action) -> Result<(), Error> {
        match action {
            Action::Create { note } => self.create(store, note).await,
            Action::Update { note } => self.update(store, note, None).await,
            Action::UpdateIf { note, above } => self.update(store, note, Some(above)).await,
            Action::Chain { note, times } => {
                for _ in 0..times {
                    self.update(store, note, None).await?;
                }
                Ok(())
            }
            Action::EditStale { note, hold_ms } => self.edit_stale(store, note, hold_ms),
            Action::Delete { note } => self.delete(store, note).await,
            Action::Pair { pair } => self.pair(store, pair).await,
            Action::Retitle { board } => self.retitle(store, board).await,
            Action::Star { board } => {
                let stars = self.number();
                self.edit_shared(store, "Board", &board_id(board), "stars", |_| stars)
                    .await
            }
            Action::Revise { board, hold_ms } => self.revise(store, board, hold_ms),
            Action::Tag { board } => {
                let tag = Value::from(self.mark());
                let add = |old: Option<&Value>| match old {
                    Some(Value::List(tags)) => Value::List(tags.iter().cloned().chain([tag]).collect()),
                    _ => Value::List(vec![tag]),
                };
                self.edit_shared(store, "Board", &board_id(board), "tags", add)
                    .await
            }
            Action::DropBoard { board } => self.drop(store, "Board", board_id(board)).await,
            Action::MakeList { list } => self.make(store, "List", list_id(list), "title", &[]).await,
            Action::DropList { list } => self.drop_list(store, list).await,
            Action::AddItem { list, item } => self.add_item(store, list, item).await,
            Action::EditItem { item } => {
                let text = Value::from(self.mark());
                self.edit_shared(store, "Item", &item_id(item), "text", |_| text)
                    .await
            }
            Action::MoveItem { item, list } => self.move_item(store, item, list).await,
            Action::DiscardRefused => {
                discard_refused(&self.client).await;
                Ok(())
            }
            Action::RetryRefused => retry_refused(store).await,
            Action::Turn { .. } => Ok(()),
        }
    }

    /// A text that no other write has.
    fn mark(&mut self) -> String {
        self.serial.set(self.serial.get() + 1);
        format!("{}#{}", self.client.name(), self.serial.get())
    }

    fn number(&self) -> Value {
        Value::Int(i64::try_from(self.serial.get()).unwrap_or(0))
    }

    fn note_key(&self, note: u32) -> RecordKey {
        RecordKey::new(
            "Note",
            RecordId::text(format!("note-{}-{note}", self.client.name())),
        )
    }

    async fn create(&mut self, store: &DataStore, note: u32) -> Result<(), Error> {
        let key = self.note_key(note);
        if store.records().get("Note", &key.id)?.is_some() {
            return Ok(());
        }
        let text = Value::from(self.mark());
        let record = self.note(store, &key, &text)?;
        self.promise(&key, Some(text), store.records().save(record)).await
    }

    fn note(&self, store: &DataStore, key: &RecordKey, text: &Value) -> Result<Record, Error> {
        let mut record = Record::new(store.records().def("Note")?, Vec::new());
        record.set("id", key.id.to_string().into());
        record.set("owner", self.client.name().into());
        record.set("text", text.clone());
        Ok(record)
    }

    async fn update(&mut self, store: &DataStore, note: u32, above: Option<i64>) -> Result<(), Error> {
        let key = self.note_key(note);
        let Some(mut record) = store.records().get("Note", &key.id)? else {
            return Ok(());
        };
        let count = record.get("count").and_then(Value::as_int);
        let holds = above.is_none_or(|above| count.is_some_and(|count| count > above));
        let text = Value::from(self.mark());
        record.set("text", text.clone());
        record.set(
            "count",
            Value::Int(i64::try_from(self.serial.get() * 37 % 1_000).unwrap_or(0)),
        );
        let condition = above.map(|above| Predicate::field("count", Op::Gt(Value::Int(above))));
        let done = self
            .promise(&key, Some(text), store.records().save_if(record, condition))
            .await;
        if done.is_ok() && !holds {
            let what = format!("{key} was changed although its condition does not hold");
            self.client.judge().violated("I18", &what);
        }
        done
    }

    /// Thinks in a task of its own, so that the user goes on with other things.
    fn edit_stale(&mut self, store: &DataStore, note: u32, hold_ms: u64) -> Result<(), Error> {
        let key = self.note_key(note);
        let Some(mut record) = store.records().get("Note", &key.id)? else {
            return Ok(());
        };
        let store = store.clone();
        let mut user = Self {
            client: self.client.clone(),
            index: self.index,
            serial: Rc::clone(&self.serial),
            waits: Rc::default(),
            aside: Rc::clone(&self.aside),
        };
        user.aside.set(user.aside.get() + 1);
        actix::spawn(async move {
            pass(hold_ms).await;
            let text = Value::from(user.mark());
            record.set("text", text.clone());
            // What it came to is in the account.
            let client = user.client.clone();
            let records = store.records();
            let saved = user.promise(&key, Some(text), records.save(record));
            drop(client.answered("EditStale", saved).await);
            user.aside.set(user.aside.get() - 1);
        });
        Ok(())
    }

    /// As [`User::edit_stale`], with a record that others change meanwhile.
    fn revise(&mut self, store: &DataStore, board: u32, hold_ms: u64) -> Result<(), Error> {
        let Some(mut record) = store.records().get("Board", &board_id(board))? else {
            return Ok(());
        };
        let (mark, store, client) = (self.mark(), store.clone(), self.client.clone());
        client.judge().read_before(&mark, version_of(&record));
        record.set("title", mark.into());
        record.set("stars", self.number());
        let aside = self.aside();
        aside.set(aside.get() + 1);
        actix::spawn(async move {
            pass(hold_ms).await;
            let saved = client.answered("Revise", store.records().save(record)).await;
            if matches!(saved, Some(Ok(_))) {
                client.judge().ledger(Ledger::acknowledge_other);
            }
            aside.set(aside.get() - 1);
        });
        Ok(())
    }

    async fn delete(&mut self, store: &DataStore, note: u32) -> Result<(), Error> {
        let key = self.note_key(note);
        if store.records().get("Note", &key.id)?.is_none() {
            return Ok(());
        }
        self.promise(&key, None, store.records().delete(key.clone()))
            .await
    }

    /// Two notes with the same text, in one transaction.
    async fn pair(&mut self, store: &DataStore, pair: u32) -> Result<(), Error> {
        let text = Value::from(self.mark());
        let keys = [1_000_000 + 2 * pair, 1_000_001 + 2 * pair].map(|note| self.note_key(note));
        let mut ops = Vec::new();
        for key in &keys {
            let mut record = match store.records().get("Note", &key.id)? {
                Some(record) => record,
                None => self.note(store, key, &text)?,
            };
            record.set("text", text.clone());
            let model = record.def().name.clone();
            let (values, seen, base) = record.into_parts();
            ops.push(WriteOp::Save {
                model,
                values,
                base,
                seen,
                condition: None,
            });
        }
        let [one, other] = keys;
        self.client.judge().pair(one.clone(), other.clone());
        let second = self.client.judge().begin(&other, Some(text.clone()));
        let done = self.promise(&one, Some(text), store.records().write(ops)).await;
        match &done {
            Ok(()) => self
                .client
                .judge()
                .ledger(|ledger| ledger.acknowledge(&other, second)),
            Err(error) if leaves_nothing(error) => {
                self.client
                    .judge()
                    .ledger(|ledger| ledger.withdraw(&other, second));
            }
            Err(_) => {}
        }
        done
    }

    /// Keeps account of a write of a record of one's own.
    async fn promise<T>(
        &mut self,
        key: &RecordKey,
        text: Option<Value>,
        write: impl Future<Output = Result<T, Error>>,
    ) -> Result<(), Error> {
        let judge = self.client.judge().clone();
        let attempt = judge.begin(key, text);
        match write.await {
            Ok(_) => {
                judge.ledger(|ledger| ledger.acknowledge(key, attempt));
                Ok(())
            }
            Err(error) => {
                if leaves_nothing(&error) {
                    judge.ledger(|ledger| ledger.withdraw(key, attempt));
                }
                Err(error)
            }
        }
    }

    async fn retitle(&mut self, store: &DataStore, board: u32) -> Result<(), Error> {
        let id = board_id(board);
        if store.records().get("Board", &id)?.is_some() {
            let title = Value::from(self.mark());
            return self.edit_shared(store, "Board", &id, "title", |_| title).await;
        }
        // The first client makes the boards; the others wait until they hear of them.
        if self.index == 0 {
            return self.make(store, "Board", id, "title", &[]).await;
        }
        Ok(())
    }

    async fn make(
        &mut self,
        store: &DataStore,
        model: &str,
        id: RecordId,
        field: &str,
        more: &[(&str, Value)],
    ) -> Result<(), Error> {
        if store.records().get(model, &id)?.is_some() {
            return Ok(());
        }
        let mut record = Record::new(store.records().def(model)?, Vec::new());
        record.set("id", id.to_string().into());
        record.set(field, self.mark().into());
        for (name, value) in more {
            record.set(name, value.clone());
        }
        store.records().save(record).await?;
        self.client.judge().ledger(Ledger::acknowledge_other);
        Ok(())
    }

    async fn edit_shared(
        &mut self,
        store: &DataStore,
        model: &str,
        id: &RecordId,
        field: &str,
        new: impl FnOnce(Option<&Value>) -> Value,
    ) -> Result<(), Error> {
        let Some(mut record) = store.records().get(model, id)? else {
            return Ok(());
        };
        let value = new(record.get(field));
        if let Some(text) = value.as_str() {
            self.client.judge().read_before(text, version_of(&record));
        }
        record.set(field, value);
        store.records().save(record).await?;
        self.client.judge().ledger(Ledger::acknowledge_other);
        Ok(())
    }

    async fn drop(&mut self, store: &DataStore, model: &str, id: RecordId) -> Result<(), Error> {
        store.records().delete(RecordKey::new(model, id)).await?;
        self.client.judge().ledger(Ledger::acknowledge_other);
        Ok(())
    }

    /// Deletes a list; its items have to go with it.
    async fn drop_list(&mut self, store: &DataStore, list: u32) -> Result<(), Error> {
        let foreign_key = foreign_key(store)?;
        let items = Query {
            predicate: Predicate::field(&foreign_key, Op::Eq(list_id(list).to_string().into())),
            ..Query::all("Item")
        };
        let there = store.records().get("List", &list_id(list))?.is_some();
        let before = store.records().query(&items)?;
        let before: Vec<RecordId> = before.iter().filter_map(Record::id).collect();
        self.drop(store, "List", list_id(list)).await?;
        let left = store.records().query(&items)?;
        let mut left = left.iter().filter_map(Record::id);
        if let Some(item) = left.find(|id| there && before.contains(id)) {
            let what = format!("list {list} was deleted, and its item {item} is still there");
            self.client.judge().violated("I20", &what);
        }
        // What somebody else has moved to another list meanwhile stays.
        let mut gone = BTreeSet::new();
        for item in before.into_iter().filter(|_| there) {
            if store.records().get("Item", &item)?.is_none() {
                gone.insert(RecordKey::new("Item", item));
            }
        }
        let list = RecordKey::new("List", list_id(list));
        self.client.judge().cascaded(&list, gone);
        Ok(())
    }

    async fn add_item(&mut self, store: &DataStore, list: u32, item: u32) -> Result<(), Error> {
        let lists = store.records().query(&Query {
            predicate: Predicate::field("id", Op::Eq(list_id(list).to_string().into())),
            ..Query::all("List")
        })?;
        if lists.is_empty() {
            return Ok(());
        }
        let foreign_key = foreign_key(store)?;
        let more = [(foreign_key.as_str(), Value::from(list_id(list).to_string()))];
        self.make(store, "Item", item_id(item), "text", &more).await
    }

    async fn move_item(&mut self, store: &DataStore, item: u32, list: u32) -> Result<(), Error> {
        if store.records().get("List", &list_id(list))?.is_none() {
            return Ok(());
        }
        let foreign_key = foreign_key(store)?;
        let to = Value::from(list_id(list).to_string());
        self.edit_shared(store, "Item", &item_id(item), &foreign_key, |_| to)
            .await
    }
}

fn board_id(board: u32) -> RecordId {
    RecordId::text(format!("board-{board}"))
}

fn list_id(list: u32) -> RecordId {
    RecordId::text(format!("list-{list}"))
}

fn item_id(item: u32) -> RecordId {
    RecordId::text(format!("item-{item}"))
}

/// The version of a record that somebody has read, if the server has it.
fn version_of(record: &Record) -> Option<u64> {
    record.sync().map(|sync| sync.version.0)
}

/// The field by which an item refers to its list.
fn foreign_key(store: &DataStore) -> Result<String, Error> {
    let def = store.records().def("Item")?;
    let field = def
        .relations()
        .find_map(|(_, association)| association.targets().first().cloned());
    Ok(field.expect("an item belongs to a list").to_string())
}

async fn retry_refused(store: &DataStore) -> Result<(), Error> {
    for mutation in store.outbox().list(usize::MAX)? {
        if matches!(mutation.stage, Stage::Parked(_)) {
            store.outbox().retry(mutation.seq).await?;
        }
    }
    Ok(())
}

/// Whether a write that failed so has certainly changed nothing.
fn leaves_nothing(error: &Error) -> bool {
    matches!(
        error,
        Error::Refused(_) | Error::NotFound { .. } | Error::NotParked { .. }
    )
}

/// Errors that an app has to live with: refusals, a store that ended under it, a disk that failed.
fn is_expected(error: &Error) -> bool {
    leaves_nothing(error) || matches!(error, Error::Closed | Error::Storage(_))
}
