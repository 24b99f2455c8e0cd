//! What the tests of this crate share: a small schema, stores on any disk, and saves as the app makes them.
//!
//! Owns the notation of fields, which is that of the core's tests: `name=value` with blanks between; a value is
//! `null`, `true`, `false`, a number, a list such as `[a,b]`, or else a text without blanks.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use landfall_core::{
    Association, Change, EnumDef, FieldDef, FieldMap, FieldName, FieldType, IndexDef, KeyDef, KeyKind,
    ListDef, ModelDef, ModelParts, MutationRef, NonModelDef, Origin, Record, RecordId, RecordKey,
    RecordState, RecordVersion, Remote, RemoteRecord, SaveRequest, Scalar, Schema, SchemaParts, Sent, Seq,
    SyncMetadata, Timestamps, Value, Write, decide_delete, decide_save,
};

use crate::disk::DATABASE_MAGIC;
use crate::{
    Applied, CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Query, Snapshot, StorageError, Store, StoreOptions,
    Txn,
};

/// The models that the tests speak of: `Blog` has posts, `Post` has a field of every kind and many indexes, `Order`
/// has a composite key.
pub(crate) fn shop() -> Schema {
    built(shop_parts())
}

/// Builds a schema that is sound.
pub(crate) fn built(parts: SchemaParts) -> Schema {
    Schema::build(parts).expect("the schema of the test is sound")
}

/// The unchecked parts of [`shop`].
pub(crate) fn shop_parts() -> SchemaParts {
    let blog = model("Blog", &["id: ID!", "name: String!"]);
    let mut post = model(
        "Post",
        &[
            "id: ID!",
            "title: String!",
            "rating: Int",
            "score: Float",
            "live: Boolean",
            "day: AWSDate",
            "tags: [String]",
        ],
    );
    post.fields.extend([
        FieldDef {
            ty: FieldType::Enum("Status".into()),
            ..field("status: String")
        },
        FieldDef {
            ty: FieldType::NonModel("Place".into()),
            ..field("place: String")
        },
        field("extra: AWSJSON"),
        field("blogId: ID"),
        relation(
            "blog",
            "Blog",
            Association::BelongsTo {
                targets: names(&["blogId"]),
            },
        ),
    ]);
    post.indexes = vec![
        index("byStatus", &["status", "rating"]),
        index("byRating", &["rating"]),
        index("byScore", &["score", "title"]),
        index("byLive", &["live"]),
        index("byTitle", &["title"]),
        index("byExtra", &["extra"]),
        index("byTags", &["tags", "rating"]),
    ];
    let mut order = model(
        "Order",
        &["customer: ID!", "number: Int!", "state: String", "blogId: ID"],
    );
    order.key = KeyDef {
        kind: KeyKind::Composite,
        fields: names(&["customer", "number"]),
        declared: true,
    };
    let place = vec![field("city: String!"), field("lat: Float")];
    SchemaParts {
        models: vec![blog, post, order],
        enums: vec![EnumDef {
            name: "Status".into(),
            values: vec!["DRAFT".into(), "LIVE".into(), "OLD".into()],
        }],
        non_models: vec![NonModelDef {
            name: "Place".into(),
            fields: place.into_iter().map(|f| (f.name.clone(), f)).collect(),
        }],
        ..SchemaParts::default()
    }
}

/// A model with a managed `id`, no index and the usual timestamps.
pub(crate) fn model(name: &str, fields: &[&str]) -> ModelParts {
    ModelParts {
        name: name.into(),
        plural_name: format!("{name}s"),
        syncable: true,
        fields: fields.iter().map(|text| field(text)).collect(),
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    }
}

/// A secondary index without a query field.
pub(crate) fn index(name: &str, fields: &[&str]) -> IndexDef {
    IndexDef {
        name: name.into(),
        fields: names(fields),
        query_field: None,
    }
}

/// A field of a scalar type, written as in SDL: `tags: [String!]!`.
pub(crate) fn field(text: &str) -> FieldDef {
    let (name, shape) = text.split_once(": ").expect("a name and a type");
    let scalar = Scalar::from_name(shape.trim_matches(['[', ']', '!'])).expect("a scalar");
    FieldDef {
        list: shape.starts_with('[').then(|| ListDef {
            elements_required: shape.contains("!]"),
        }),
        required: shape.ends_with('!'),
        ..FieldDef::scalar(name, scalar)
    }
}

/// A relation field.
pub(crate) fn relation(name: &str, other: &str, association: Association) -> FieldDef {
    FieldDef {
        ty: FieldType::Model(other.into()),
        association: Some(association),
        ..FieldDef::scalar(name, Scalar::String)
    }
}

/// Field names.
pub(crate) fn names(names: &[&str]) -> Vec<FieldName> {
    names.iter().map(|name| FieldName::from(*name)).collect()
}

