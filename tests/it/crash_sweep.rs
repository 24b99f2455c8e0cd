//! A crash or a fault of the disk at every operation: what was acknowledged is there, what was refused is not.
//!
//! Each script of random transactions runs on a simulated disk. Its operations are recorded; then the power is cut
//! before each of them, with everything that can survive of what was not synced, and the store is opened again. In the
//! other sweeps the scripts run once for each operation, which fails. `LANDFALL_SEED` chooses other scripts.
//!
//! What must hold is known apart from the store: a map of the rows after each transaction, and the log up to there.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_core::{
    Acknowledged, Change, FieldDef, IndexDef, KeyDef, KeyKind, LogEntry, ModelParts, Mutation, MutationKind,
    Origin, RecordId, RecordKey, RecordVersion, Remote, RemoteRecord, SaveRequest, Scalar, Schema,
    SchemaParts, Sent, Seq, Stage, SyncMetadata, Timestamps, Value, decide_delete, decide_save,
};
use landfall_sim::disk::{Dice, Fault, FaultKind, Platter, SimDisk, Survival};
use landfall_storage::{OnIncompatible, Query, Snapshot, StorageError, Store, StoreOptions, Txn, Written};

/// Scripts that are cut at every operation: as many as fit into a few seconds.
const CRASH_SCRIPTS: u64 = 3;

/// Transactions of a script; enough for the file to grow, to be cleared and to grow again.
const STEPS: u64 = 14;

/// One recovery of so many is cut as well.
const DOUBLE_CRASH_SHARE: u64 = 8;

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let seed = std::env::var("LANDFALL_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    println!("LANDFALL_SEED={seed}");
    seed
}

fn schema() -> Arc<Schema> {
    schema_with(&[])
}

/// The schema with more fields, each with an index of its own.
fn schema_with(more: &[&str]) -> Arc<Schema> {
    let index = |field: &str| IndexDef {
        name: format!("by {field}"),
        fields: vec![field.into()],
        query_field: None,
    };
    let mut note = ModelParts {
        name: "Note".into(),
        plural_name: "Notes".into(),
        syncable: true,
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("text", Scalar::String),
            FieldDef::scalar("rank", Scalar::Int),
        ],
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: vec![index("rank")],
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    note.fields
        .extend(more.iter().map(|name| FieldDef::scalar(name, Scalar::String)));
    note.indexes.extend(more.iter().map(|name| index(name)));
    Arc::new(
        Schema::build(SchemaParts {
            models: vec![note],
            ..SchemaParts::default()
        })
        .expect("the schema is sound"),
    )
}

fn open(disk: &SimDisk, cache_bytes: usize) -> Result<Store, StorageError> {
    open_with(disk, cache_bytes, schema())
}

fn open_with(disk: &SimDisk, cache_bytes: usize, schema: Arc<Schema>) -> Result<Store, StorageError> {
    Store::open(StoreOptions {
        disk: disk.disk(),
        schema,
        cache_bytes,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    })
}

/// What one transaction does.
#[derive(Clone, Debug)]
enum Step {
    Save(String, String),
    Delete(String),
    /// The oldest mutation is handed to the transport.
    Send,
    /// The server applied the mutation that was handed over last.
    Acknowledge,
    /// The server's record arrived.
    Arrive(String, String),
    Clear,
}

/// Steps of each transaction of a script.
fn script(dice: &mut Dice) -> Vec<Vec<Step>> {
    let mut texts = 0;
    let mut text = |dice: &mut Dice| {
        texts += 1;
        // Now and then a value that takes pages of its own.
        let filling = if dice.below(12) == 0 {
            30_000
        } else {
            dice.below(300)
        };
        format!(
            "t{texts}. {}",
            "x".repeat(usize::try_from(filling).expect("small"))
        )
    };
    let step = |dice: &mut Dice, text: &mut dyn FnMut(&mut Dice) -> String| {
        let id = format!("n{}", dice.below(6));
        match dice.below(20) {
            0..=10 => Step::Save(id, text(dice)),
            11..=13 => Step::Delete(id),
            14..=15 => Step::Send,
            16 => Step::Acknowledge,
            17..=18 => Step::Arrive(format!("r{}", dice.below(3)), text(dice)),
            _ => Step::Clear,
        }
    };
    (0..STEPS)
        .map(|_| {
            let count = if dice.below(3) == 0 { 1 + dice.below(6) } else { 1 };
            (0..count).map(|_| step(dice, &mut text)).collect()
        })
        .collect()
}

