//! What happened to a store: its log, states of the past, and the reasons for a value.
//!
//! Owns the names under which the storage crate's reading of logs is part of the public interface. A store that is open
//! in this process gives its [`History`] by [`DataStore::history`](crate::DataStore::history); one that no process has
//! open, and an exported log, are opened with [`open_for_inspection`].
//!
//! ```
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # landfall::inline_schema!("type Post @model { title: String! rating: Int }");
//! # let store = landfall::DataStore::builder(schema()).open().await?;
//! use landfall::history::{Filter, LogChange, Scope};
//!
//! let post = store.save(Post::builder().title("Reef").rating(3).build()?).await?;
//! store.save(Post::copy_of(&post, |post| post.rating = Some(5))).await?;
//! let history = store.history()?;
//! let (_, newest) = history.bounds();
//!
//! // What happened, and why a field is what it is.
//! assert!(matches!(history.entry(newest)?.change, LogChange::Write(_)));
//! assert_eq!(history.list(&Filter { model: Some("Post".into()), ..Filter::default() }, 10)?.matched, 2);
//! for line in store.history_of::<Post>(post.id.as_str())?.why(Some("rating")).lines {
//!     println!("{} {}", line.seq, line.text);
//! }
//!
//! // What there was before the newest entry, and what it changed.
//! let before = history.as_of(landfall::Seq(newest.0 - 1), &Scope::All)?;
//! assert_eq!(before.query(&landfall::Query::all("Post"))?[0].get("rating"), Some(&3.into()));
//! assert_eq!(history.diff(before.seq, newest)?.records.len(), 1);
//! # Ok(()) }
//! ```

pub use landfall_core::{
    Acknowledged, Change as LogChange, Checkpoint, Conflict, Decision, Evicted, MutationRef, Opaque,
    Quarantined, RecordState, Refused, Remote, RemoteRecord, SchemaChanged, Sent, SyncCursor, Write,
};
pub use landfall_storage::history::{
    CHAIN_MAX, Check, CursorDifference, DAMAGE_MAX, Damage, Difference, Exported, Failure, FieldChange,
    Filter, GAPS_MAX, History, Invariant, Line, Listing, LiveLog, Merge, Other, PastState,
    REDACTION_KEY_BYTES, RecordDifference, RecordHistory, Redaction, Rule, Scope, Stats, Step, Tally, Why,
    change_json, entry_json, open_for_inspection, origin_name,
};