/// Reads a value of the notation.
pub(crate) fn value(text: &str) -> Value {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return Value::List(
            items
                .split(',')
                .filter(|item| !item.is_empty())
                .map(value)
                .collect(),
        );
    }
    match text {
        "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(int), _) => Value::Int(int),
            (_, Ok(float)) if text.contains('.') => Value::Float(float),
            _ => Value::from(text),
        },
    }
}

/// Reads fields of the notation.
pub(crate) fn fields(text: &str) -> FieldMap {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').expect("a name and a value"))
        .map(|(name, text)| (FieldName::from(name), value(text)))
        .collect()
}

/// Options of a store of [`shop`].
pub(crate) fn options(disk: Disk) -> StoreOptions {
    options_with(disk, shop())
}

/// Options of a store of any schema.
pub(crate) fn options_with(disk: Disk, schema: Schema) -> StoreOptions {
    StoreOptions {
        disk,
        schema: Arc::new(schema),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 1_000,
    }
}

/// A store of [`shop`] in memory.
pub(crate) fn in_memory() -> Store {
    Store::open(options(Disk::Memory)).expect("memory is always there")
}

/// A store of [`shop`] in a directory.
pub(crate) fn in_directory(path: &Path) -> Store {
    Store::open(options(Disk::Directory(path.to_owned()))).expect("the directory can be used")
}

/// Saves a record of named fields inside a transaction, as the app does after it read the record.
pub(crate) fn put(txn: &mut Txn<'_>, name: &str, text: &str) -> Result<Option<Applied>, StorageError> {
    put_fields(txn, name, &fields(text))
}

/// The same with fields as values.
pub(crate) fn put_fields(
    txn: &mut Txn<'_>,
    name: &str,
    fields: &FieldMap,
) -> Result<Option<Applied>, StorageError> {
    let def = txn.model(name)?;
    let id = RecordId::of_fields(&def, fields).expect("the fields hold an identifier");
    let state = txn.state(&RecordKey::new(name, id))?;
    let values = laid_over(&def, &state, fields);
    let request = SaveRequest {
        values,
        base: state.row.clone(),
        seen: state.sync,
        condition: None,
        queued: def.syncable,
        group: None,
    };
    let schema = Arc::clone(txn.schema());
    let write = decide_save(&schema, &def, &state, request).expect("the record fits its model");
    write
        .map(|write| txn.append(Origin::App, None, Change::Write(write)))
        .transpose()
}

fn laid_over(def: &ModelDef, state: &RecordState, fields: &FieldMap) -> Vec<Value> {
    let mut values = state
        .row
        .clone()
        .unwrap_or_else(|| vec![Value::Null; def.stored_len()]);
    for (name, value) in fields {
        values[def.slot(name).expect("a stored field").index()] = value.clone();
    }
    values
}

/// Deletes a record inside a transaction.
pub(crate) fn remove(txn: &mut Txn<'_>, key: &RecordKey) -> Result<Option<Applied>, StorageError> {
    let def = txn.model(&key.model)?;
    let state = txn.state(key)?;
    let schema = Arc::clone(txn.schema());
    let write: Option<Write> =
        decide_delete(&schema, &def, &state, key.clone(), None, true, None).expect("nothing forbids it");
    write
        .map(|write| txn.append(Origin::App, None, Change::Write(write)))
        .transpose()
}

/// Saves a record in a transaction of its own; returns what the entry changed.
pub(crate) fn save(store: &mut Store, name: &str, text: &str) -> Applied {
    store
        .write(5, |txn| put(txn, name, text))
        .expect("the disk is well")
        .value
        .expect("something changed")
}

/// Appends any change in a transaction of its own.
pub(crate) fn append(store: &mut Store, change: Change) -> Result<Applied, StorageError> {
    store
        .write(5, |txn| txn.append(Origin::App, None, change))
        .map(|written| written.value)
}

/// The change that a mutation was handed to the transport.
pub(crate) fn sent(key: &RecordKey, mutation: Seq) -> Change {
    Change::Sent(Sent {
        key: key.clone(),
        mutation,
        attempt: 1,
    })
}

/// The change that the answer to a mutation will not come.
pub(crate) fn lost(key: &RecordKey, mutation: Seq) -> Change {
    Change::OutcomeUnknown(MutationRef {
        key: key.clone(),
        mutation,
    })
}

/// A record of the server.
pub(crate) fn remote(key: &RecordKey, version: u64, text: &str) -> RemoteRecord {
    let sync = SyncMetadata {
        version: RecordVersion(version),
        last_changed_at_ms: 10,
        deleted: text == "deleted",
    };
    let fields = if sync.deleted {
        FieldMap::new()
    } else {
        fields(text)
    };
    RemoteRecord {
        id: key.id.clone(),
        fields,
        sync,
    }
}