/// What the app sees: texts, in short, by identifier. Kept without the store.
type Rows = BTreeMap<String, String>;

/// A text in short: each is told from the others by its beginning, and its length tells whether it is whole.
fn brief(text: &str) -> String {
    format!(
        "{} ({} bytes)",
        text.split_whitespace().next().unwrap_or_default(),
        text.len()
    )
}

fn foresee(rows: &mut Rows, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Save(id, text) | Step::Arrive(id, text) => drop(rows.insert(id.clone(), brief(text))),
            Step::Delete(id) => drop(rows.remove(id)),
            Step::Clear => rows.clear(),
            Step::Send | Step::Acknowledge => {}
        }
    }
}

fn key(id: &str) -> RecordKey {
    RecordKey::new("Note", id)
}

fn perform(txn: &mut Txn<'_>, step: &Step) -> Result<(), StorageError> {
    let def = txn.model("Note")?;
    let schema = Arc::clone(txn.schema());
    let change = match step {
        Step::Save(id, text) => {
            let state = txn.state(&key(id))?;
            let rank = i64::try_from(text.len() % 7).expect("small");
            let values = vec![id.as_str().into(), text.as_str().into(), Value::Int(rank)];
            let base = state.row.clone();
            let request = SaveRequest {
                values,
                base,
                seen: state.sync,
                condition: None,
                queued: true,
                group: None,
            };
            decide_save(&schema, &def, &state, request)
                .expect("a note fits its model")
                .map(Change::Write)
        }
        Step::Delete(id) => {
            let state = txn.state(&key(id))?;
            decide_delete(&schema, &def, &state, key(id), None, true, None)
                .expect("nothing forbids it")
                .map(Change::Write)
        }
        Step::Send => first_pending(txn)?.map(|(key, mutation)| {
            let attempt = mutation.attempts + 1;
            Change::Sent(Sent {
                key,
                mutation: mutation.seq,
                attempt,
            })
        }),
        Step::Acknowledge => first_pending(txn)?
            .map(|(key, mutation)| {
                let version = 1 + txn.state(&key)?.sync.map_or(0, |sync| sync.version.0);
                let fields = mutation.patch.clone();
                let deleted = mutation.kind == MutationKind::Delete;
                let remote = RemoteRecord {
                    id: key.id.clone(),
                    fields,
                    sync: metadata(version, deleted),
                };
                Ok::<_, StorageError>(Change::Acknowledged(Acknowledged {
                    key,
                    mutation: mutation.seq,
                    remote,
                }))
            })
            .transpose()?,
        Step::Arrive(id, text) => {
            let version = 1 + txn.state(&key(id))?.sync.map_or(0, |sync| sync.version.0);
            let fields = [
                ("id".into(), id.as_str().into()),
                ("text".into(), text.as_str().into()),
            ]
            .into();
            let remote = RemoteRecord {
                id: RecordId::text(id),
                fields,
                sync: metadata(version, false),
            };
            Some(Change::Remote(Remote { key: key(id), remote }))
        }
        Step::Clear => Some(Change::Cleared),
    };
    change.map_or(Ok(()), |change| txn.append(Origin::App, None, change).map(drop))
}

fn metadata(version: u64, deleted: bool) -> SyncMetadata {
    SyncMetadata {
        version: RecordVersion(version),
        last_changed_at_ms: 0,
        deleted,
    }
}

/// The oldest mutation of the first note that has one.
fn first_pending(txn: &Txn<'_>) -> Result<Option<(RecordKey, Mutation)>, StorageError> {
    for number in 0..6 {
        let key = key(&format!("n{number}"));
        if let Some(mutation) = txn.state(&key)?.pending.into_iter().next() {
            return Ok(Some((key, mutation)));
        }
    }
    Ok(None)
}

fn run(store: &mut Store, steps: &[Step]) -> Result<Written<()>, StorageError> {
    store.write(0, |txn| steps.iter().try_for_each(|step| perform(txn, step)))
}

/// What is to be found once a transaction is acknowledged.
struct Boundary {
    /// Operations of the disk until it was acknowledged.
    ops: u64,
    rows: Rows,
    log: Vec<LogEntry>,
}

fn rows_of(snapshot: &Snapshot) -> Rows {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let records = snapshot.query(&Query::all("Note")).expect("readable");
    records
        .iter()
        .map(|record| (text(record.get("id")), brief(&text(record.get("text")))))
        .collect()
}

