//! Data in and out of a store as text: JSON lines for everything, CSV for one model.
//!
//! Owns the calls and their bounds; `transfer/csv.rs` owns the form of CSV. What is imported is saved like anything
//! that an app saves: validated, logged, and queued for the server.
//!
//! Invariants: 1. an export is of one moment; 2. what was exported and is imported into an empty store gives the same
//! fields of the same records; 3. an import stops at the first line that does not fit and says which; the lines before
//! it, up to a whole batch, are saved.

mod csv;

use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use landfall_actors::{WriteOp, record_json};
use landfall_core::{
    Base, FieldDef, FieldType, KeyKind, ModelDef, Page, Predicate, RECORD_BYTES_MAX, Record, RecordKey,
    Scalar, Value, WriteRefused, fill_defaults, validate,
};
use landfall_storage::{Cursor, Query, Snapshot};
use serde_json::{Map, Value as Json, json};

use crate::datastore::DataStore;
use crate::error::Error;

/// Records that an import saves in one transaction, and that an export reads at a time.
const BATCH_LEN: usize = 500;

/// Longest line or CSV record that is read, in bytes: that of the largest record that can be saved. A byte of a text takes
/// six where it has to be escaped, and a number takes less than three times its size; the rest is for the names of fields.
pub const IMPORT_LINE_LEN_MAX: usize = 6 * RECORD_BYTES_MAX + (1 << 20);

/// How far an export or import has got; see [`DataStore::export_json_lines`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferProgress {
    /// Records that are done.
    pub records: u64,
    /// The last line of them in what is imported; 0 in an export.
    pub lines: u64,
}

/// Why data could not be imported or exported.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # landfall::inline_schema!("type Post @model { title: String! }");
/// # let store = landfall::DataStore::builder(schema()).open().await?;
/// let error = store.import_csv("Post", "titel\nReef\n".as_bytes(), |_| ()).await.err().ok_or("refused")?;
/// assert_eq!(error.to_string(), "line 1: `Post` has no field `titel`");
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// A line that is not understood or does not fit its model.
    #[error("line {line}: {reason}")]
    BadLine {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Reading or writing the text failed.
    #[error("the data cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<landfall_storage::StorageError> for TransferError {
    fn from(error: landfall_storage::StorageError) -> Self {
        Self::Store(error.into())
    }
}

