//! The store that scripts are carried out on, and its comparison with the naive one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall::{
    Change as Heard, ChangeKind, Cursor, DataStore, Disk, Error, FieldName, LogEntry, Measure, MutationKind,
    Observer, Page, Predicate, Query, QueryObserver, Record, RecordId, RecordKey, Retention, Seq, Value,
};
use landfall_core::{Change, IdPart};
use landfall_storage::{InMemoryBackend, StorageBackend};
use proptest_state_machine::StateMachineTest;
use tokio::runtime::Runtime;

use super::naive::{Naive, Name, Row, Rows};
use super::reference::{Act, Op, Reference, State, Step};
use super::schemas::{Kind, migrations, models, schema};

/// A disk in memory that outlives the store on it.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<InMemoryBackend>);

impl StorageBackend for Kept {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A query that is observed, and its result as last heard.
struct Watched {
    query: Query,
    observer: QueryObserver<Record>,
    rows: Vec<Row>,
    total: usize,
}

/// The changes of a model, and the rows that they lead to.
struct Mirror {
    observer: Observer<Record>,
    rows: Rows,
}

/// The store under test with all who observe it.
pub(super) struct System {
    runtime: Runtime,
    disk: Kept,
    local: bool,
    version: usize,
    /// Taken only while it is closed and opened again: two stores on one disk would overwrite each other.
    store: Option<DataStore>,
    watched: Vec<Watched>,
    mirrors: Vec<Mirror>,
}

async fn open(disk: &Kept, local: bool, version: usize) -> DataStore {
    let disk = disk.clone();
    let disk = Disk::Custom(Arc::new(move || Ok(Box::new(disk.clone()))));
    let mut builder = DataStore::builder(schema(version)).disk(disk);
    if local {
        builder = builder.local_only();
    }
    let opened = migrations(version)
        .into_iter()
        .fold(builder, landfall::DataStoreBuilder::migrate)
        .open()
        .await;
    opened.unwrap_or_else(|error| panic!("version {version} does not open: {error}"))
}

fn row_of(record: &Record) -> Row {
    let fields = record.to_fields().into_iter();
    fields
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

fn id_of(key: &[String]) -> RecordId {
    RecordId::new(key.iter().map(|part| IdPart::Text(part.clone())).collect())
}

fn key_of(id: &RecordId) -> Vec<String> {
    let text = |part: &IdPart| part.to_value().as_str().map(str::to_owned);
    let key: Option<Vec<_>> = id.parts().iter().map(text).collect();
    key.expect("identifiers of these models are texts")
}

fn record_key(version: usize, (model, key): &Name) -> RecordKey {
    RecordKey::new(models(version)[*model].name, id_of(key))
}

/// The record with the fields that a save gives it.
fn with_fields(store: &DataStore, found: Option<Record>, key: &RecordKey, fields: &Row) -> Record {
    let def = store
        .records()
        .def(&key.model)
        .expect("scripts name models that there are");
    let mut record = found.unwrap_or_else(|| Record::from_fields(Arc::clone(&def), &key.id.to_fields(&def)));
    for (field, value) in fields {
        assert!(
            record.set(field, value.clone()),
            "scripts set fields that there are, not {field}"
        );
    }
    record
}

impl System {
    fn store(&self) -> &DataStore {
        self.store.as_ref().expect("it is open between two steps")
    }

    async fn one(&self, op: &Op) -> Result<(), Error> {
        let records = self.store().records();
        match op {
            Op::Save {
                name,
                fields,
                condition,
            } => {
                let key = record_key(self.version, name);
                let record = with_fields(self.store(), records.get(&key.model, &key.id)?, &key, fields);
                let saved = records.save_if(record, condition.clone()).await?;
                let stored = records.get(&key.model, &key.id)?.expect("it was just saved");
                assert_eq!(row_of(&saved), row_of(&stored), "a save returns what is stored");
            }
            Op::Delete { name, condition } => {
                let key = record_key(self.version, name);
                let before = records.get(&key.model, &key.id)?;
                let deleted = records.delete_if(key, condition.clone()).await?;
                assert_eq!(deleted.as_ref().map(row_of), before.as_ref().map(row_of));
            }
        }
        Ok(())
    }

    async fn together(&self, ops: &[Op]) -> Result<(), Error> {
        self.store()
            .transaction(|tx| {
                for op in ops {
                    match op {
                        Op::Save {
                            name,
                            fields,
                            condition,
                        } => {
                            let key = record_key(self.version, name);
                            let found = tx.get_record(key.clone())?;
                            let record = with_fields(self.store(), found, &key, fields);
                            tx.save_record(record, condition.clone())?;
                        }
                        Op::Delete { name, condition } => {
                            tx.delete_record(record_key(self.version, name), condition.clone())?;
                        }
                    }
                }
                Ok(())
            })
            .await
    }

    fn log_from(&self, seq: u64) -> Vec<LogEntry> {
        let snapshot = self.store().snapshot().expect("memory is always there");
        snapshot.log(seq.., usize::MAX).expect("memory is always there")
    }

    fn head(&self) -> u64 {
        let snapshot = self.store().snapshot().expect("memory is always there");
        snapshot.log_bounds().expect("memory is always there").1.0
    }

    /// Carries writes out, and requires that both stores agree on whether that can be, and on what goes with what.
    fn write(&self, state: &State, ops: &[Op], together: bool) {
        let head = self.head();
        let done = self.runtime.block_on(async {
            if together {
                self.together(ops).await
            } else {
                self.one(&ops[0]).await
            }
        });
        assert_eq!(done.is_ok(), state.accepted, "the store says {done:?}");
        let refused = matches!(done, Ok(()) | Err(Error::Refused(_)));
        assert!(refused, "only what does not fit is refused, not {done:?}");
        let log = self.log_from(head + 1);
        assert!(done.is_ok() || log.is_empty(), "what was refused left {log:?}");
        self.assert_deleted(state, &log);
    }

    /// Requires that what is gone was deleted by one entry each, children before their parents, as one group.
    fn assert_deleted(&self, state: &State, log: &[LogEntry]) {
        let writes: Vec<_> = log
            .iter()
            .filter_map(|entry| match &entry.change {
                Change::Write(write) => Some(write),
                _ => None,
            })
            .collect();
        let deleted: Vec<_> = writes
            .iter()
            .filter(|write| write.kind == MutationKind::Delete)
            .map(|write| write.key.clone())
            .collect();
        let gone: Vec<_> = state
            .gone
            .iter()
            .map(|name| record_key(self.version, name))
            .collect();
        let as_set = |keys: &[RecordKey]| keys.iter().cloned().collect::<BTreeSet<_>>();
        assert_eq!(as_set(&deleted), as_set(&gone), "what is deleted with a record");
        assert_eq!(deleted.len(), gone.len());
        for (at, parent) in writes.iter().enumerate() {
            if parent.kind != MutationKind::Delete {
                continue;
            }
            let mut untouched = BTreeSet::new();
            for child in &writes[at + 1..] {
                let first = untouched.insert(&child.key);
                let is_delete = child.kind == MutationKind::Delete;
                let orphan = first && is_delete && child.parents.contains(&parent.key);
                assert!(!orphan, "{} is deleted before {}", parent.key, child.key);
            }
        }
        let groups: BTreeSet<_> = writes.iter().map(|write| write.group).collect();
        assert!(writes.len() < 2 || groups.len() == 1, "one group, not {groups:?}");
    }

    fn ask(&self, naive: &Naive, query: &Query) {
        let records = self.store().records();
        let rows = |records: Vec<Record>| records.iter().map(row_of).collect::<Vec<_>>();
        let explained = records.explain(query);
        let plan = explained
            .as_ref()
            .map_or_else(ToString::to_string, |it| it.plan.clone());
        let found = records
            .query(query)
            .unwrap_or_else(|error| panic!("{error}: {query:?}"));
        assert_eq!(rows(found), naive.answer(query), "{plan}: {query:?}");
        let all = naive.ordered(query);
        let snapshot = self.store().snapshot().expect("memory is always there");
        let count = snapshot
            .count(&query.model, &query.predicate)
            .expect("it was just asked");
        assert_eq!(count, all.len() as u64, "{plan}: {query:?}");
        let exists = snapshot
            .exists(&query.model, &query.predicate)
            .expect("it was just asked");
        assert_eq!(exists, !all.is_empty(), "{query:?}");
        self.page_through(query, &all);
        self.measure(naive, query);
    }

    /// The pages of cursors, one after another, are the whole.
    fn page_through(&self, query: &Query, all: &[Row]) {
        let limit = query.page.limit.unwrap_or(2);
        let query = Query {
            page: Page {
                limit: Some(limit),
                page: 0,
            },
            ..query.clone()
        };
        let (mut after, mut paged) = (None::<Cursor>, Vec::new());
        loop {
            let page = self.store().records().page(&query, after.as_ref());
            let page = page.unwrap_or_else(|error| panic!("{error}: {query:?}"));
            assert!(page.items.len() <= limit);
            paged.extend(page.items.iter().map(row_of));
            match page.next {
                Some(next) => after = Some(next.to_string().parse().expect("its own text")),
                None => break,
            }
        }
        assert_eq!(paged, all, "{query:?}");
    }

    /// Counts and extremes of each field, in groups of the first one.
    fn measure(&self, naive: &Naive, query: &Query) {
        let model = naive.place_of(&query.model);
        let spec = naive.spec(model);
        let group_by = FieldName::from(spec.fields[0].name);
        let measured: Vec<_> = spec
            .fields
            .iter()
            .filter(|field| field.kind != Kind::Texts)
            .collect();
        let mut measures = vec![Measure::Count];
        for field in &measured {
            measures.extend([Measure::Min(field.name.into()), Measure::Max(field.name.into())]);
        }
        let snapshot = self.store().snapshot().expect("memory is always there");
        let groups = snapshot
            .aggregate(&query.model, &query.predicate, Some(&group_by), &measures)
            .unwrap_or_else(|error| panic!("{error}: {query:?}"));
        let selected = naive.selected(model, &query.predicate);
        let of = |row: &Row, field: &str| row.get(field).cloned().unwrap_or(Value::Null);
        let sorted = |mut values: Vec<Value>| {
            values.sort_by(Value::cmp_total);
            values
        };
        let mut keys = sorted(selected.iter().map(|(_, row)| of(row, &group_by)).collect());
        keys.dedup();
        let expected: Vec<(Value, Vec<Value>)> = keys
            .into_iter()
            .map(|key| {
                let rows: Vec<_> = selected
                    .iter()
                    .filter(|(_, row)| of(row, &group_by) == key)
                    .collect();
                let count = i64::try_from(rows.len()).expect("few");
                let mut values = vec![Value::Int(count)];
                for field in &measured {
                    let some = rows.iter().filter_map(|(_, row)| row.get(field.name).cloned());
                    let some = sorted(some.collect());
                    values.push(some.first().cloned().unwrap_or(Value::Null));
                    values.push(some.last().cloned().unwrap_or(Value::Null));
                }
                (key, values)
            })
            .collect();
        let found: Vec<_> = groups
            .into_iter()
            .map(|group| (group.key, group.values))
            .collect();
        assert_eq!(found, expected, "{query:?}");
    }

    fn watch(&mut self, query: &Query) {
        let observer = self
            .runtime
            .block_on(self.store().records().observe_query(query.clone()));
        self.watched.push(Watched {
            query: query.clone(),
            observer: observer.unwrap_or_else(|error| panic!("{error}: {query:?}")),
            rows: Vec::new(),
            total: 0,
        });
    }

    /// Observes every model anew; a store that was opened or cleared has ended its streams.
    fn mirror(&mut self) {
        self.mirrors.clear();
        for spec in models(self.version) {
            let records = self.store().records();
            let observer = self.runtime.block_on(records.observe(spec.name, Predicate::All));
            let rows = records
                .query(&Query::all(spec.name))
                .expect("memory is always there");
            let rows = rows
                .iter()
                .map(|record| (key_of(&record.id().expect("stored")), row_of(record)));
            self.mirrors.push(Mirror {
                observer: observer.expect("the store is open"),
                rows: rows.collect(),
            });
        }
    }

    fn reopen(&mut self, version: usize) {
        let queries: Vec<Query> = self.watched.drain(..).map(|watched| watched.query).collect();
        self.mirrors.clear();
        let store = self.store.take().expect("it is open between two steps");
        let store = self.runtime.block_on(async {
            store.close().await;
            open(&self.disk, self.local, version).await
        });
        self.store = Some(store);
        self.assert_sound();
        self.version = version;
        self.mirror();
        for query in &queries {
            self.watch(query);
        }
    }

    fn trim(&self, entries: u64) {
        let snapshot = || self.store().snapshot().expect("memory is always there");
        let (start, end) = snapshot().log_bounds().expect("memory is always there");
        let waiting = self.store().outbox().list(1).expect("memory is always there");
        let kept = entries.max(1).min(end.0 + 1 - start.0);
        let first = Seq(end.0 + 1 - kept);
        let expected = waiting
            .first()
            .map_or(first, |oldest| first.min(oldest.seq.max(start)));
        let retention = Retention::everything().entries(entries);
        let trimmed = self.runtime.block_on(self.store().trim(retention));
        assert_eq!(trimmed.expect("memory is always there").start, expected);
        assert_eq!(
            snapshot().log_bounds().expect("memory is always there"),
            (expected, end)
        );
        self.assert_sound();
    }

    fn assert_sound(&self) {
        let snapshot = self.store().snapshot().expect("memory is always there");
        let found = snapshot.verify().expect("memory is always there");
        assert_eq!(
            found.differences,
            [] as [String; 0],
            "the log tells what is stored"
        );
    }

    /// Everything leaves as JSON lines, and is the same in another store.
    fn move_away(&self, naive: &Naive) {
        let mut lines = Vec::new();
        self.store()
            .export_json_lines(&mut lines, |_| ())
            .expect("memory is always there");
        self.runtime.block_on(async {
            let other = open(&Kept::default(), self.local, self.version).await;
            let imported = other.import_json_lines(lines.as_slice(), |_| ()).await;
            imported.expect("it was just exported");
            assert_rows(&other, naive);
            other.close().await;
        });
    }

    /// Brings all observers up to date.
    fn listen(&mut self) {
        // Whoever observes now has been told of everything before.
        let records = self.store().records();
        let told = self.runtime.block_on(records.observe("Blog", Predicate::All));
        told.expect("the store is open");
        for watched in &mut self.watched {
            while let Some(next) = watched.observer.try_next() {
                let next = next.unwrap_or_else(|error| panic!("{error}: {:?}", watched.query));
                (watched.rows, watched.total) = (next.items.iter().map(row_of).collect(), next.total);
            }
        }
        for mirror in &mut self.mirrors {
            while let Some(change) = mirror.observer.try_next() {
                mirror.rows.take(change.expect("the store is open"));
            }
        }
    }
}

/// Follows the changes that an observer hears of.
trait Follow {
    fn take(&mut self, change: Heard<Record>);
}

impl Follow for Rows {
    fn take(&mut self, change: Heard<Record>) {
        let key = key_of(&change.element.id().expect("stored"));
        let row = row_of(&change.element);
        match change.kind {
            ChangeKind::Insert => assert_eq!(self.insert(key, row), None, "an insert is of a new record"),
            ChangeKind::Update => assert!(
                self.insert(key, row).is_some(),
                "an update is of a record that is there"
            ),
            ChangeKind::Delete => assert_eq!(self.remove(&key), Some(row), "a delete tells what was there"),
        }
    }
}

fn assert_rows(store: &DataStore, naive: &Naive) {
    for (model, spec) in models(naive.version).iter().enumerate() {
        let found = store
            .records()
            .query(&Query::all(spec.name))
            .expect("memory is always there");
        let rows: Rows = found
            .iter()
            .map(|record| (key_of(&record.id().expect("stored")), row_of(record)))
            .collect();
        assert_eq!(rows, naive.models[model], "{}", spec.name);
    }
}

/// What waits for the server, carried out on nothing, is what is stored: none of it was ever sent.
fn assert_outbox(store: &DataStore, naive: &Naive) {
    let mut rows: BTreeMap<RecordKey, Row> = BTreeMap::new();
    for mutation in store.outbox().list(usize::MAX).expect("memory is always there") {
        let key = mutation.key;
        match mutation.kind {
            MutationKind::Delete => {
                assert!(rows.remove(&key).is_some(), "{key} is deleted before it is made");
            }
            kind => {
                let is_new = kind == MutationKind::Create;
                assert_eq!(is_new, !rows.contains_key(&key), "{key}");
                let row = rows.entry(key).or_default();
                for (field, value) in mutation.patch {
                    row.remove(field.as_str());
                    if !value.is_null() {
                        row.insert(field.to_string(), value);
                    }
                }
            }
        }
    }
    let mut expected = BTreeMap::new();
    for (model, stored) in naive.models.iter().enumerate() {
        for (key, row) in stored {
            expected.insert(record_key(naive.version, &(model, key.clone())), row.clone());
        }
    }
    // A mutation of a composite key need not repeat it.
    for (key, row) in &mut rows {
        let def = store.records().def(&key.model).expect("it waits");
        let fields = key.id.to_fields(&def).into_iter();
        row.extend(fields.map(|(field, value)| (field.to_string(), value)));
    }
    assert_eq!(rows, expected, "what waits for the server");
}

impl StateMachineTest for System {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(state: &State) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system gives a thread its event queue");
        let disk = Kept::default();
        let store = runtime.block_on(open(&disk, state.local, 0));
        let mut system = Self {
            runtime,
            disk,
            local: state.local,
            version: 0,
            store: Some(store),
            watched: Vec::new(),
            mirrors: Vec::new(),
        };
        system.mirror();
        system
    }

    fn apply(mut self_: Self, state: &State, step: Step) -> Self {
        match step.act {
            Act::One(op) => self_.write(state, &[op], false),
            Act::Together(ops) => self_.write(state, &ops, true),
            Act::DeleteWhere { model, predicate } => {
                let head = self_.head();
                let name = models(self_.version)[model].name;
                let deleted = self_.runtime.block_on(async {
                    let records = self_.store().records();
                    records.delete_where(name, predicate).await
                });
                deleted.expect("nothing forbids it");
                self_.assert_deleted(state, &self_.log_from(head + 1));
            }
            Act::Ask(query) => self_.ask(&state.naive, &query),
            Act::Watch(query) => self_.watch(&query),
            Act::Reopen => self_.reopen(state.naive.version),
            Act::Trim(entries) => self_.trim(entries),
            Act::Migrate => {
                self_.watched.clear();
                self_.reopen(state.naive.version);
            }
            Act::Clear => {
                self_
                    .runtime
                    .block_on(self_.store().clear())
                    .expect("memory is always there");
                let watched = std::mem::take(&mut self_.watched);
                self_.mirror();
                for watched in watched {
                    self_.watch(&watched.query);
                }
            }
            Act::Move => self_.move_away(&state.naive),
        }
        self_.listen();
        self_
    }

    fn check_invariants(system: &Self, state: &State) {
        assert_rows(system.store(), &state.naive);
        if state.local {
            assert_eq!(system.store().outbox().len().expect("memory is always there"), 0);
        } else {
            assert_outbox(system.store(), &state.naive);
        }
        for (mirror, rows) in system.mirrors.iter().zip(&state.naive.models) {
            assert_eq!(&mirror.rows, rows, "what the changes lead to");
        }
        for watched in &system.watched {
            let query = &watched.query;
            assert_eq!(watched.rows, state.naive.answer(query), "observed: {query:?}");
            assert_eq!(
                watched.total,
                state.naive.ordered(query).len(),
                "observed: {query:?}"
            );
        }
    }

    fn teardown(mut system: Self, _: State) {
        system.assert_sound();
        system.watched.clear();
        system.mirrors.clear();
        let store = system.store.take().expect("it is open between two steps");
        system.runtime.block_on(store.close());
    }
}