/// The log without what opening the store appended.
fn log_of(snapshot: &Snapshot) -> Vec<LogEntry> {
    let mut log = snapshot.log(.., usize::MAX).expect("readable");
    while log.last().is_some_and(|entry| entry.origin == Origin::Recovery) {
        log.pop();
    }
    log
}

fn boundary(store: &Store, disk: &SimDisk, rows: &Rows) -> Boundary {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(&rows_of(&snapshot), rows, "the store does what the script says");
    Boundary {
        ops: disk.ops(),
        rows: rows.clone(),
        log: log_of(&snapshot),
    }
}

/// Requires a sound store at one of the boundaries, and not before `acknowledged`. Returns which.
fn assert_recovered(what: &str, store: &Store, boundaries: &[Boundary], acknowledged: usize) -> usize {
    let snapshot = store
        .reader()
        .snapshot()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = snapshot
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(found.differences, [] as [String; 0], "{what}");
    let log = log_of(&snapshot);
    let at = boundaries.iter().rposition(|boundary| boundary.log == log);
    let at = at.unwrap_or_else(|| {
        panic!(
            "{what}: the log ends inside a transaction, at {:?}",
            log.last().map(|entry| entry.seq)
        )
    });
    assert!(
        at >= acknowledged,
        "{what}: acknowledged {acknowledged}, found {at}"
    );
    assert_eq!(rows_of(&snapshot), boundaries[at].rows, "{what}");
    for mutation in snapshot.pending(Seq::ZERO, usize::MAX).expect("readable") {
        let in_flight = mutation.stage == Stage::InFlight;
        assert!(
            !in_flight,
            "{what}: {} is on its way though nobody sends",
            mutation.seq
        );
    }
    at
}

/// Opens what a crash left, requires it to be sound, and that it goes on.
fn recover(what: &str, image: Vec<u8>, boundaries: &[Boundary], acknowledged: usize, dice: &mut Dice) {
    let disk = SimDisk::with_image(image.clone(), dice.roll());
    disk.record();
    let mut store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
    let at = assert_recovered(what, &store, boundaries, acknowledged);
    if dice.below(DOUBLE_CRASH_SHARE) == 0 {
        let ops = disk.recorded();
        let cut = usize::try_from(dice.below(ops.len() as u64 + 1)).expect("small");
        let mut platter = Platter::of(image);
        ops[..cut].iter().for_each(|op| platter.take(op));
        for survival in Survival::ALL {
            let what = format!("{what}, then at operation {cut} of recovery ({survival:?})");
            let disk = SimDisk::with_image(platter.image(survival, dice), dice.roll());
            let store = open(&disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
            let again = assert_recovered(&what, &store, boundaries, acknowledged);
            assert_eq!(again, at, "{what}: recovery neither loses nor finds anything");
        }
        return;
    }
    let steps = [Step::Save("after".into(), "the crash".into())];
    run(&mut store, &steps).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut rows = boundaries[at].rows.clone();
    foresee(&mut rows, &steps);
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(rows_of(&snapshot), rows, "{what}");
}

fn crash_at_every_operation(number: u64, cache_bytes: usize) {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(number));
    let script = script(&mut dice);
    let disk = SimDisk::new(dice.roll());
    disk.record();
    let mut store = open(&disk, cache_bytes).expect("the disk is well");
    let mut rows = Rows::new();
    let mut boundaries = vec![boundary(&store, &disk, &rows)];
    for steps in &script {
        run(&mut store, steps).expect("the disk is well");
        foresee(&mut rows, steps);
        boundaries.push(boundary(&store, &disk, &rows));
    }
    let before_close = disk.ops();
    drop(store);
    let ops = disk.recorded();
    assert!(ops.len() as u64 > before_close, "closing writes as well");
    let mut platter = Platter::default();
    for index in 0..=ops.len() {
        let acknowledged = boundaries
            .iter()
            .rposition(|boundary| boundary.ops <= index as u64)
            .unwrap_or(0);
        for survival in Survival::ALL {
            let what = format!("script {number}, power cut before operation {index} ({survival:?})");
            let image = platter.image(survival, &mut dice);
            recover(&what, image, &boundaries, acknowledged, &mut dice);
        }
        if let Some(op) = ops.get(index) {
            platter.take(op);
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for number in 0..CRASH_SCRIPTS {
        crash_at_every_operation(number, 1024 * 1024);
    }
}

#[test]
fn a_crash_loses_nothing_when_pages_are_written_before_their_commit() {
    crash_at_every_operation(1_000, 0);
}

#[test]
fn a_crash_while_a_new_schema_is_taken_on_loses_nothing() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(800));
    let disk = SimDisk::new(dice.roll());
    let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
    let steps: Vec<Step> = (0..40)
        .map(|n| Step::Save(format!("n{n}"), format!("t{n}.")))
        .collect();
    run(&mut store, &steps).expect("the disk is well");
    run(&mut store, &[Step::Send]).expect("the disk is well");
    let rows = rows_of(&store.reader().snapshot().expect("the disk is well"));
    drop(store);
    let mut platter = Platter::of(disk.contents());
    disk.record();
    drop(open_with(&disk, 1024 * 1024, schema_with(&["title"])).expect("a new field does no harm"));
    for (index, op) in disk.recorded().iter().enumerate() {
        for survival in Survival::ALL {
            let what = format!("power cut before operation {index} of taking on a schema ({survival:?})");
            let disk = SimDisk::with_image(platter.image(survival, &mut dice), dice.roll());
            let store = open_with(&disk, 1024 * 1024, schema_with(&["title"]));
            let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
            let snapshot = store.reader().snapshot().expect("the disk is well");
            assert_eq!(rows_of(&snapshot), rows, "{what}");
            let found = snapshot
                .verify()
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(found.differences, [] as [String; 0], "{what}");
            let log = snapshot.log(.., usize::MAX).expect("readable");
            let count = |name: &str| log.iter().filter(|entry| entry.change.name() == name).count();
            assert_eq!(
                (count("schema changed"), count("outcome unknown")),
                (2, 1),
                "{what}"
            );
        }
        platter.take(op);
    }
}