/// The change that a record of the server arrived.
pub(crate) fn arrived(key: &RecordKey, version: u64, text: &str) -> Change {
    Change::Remote(Remote {
        key: key.clone(),
        remote: remote(key, version, text),
    })
}

/// The key of a post.
pub(crate) fn post(id: &str) -> RecordKey {
    RecordKey::new("Post", id)
}

/// A snapshot of the newest commit.
pub(crate) fn snapshot(store: &Store) -> Snapshot {
    store.reader().snapshot().expect("the disk is well")
}

/// All records of a model as the app sees them.
pub(crate) fn all(snapshot: &Snapshot, model: &str) -> Vec<Record> {
    snapshot.query(&Query::all(model)).expect("the disk is well")
}

/// Everything that a store holds, in words: records with what is pending, and the log. Equal stores have equal words.
pub(crate) fn everything(store: &Store) -> String {
    let snapshot = snapshot(store);
    let mut text = String::new();
    for model in snapshot.schema().models() {
        for record in all(&snapshot, &model.name) {
            let key = RecordKey {
                model: model.name.clone(),
                id: record.id().expect("stored records have one"),
            };
            text += &format!("{key} {:?}\n", snapshot.state(&key).expect("readable"));
        }
        text += &format!(
            "{} {:?}\n",
            model.name,
            snapshot.cursor(&model.name).expect("readable")
        );
    }
    for entry in snapshot.log(.., usize::MAX).expect("readable") {
        text += &format!("{entry:?}\n");
    }
    text
}

/// That the projections are those of the log.
pub(crate) fn assert_sound(store: &Store) {
    let found = snapshot(store).verify().expect("the log is sound");
    assert_eq!(found.differences, [] as [String; 0]);
}

/// Bytes of a page of the database.
pub(crate) const PAGE: usize = 4_096;

/// Where in a file the leaves of the database begin that hold one of those marks.
pub(crate) fn leaves_holding(file: &[u8], marks: &[&[u8]]) -> Vec<usize> {
    /// First byte of a leaf of a tree.
    const LEAF: u8 = 1;
    let start = file
        .windows(DATABASE_MAGIC.len())
        .position(|window| window == DATABASE_MAGIC)
        .expect("it has a database");
    (start..file.len() - PAGE)
        .step_by(PAGE)
        .filter(|at| {
            let page = &file[*at..*at + PAGE];
            let holds = |mark: &&[u8]| page.windows(mark.len()).any(|window| window == *mark);
            page[0] == LEAF && marks.iter().any(holds)
        })
        .collect()
}

/// A disk behind the cache of a system: what was written can be read at once, and is on the disk after the next sync. A sync that
/// fails has the system forget that there was something to write, as Linux does.
#[derive(Clone, Debug)]
pub(crate) struct CachedDisk {
    held: Arc<Mutex<Held>>,
    /// Syncs that were asked for.
    pub(crate) syncs: Arc<AtomicU64>,
    /// The first of them that fails, with all that follow it, for lack of room.
    pub(crate) full_from: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Held {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
    /// Written since the last sync.
    dirty: Vec<std::ops::Range<usize>>,
}

impl Default for CachedDisk {
    fn default() -> Self {
        Self {
            held: Arc::default(),
            syncs: Arc::default(),
            full_from: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }
}

impl CachedDisk {
    pub(crate) fn disk(&self) -> Disk {
        let disk = self.clone();
        Disk::Custom(Arc::new(move || Ok(Box::new(disk.clone()))))
    }

    /// What is left when the power goes now.
    pub(crate) fn after_power_cut(&self) -> Self {
        let on_disk = self.held().on_disk.clone();
        Self::holding(on_disk)
    }

    /// A disk that holds these bytes.
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        *disk.held() = Held {
            cached: bytes.clone(),
            on_disk: bytes,
            dirty: Vec::new(),
        };
        disk
    }

    /// The bytes as they are read now.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.held().cached.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no test panics while it holds the disk")
    }
}

impl crate::StorageBackend for CachedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.held().cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("it fits memory");
        let held = self.held();
        let bytes = held.cached.get(start..start.saturating_add(out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).expect("it fits memory");
        self.held().cached.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut held = self.held();
        let held = &mut *held;
        let dirty = std::mem::take(&mut held.dirty);
        if self.syncs.fetch_add(1, Ordering::SeqCst) >= self.full_from.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        held.on_disk.resize(held.cached.len(), 0);
        for range in dirty {
            let range = range.start.min(held.cached.len())..range.end.min(held.cached.len());
            held.on_disk[range.clone()].copy_from_slice(&held.cached[range]);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).expect("it fits memory");
        let range = start..start + data.len();
        let mut held = self.held();
        if held.cached.len() < range.end {
            held.cached.resize(range.end, 0);
        }
        held.cached[range.clone()].copy_from_slice(data);
        held.dirty.push(range);
        Ok(())
    }
}