impl DataStore {
    /// Writes all records of all models as JSON lines, such as `{"model":"Post","fields":{"id":"p1","title":"T"}}`;
    /// returns their number. Models come before those that refer to them.
    ///
    /// Nulls are left out. Identifiers and timestamps are kept, and so they are by an import into a store that has not the
    /// record; what only sync knows (versions, what waits for the server) is not part of an export but of a backup.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { id: ID! @primaryKey title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().id("p1").title("Reef").build()?).await?;
    /// let mut text = Vec::new();
    /// store.export_json_lines(&mut text, |at| println!("{} records", at.records))?;
    /// let line = r#"{"model":"Post","fields":{"id":"p1","title":"Reef"}}"#;
    /// assert_eq!(String::from_utf8(text)?.trim_end(), line);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TransferError::Io`], [`TransferError::Store`].
    pub fn export_json_lines(
        &self,
        mut to: impl Write,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<u64, TransferError> {
        let snapshot = self.snapshot()?;
        let schema = self.schema();
        let mut names: Vec<_> = schema.topological_levels().iter().flatten().cloned().collect();
        let rest: Vec<_> = schema.models().map(|def| def.name.clone()).collect();
        names.extend(
            rest.into_iter()
                .filter(|name| !names.contains(name))
                .collect::<Vec<_>>(),
        );
        let mut at = TransferProgress::default();
        for name in names {
            each_batch(&snapshot, &name, |records| {
                for record in records {
                    let fields = match record_json(&record.clone().with_sync(None)) {
                        Json::Object(fields) => {
                            fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
                        }
                        _ => Map::new(),
                    };
                    writeln!(
                        to,
                        "{}",
                        json!({ "model": name.as_str(), "fields": Json::Object(fields) })
                    )?;
                    at.records += 1;
                }
                progress(at);
                Ok(())
            })?;
        }
        to.flush()?;
        Ok(at.records)
    }

    /// Saves the records of JSON lines as [`export_json_lines`](Self::export_json_lines) writes them; returns their
    /// number. A record that exists gets the values of the line, and those fields that the line has not become null. A new
    /// record keeps its timestamps until a server gives it others.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { id: ID! @primaryKey title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// use landfall::TransferError;
    ///
    /// let text = r#"{"model":"Post","fields":{"id":"p1","title":"Reef"}}
    ///               {"model":"Post","fields":{"id":"p2"}}"#;
    /// let stopped = store.import_json_lines(text.as_bytes(), |_| ()).await;
    /// assert!(matches!(stopped, Err(TransferError::BadLine { line: 2, .. })), "a post needs a title");
    ///
    /// let first = text.lines().next().unwrap_or_default();
    /// assert_eq!(store.import_json_lines(first.as_bytes(), |_| ()).await?, 1);
    /// assert!(store.get::<Post>("p1")?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TransferError::BadLine`] for the first line that does not fit; what comes before it in whole batches is saved.
    pub async fn import_json_lines(
        &self,
        from: impl BufRead,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<u64, TransferError> {
        let mut batch = Batch::new(self);
        let mut lines = Lines { from, number: 0 };
        while let Some((number, line)) = lines.next()? {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let bad = |reason: String| TransferError::BadLine { line: number, reason };
            let json: Json = serde_json::from_slice(&line).map_err(|error| bad(error.to_string()))?;
            let record = self.record_of_json(&json).map_err(bad)?;
            batch.push(number, record, &mut progress).await?;
        }
        batch.save(&mut progress).await?;
        Ok(batch.at.records)
    }

    fn record_of_json(&self, json: &Json) -> Result<Record, String> {
        let (Some(model), Some(Json::Object(fields))) =
            (json.get("model").and_then(Json::as_str), json.get("fields"))
        else {
            return Err("a line is {\"model\": name, \"fields\": {...}}".to_owned());
        };
        let def = self.records().def(model).map_err(|error| error.to_string())?;
        let mut record = Record::new(Arc::clone(&def), Vec::new());
        for (name, value) in fields {
            if !record.set(name, Value::from(value)) {
                let known: Vec<&str> = def.stored_fields().map(|field| field.name.as_str()).collect();
                return Err(format!(
                    "`{model}` has no field `{name}`, only {}",
                    known.join(", ")
                ));
            }
        }
        Ok(record)
    }

    /// Writes all records of a model as CSV (RFC 4180), with the names of the fields in the first line; returns their
    /// number.
    ///
    /// A null is an empty cell, an empty text is `""`. Lists, objects and JSON are JSON text.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { id: ID! @primaryKey title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// store.save(Post::builder().id("p1").title("Reef, low").build()?).await?;
    /// let mut text = Vec::new();
    /// store.export_csv("Post", &mut text, |_| ())?;
    /// let text = String::from_utf8(text)?;
    /// assert!(text.starts_with("id,title,rating") && text.contains("p1,\"Reef, low\","));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TransferError::Io`], [`TransferError::Store`].
    pub fn export_csv(
        &self,
        model: &str,
        mut to: impl Write,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<u64, TransferError> {
        let snapshot = self.snapshot()?;
        let def = self.records().def(model)?;
        let names: Vec<Option<String>> = def
            .stored_fields()
            .map(|field| Some(field.name.to_string()))
            .collect();
        csv::write_record(&mut to, &names)?;
        let mut at = TransferProgress::default();
        each_batch(&snapshot, model, |records| {
            for record in records {
                let cells: Vec<Option<String>> = def
                    .stored_fields()
                    .zip(record.values())
                    .map(|(field, value)| cell(field, value))
                    .collect();
                csv::write_record(&mut to, &cells)?;
                at.records += 1;
            }
            progress(at);
            Ok(())
        })?;
        to.flush()?;
        Ok(at.records)
    }

    /// Saves the records of a CSV text whose first line names fields of the model; returns their number. Fields that
    /// are not named are null; a record without an identifier gets one if the store makes those of the model.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # landfall::inline_schema!("type Post @model { id: ID! @primaryKey title: String! rating: Int }");
    /// # let store = landfall::DataStore::builder(schema()).open().await?;
    /// let text = "title,rating\nReef,5\nWeir,\n";
    /// assert_eq!(store.import_csv("Post", text.as_bytes(), |_| ()).await?, 2);
    /// assert_eq!(store.count(Post::rating().is_null())?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TransferError::BadLine`] for the first line that does not fit; what comes before it in whole batches is saved.
    pub async fn import_csv(
        &self,
        model: &str,
        from: impl BufRead,
        mut progress: impl FnMut(TransferProgress),
    ) -> Result<u64, TransferError> {
        let def = self.records().def(model)?;
        let mut reader = csv::Reader::new(from);
        let Some((line, header)) = reader.next()? else {
            return Ok(0);
        };
        let columns = header
            .into_iter()
            .map(|name| {
                let name = name.unwrap_or_default();
                def.stored_fields()
                    .find(|field| *field.name == *name)
                    .cloned()
                    .ok_or_else(|| TransferError::BadLine {
                        line,
                        reason: format!("`{model}` has no field `{name}`"),
                    })
            })
            .collect::<Result<Vec<FieldDef>, _>>()?;
        let mut batch = Batch::new(self);
        while let Some((line, cells)) = reader.next()? {
            let bad = |reason: String| TransferError::BadLine { line, reason };
            let record = self.record_of_cells(&def, &columns, cells).map_err(bad)?;
            batch.push(line, record, &mut progress).await?;
        }
        batch.save(&mut progress).await?;
        Ok(batch.at.records)
    }

    fn record_of_cells(
        &self,
        def: &Arc<ModelDef>,
        columns: &[FieldDef],
        cells: Vec<Option<String>>,
    ) -> Result<Record, String> {
        if cells.len() != columns.len() {
            return Err(format!(
                "{} cells, but the first line names {} fields",
                cells.len(),
                columns.len()
            ));
        }
        let mut record = Record::new(Arc::clone(def), Vec::new());
        for (field, cell) in columns.iter().zip(cells) {
            record.set(&field.name, parsed(field, cell)?);
        }
        let makes_ids = !matches!(def.key.kind, KeyKind::Custom | KeyKind::Composite);
        if makes_ids && record.id().is_none() {
            let made = self.records().new_id(def.name.clone());
            record.set(&def.key.fields[0], made.id.to_string().into());
        }
        Ok(record)
    }
}

/// Records that wait to be saved together, with the lines that they come from.
struct Batch<'s> {
    store: &'s DataStore,
    ops: Vec<WriteOp>,
    first_line: u64,
    at: TransferProgress,
}

impl<'s> Batch<'s> {
    fn new(store: &'s DataStore) -> Self {
        Self {
            store,
            ops: Vec::new(),
            first_line: 0,
            at: TransferProgress::default(),
        }
    }

    async fn push(
        &mut self,
        line: u64,
        record: Record,
        progress: &mut impl FnMut(TransferProgress),
    ) -> Result<(), TransferError> {
        if self.ops.is_empty() {
            self.first_line = line;
        }
        self.at.lines = line;
        let op = self.as_import(&record).map_err(|error| match error {
            Error::Refused(refused) => TransferError::BadLine {
                line,
                reason: refused.to_string(),
            },
            error => error.into(),
        })?;
        self.ops.push(op);
        if self.ops.len() >= BATCH_LEN {
            self.save(progress).await?;
        }
        Ok(())
    }

    async fn save(&mut self, progress: &mut impl FnMut(TransferProgress)) -> Result<(), TransferError> {
        let ops = std::mem::take(&mut self.ops);
        if ops.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(ops.len()).unwrap_or(u64::MAX);
        self.store
            .records()
            .write_apart(ops)
            .await
            .map_err(|error| match error {
                // Each of them fitted by itself, so it is what others did meanwhile.
                Error::Refused(refused) => TransferError::BadLine {
                    line: self.first_line,
                    reason: format!("of this line or one of the {} after it: {refused}", count - 1),
                },
                error => error.into(),
            })?;
        self.at.records += count;
        progress(self.at);
        Ok(())
    }

    /// The record as a change of the stored one, so that what only the server writes is left alone.
    fn as_import(&self, record: &Record) -> Result<WriteOp, Error> {
        let (def, id) = (record.def(), record.id());
        let stored = match &id {
            Some(id) => self.store.records().get(&def.name, id)?,
            None => None,
        };
        let mut checked = record.values().to_vec();
        if stored.is_none() {
            fill_defaults(def, &mut checked);
        }
        validate(self.store.schema(), def, &mut checked).map_err(WriteRefused::from)?;
        if let (false, Some(id)) = (def.is_writable(), id) {
            let model = def.name.clone();
            let key = RecordKey::new(model.clone(), id);
            return Err(WriteRefused::PullOnly { model, key }.into());
        }
        let (seen, base) = match stored {
            Some(stored) => (stored.sync(), stored.base().clone()),
            None => (None, Base::NONE),
        };
        Ok(WriteOp::Import {
            model: def.name.clone(),
            values: record.values().to_vec(),
            base,
            seen,
        })
    }
}

/// Hands out all records of a model in batches, in the order of their identifiers.
fn each_batch(
    snapshot: &Snapshot,
    model: &str,
    mut each: impl FnMut(&[Record]) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    let query = Query {
        page: Page::first(BATCH_LEN),
        predicate: Predicate::All,
        ..Query::all(model)
    };
    let mut after: Option<Cursor> = None;
    loop {
        let page = snapshot.page_after(&query, after.as_ref())?;
        if !page.records.is_empty() {
            each(&page.records)?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// A value as the text of a cell; `None` if it is null.
fn cell(field: &FieldDef, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if !is_json(field) => Some(text.clone()),
        value => Some(value.to_string()),
    }
}

fn is_json(field: &FieldDef) -> bool {
    field.list.is_some()
        || matches!(
            field.ty,
            FieldType::Scalar(Scalar::AwsJson) | FieldType::NonModel(_)
        )
}

/// The value of a cell. Whether it fits its field is seen when it is saved.
fn parsed(field: &FieldDef, cell: Option<String>) -> Result<Value, String> {
    let Some(text) = cell else { return Ok(Value::Null) };
    let value = if is_json(field) {
        serde_json::from_str::<Json>(&text).ok().map(Value::from)
    } else {
        match &field.ty {
            FieldType::Scalar(Scalar::Int | Scalar::AwsTimestamp) => text.parse().ok().map(Value::Int),
            FieldType::Scalar(Scalar::Float) => text
                .parse::<f64>()
                .ok()
                .filter(|x| x.is_finite())
                .map(Value::Float),
            FieldType::Scalar(Scalar::Boolean) => text.parse().ok().map(Value::Bool),
            _ => return Ok(Value::String(text)),
        }
    };
    value.ok_or_else(|| format!("`{}` takes {field}, not {text:?}", field.name))
}

/// Lines of a text, none longer than a bound.
struct Lines<R> {
    from: R,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, TransferError> {
        let mut line = Vec::new();
        let bound = u64::try_from(IMPORT_LINE_LEN_MAX + 1).unwrap_or(u64::MAX);
        let read = self.from.by_ref().take(bound).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.len() > IMPORT_LINE_LEN_MAX {
            return Err(TransferError::BadLine {
                line: self.number,
                reason: format!("it is longer than {IMPORT_LINE_LEN_MAX} bytes"),
            });
        }
        Ok(Some((self.number, line)))
    }
}