/// What the caller of a transaction was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Written,
    NotWritten,
    Unknown,
}

/// Runs a script on a disk that fails in between; returns what the caller was told of each transaction.
fn run_on_faulty(disk: &SimDisk, script: &[Vec<Step>], cache_bytes: usize) -> (Store, Vec<Told>) {
    // Whoever cannot open a store tries again; nothing was acknowledged yet.
    let mut last = None;
    let mut tries = (0..100).filter_map(|_| open(disk, cache_bytes).map_err(|error| last = Some(error)).ok());
    let store = tries.next();
    let mut store = store.unwrap_or_else(|| panic!("the disk gets well again: {last:?}"));
    let told = script.iter().map(|steps| match run(&mut store, steps) {
        Ok(_) => Told::Written,
        Err(StorageError::OutcomeUnknown { .. }) => Told::Unknown,
        Err(StorageError::Io { .. } | StorageError::Full) => Told::NotWritten,
        Err(error) => panic!("no fault of the disk is {error}"),
    });
    let told = told.collect();
    (store, told)
}

/// Requires that the store holds what the caller was told, and goes on holding it after a power cut.
fn assert_told_the_truth(what: &str, store: &mut Store, disk: &SimDisk, script: &[Vec<Step>], told: &[Told]) {
    disk.heal();
    let last = [Step::Save("last".into(), "word".into())];
    run(store, &last).unwrap_or_else(|error| panic!("{what}: the disk is well again: {error}"));
    let snapshot = store
        .reader()
        .snapshot()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut candidates = vec![Rows::new()];
    for (steps, told) in script.iter().zip(told) {
        let unwritten = if *told == Told::Unknown {
            candidates.clone()
        } else {
            Vec::new()
        };
        if *told != Told::NotWritten {
            candidates.iter_mut().for_each(|rows| foresee(rows, steps));
        }
        candidates.extend(unwritten);
    }
    candidates.iter_mut().for_each(|rows| foresee(rows, &last));
    let rows = rows_of(&snapshot);
    assert!(
        candidates.contains(&rows),
        "{what}: told {told:?}, found {rows:?}"
    );
    assert_no_twice(what, &snapshot);
    let log = snapshot.log(.., usize::MAX).expect("readable");
    // What is acknowledged needs nothing that no sync covered.
    let cut = SimDisk::with_image(disk.image(Survival::Nothing), 7);
    let store = open(&cut, 1024 * 1024).unwrap_or_else(|error| panic!("{what}, then a power cut: {error}"));
    let snapshot = store.reader().snapshot().expect("the disk is well");
    assert_eq!(rows_of(&snapshot), rows, "{what}, then a power cut");
    let found = snapshot
        .verify()
        .unwrap_or_else(|error| panic!("{what}, then a power cut: {error}"));
    assert_eq!(found.differences, [] as [String; 0], "{what}, then a power cut");
    assert!(
        snapshot.log(.., usize::MAX).expect("readable").starts_with(&log),
        "{what}, then a power cut"
    );
}

/// Every text is written by one save, so no two entries of the app may hold the same.
fn assert_no_twice(what: &str, snapshot: &Snapshot) {
    let mut seen = Vec::new();
    for entry in snapshot.log(.., usize::MAX).expect("readable") {
        if let Change::Write(write) = entry.change
            && let Some(text) = write.patch.get("text")
        {
            assert!(
                !seen.contains(text),
                "{what}: {} repeats an earlier write",
                entry.seq
            );
            seen.push(text.clone());
        }
    }
}

/// Has each operation of a script fail, `lasting` in a row, and requires that the store tells the truth and goes on.
///
/// Faults that last begin once the store is open: a program that gives up opening it forgets what a failed sync lost.
fn fault_at_every_operation(
    number: u64,
    kind: FaultKind,
    lasting: u64,
    cache_bytes: usize,
    step: usize,
) -> Vec<Told> {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(500 + number));
    let script = script(&mut dice);
    let healthy = SimDisk::new(1);
    drop(open(&healthy, cache_bytes).expect("the disk is well"));
    let first = if lasting == 1 || kind == FaultKind::Read {
        0
    } else {
        healthy.ops()
    };
    let healthy = SimDisk::new(1);
    let (store, told) = run_on_faulty(&healthy, &script, cache_bytes);
    assert!(told.iter().all(|told| *told == Told::Written));
    let count = if kind == FaultKind::Read {
        healthy.reads()
    } else {
        healthy.ops()
    };
    drop(store);
    let mut all = Vec::new();
    for at in (first..count).step_by(step) {
        let what = format!("script {number}, {kind:?} at {at} for {lasting}");
        let disk = SimDisk::new(dice.roll());
        disk.fail(Fault {
            at: at..at + lasting,
            kind,
        });
        let (mut store, told) = run_on_faulty(&disk, &script, cache_bytes);
        assert_told_the_truth(&what, &mut store, &disk, &script, &told);
        all.extend(told);
    }
    all
}

#[test]
fn the_store_gets_over_a_fault_of_any_operation_and_tells_the_truth_about_it() {
    let kinds = [
        FaultKind::Refused,
        FaultKind::Full,
        FaultKind::SyncLost,
        FaultKind::SyncForgotten,
        FaultKind::Halved,
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let told = fault_at_every_operation(number as u64, kind, 1, 1024 * 1024, 1);
        assert!(
            !told.contains(&Told::Unknown),
            "after one fault the store finds the outcome out by itself"
        );
    }
}

#[test]
fn the_store_gets_over_faults_that_last_into_its_recovery() {
    let mut told = Vec::new();
    for (number, lasting) in [2, 3, 8, 20].into_iter().enumerate() {
        for kind in [FaultKind::Refused, FaultKind::SyncLost, FaultKind::Full] {
            told.extend(fault_at_every_operation(
                20 + number as u64,
                kind,
                lasting,
                1024 * 1024,
                5,
            ));
        }
    }
    for case in [Told::Written, Told::NotWritten, Told::Unknown] {
        assert!(told.contains(&case), "the sweep must have seen {case:?}");
    }
}

#[test]
fn the_store_gets_over_faults_of_pages_written_before_their_commit() {
    fault_at_every_operation(40, FaultKind::Refused, 1, 0, 5);
    fault_at_every_operation(41, FaultKind::SyncLost, 1, 0, 5);
}

#[test]
fn the_store_gets_over_a_fault_of_any_read() {
    fault_at_every_operation(50, FaultKind::Read, 1, 0, 7);
    fault_at_every_operation(51, FaultKind::Read, 3, 0, 7);
}

#[test]
fn a_full_disk_can_be_read_and_is_written_again_once_there_is_room() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(900));
    let script: Vec<Vec<Step>> = (0..6).flat_map(|_| script(&mut dice)).collect();
    for full_from in [1, script.len() / 3, script.len() / 2] {
        let disk = SimDisk::new(dice.roll());
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        let mut told = Vec::new();
        for (number, steps) in script.iter().enumerate() {
            if number == full_from {
                disk.fill();
            }
            told.push(match run(&mut store, steps) {
                Ok(_) => Told::Written,
                Err(StorageError::Full) => Told::NotWritten,
                Err(error) => panic!("a full disk is not {error}"),
            });
            let snapshot = store.reader().snapshot().expect("a full disk can be read");
            snapshot
                .query(&Query::all("Note"))
                .expect("a full disk can be read");
        }
        let what = format!("full from transaction {full_from} on");
        assert_told_the_truth(&what, &mut store, &disk, &script, &told);
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_not_trusted_blindly() {
    let mut dice = Dice::new(seed().wrapping_mul(1_000).wrapping_add(950));
    let script = script(&mut dice);
    let mut opened = 0;
    for number in 0..60 {
        let disk = SimDisk::new(dice.roll());
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        let mut rows = Rows::new();
        let mut boundaries = vec![boundary(&store, &disk, &rows)];
        let from = usize::try_from(dice.below(STEPS)).expect("small");
        for (number, steps) in script.iter().enumerate() {
            if number == from {
                disk.lie();
            }
            run(&mut store, steps).expect("so the disk says");
            foresee(&mut rows, steps);
            boundaries.push(boundary(&store, &disk, &rows));
        }
        disk.crash();
        disk.heal();
        // The promise is broken by the disk; what is left is whole, or is said to be damaged.
        match open(&disk, 1024 * 1024) {
            Ok(store) => {
                assert_recovered(&format!("lie {number}"), &store, &boundaries, 0);
                opened += 1;
            }
            Err(StorageError::Corrupt { .. }) => {}
            Err(error) => panic!("lie {number}: {error}"),
        }
    }
    assert!(opened > 0, "some of the lies did no harm");
}

/// A text that would be a frame of the journal with an entry far ahead, if bytes alone made one, at any position.
fn text_like_a_frame() -> String {
    let fake = (0_u64..).find_map(|number| {
        let mut frame = format!("z{number:07}aaaabbbb").into_bytes();
        frame.extend_from_slice(&24_u32.to_le_bytes());
        frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        String::from_utf8(frame).ok()
    });
    let fake = fake.expect("some number gives a checksum that is text");
    (0..fake.len())
        .map(|shift| format!("{}{}", "x".repeat(shift % 2), fake.repeat(80)))
        .collect()
}

#[test]
fn nothing_that_a_record_holds_is_taken_for_a_part_of_the_journal() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
    for (id, text) in [
        ("n0", "x".repeat(10_000)),
        ("n1", text_like_a_frame()),
        // These fill the journal, so that it begins again in front of the text.
        ("n2", "x".repeat(30_000)),
        ("n3", "x".repeat(30_000)),
        ("n4", "short".to_owned()),
    ] {
        run(&mut store, &[Step::Save(id.into(), text)]).expect("the disk is well");
    }
    let killed = SimDisk::with_image(disk.image(Survival::Nothing), 2);
    drop(store);
    for (what, disk) in [("closed", &disk), ("killed", &killed)] {
        let store = open(disk, 1024 * 1024).unwrap_or_else(|error| panic!("{what}: {error}"));
        let rows = rows_of(&store.reader().snapshot().expect("the disk is well"));
        assert_eq!(rows.len(), 5, "{what}");
    }
}

#[test]
fn what_a_program_left_in_the_systems_cache_is_on_disk_before_the_next_one_builds_on_it() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well");
        run(&mut store, &[Step::Save("a".into(), "one".into())]).expect("the disk is well");
        let next = disk.ops();
        // The write succeeds, its sync fails and loses it beneath the cache, and then the program gives up.
        for (at, kind) in [
            (next + 1..next + 2, FaultKind::SyncLost),
            (next + 2..next + 1_000, FaultKind::Refused),
        ] {
            disk.fail(Fault { at, kind });
        }
        let told = run(&mut store, &[Step::Save("b".into(), "two".into())]);
        assert!(told.is_err(), "{told:?}");
        drop(store);
        disk.heal();
        let mut store = open(&disk, 1024 * 1024).expect("the disk is well again");
        run(&mut store, &[Step::Save("c".into(), "three".into())]).expect("the disk is well again");
        let rows = rows_of(&store.reader().snapshot().expect("the disk is well"));
        let cut = SimDisk::with_image(disk.image(Survival::Nothing), 7);
        let store = open(&cut, 1024 * 1024).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = rows_of(&store.reader().snapshot().expect("the disk is well"));
        assert_eq!(found, rows, "seed {seed}");
    }
}
