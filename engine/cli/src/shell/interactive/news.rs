//! What happens without being asked for: records that arrive, errors, the network.
//!
//! Owns [`News`], which turns all of it into lines. Records that a sync fetches are counted, those that others change
//! from then on are shown one by one.

use std::collections::{BTreeSet, VecDeque};
use std::future::pending;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use landfall::{
    Change, ChangeKind, DataStore, Error, HubEvent, HubEvents, Observer, Origin, Record, RecordKey,
    SyncError, Value,
};
use owo_colors::OwoColorize as _;
use tokio::sync::mpsc;

use super::screen::harmless;

/// Records of one change set that are shown; more than that nobody reads.
const SHOWN_MAX: usize = 20;

/// Longest text of a value in a line, in characters.
const VALUE_CHARS_MAX: usize = 40;

/// Records saved here that are remembered until the server tells of them; far more than are under way at a time.
const OWN_MAX: usize = 1_000;

/// Messages that are remembered so as not to be said again; there are few kinds of them.
const TOLD_MAX: usize = 1_000;

/// Lines that are taken at once, before the next prompt is due.
const TAKEN_MAX: usize = 200;

/// Listens to a store that syncs.
pub(super) struct News {
    store: DataStore,
    url: String,
    hub: HubEvents,
    errors: mpsc::Receiver<SyncError>,
    changes: Vec<Observer<Record>>,
    /// Whether it was said that the store is in sync, and still is.
    in_sync: bool,
    /// Whether a model could not be synced since sync began; then it is not said.
    failed: bool,
    own: Own,
    /// What was said of errors that are about no record, since sync began.
    told: BTreeSet<String>,
    /// Changes that the server took since the outbox was last empty, and the last one of them.
    sent: (usize, String),
}

impl News {
    /// Listens from here on.
    pub(super) async fn open(
        store: &DataStore,
        url: &str,
        errors: mpsc::Receiver<SyncError>,
    ) -> Result<Self, Error> {
        let mut news = Self {
            store: store.clone(),
            url: harmless(url.split('?').next().unwrap_or_default()).into_owned(),
            hub: store.hub().await?,
            errors,
            changes: Vec::new(),
            in_sync: false,
            failed: false,
            own: Own::default(),
            told: BTreeSet::new(),
            sent: (0, String::new()),
        };
        news.observe().await?;
        Ok(news)
    }

    /// The address that it is about, without its query.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Observes every model anew, as is needed after the store was cleared.
    pub(super) async fn observe(&mut self) -> Result<(), Error> {
        self.changes.clear();
        let schema = std::sync::Arc::clone(self.store.schema());
        for def in schema.models() {
            let all = landfall::Predicate::All;
            self.changes
                .push(self.store.records().observe(&def.name, all).await?);
        }
        Ok(())
    }

    /// Waits for the next lines. Nothing is lost if it is dropped before.
    pub(super) async fn next(&mut self) -> String {
        loop {
            let text = tokio::select! {
                biased;
                Some(error) = self.errors.recv() => self.error(&error),
                Some(event) = self.hub.next() => self.event(&event),
                (index, set) = next_set(&mut self.changes) => match set {
                    Some(Ok(set)) => arrivals(&set, &mut self.own),
                    Some(Err(Error::FellBehind { .. })) => {
                        Some("more arrived than could be shown; ask with `query`".to_owned())
                    }
                    Some(Err(error)) => Some(format!("{} {error}", "error:".red().bold())),
                    None => {
                        self.ended(index).await;
                        None
                    }
                },
            };
            if let Some(text) = text {
                return text;
            }
        }
    }

    /// The lines that there are already.
    pub(super) fn take(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while lines.len() < TAKEN_MAX
            && let Some(line) = self.next().now_or_never()
        {
            lines.push(line);
        }
        lines
    }

    /// Takes note that sync is over; answers with the line that says so, unless it was said or is not true.
    pub(super) fn in_sync(&mut self) -> Option<String> {
        if self.failed {
            return None;
        }
        let news = !std::mem::replace(&mut self.in_sync, true);
        news.then(|| format!("{} with {}", "in sync".green(), self.url))
    }

    fn event(&mut self, event: &HubEvent) -> Option<String> {
        match event {
            HubEvent::SyncQueriesStarted { .. } => {
                self.told.clear();
                self.failed = false;
                None
            }
            // The error handler says why.
            HubEvent::ModelSyncFailed { .. } => {
                self.failed = true;
                None
            }
            // After an outage the store is ready as it was; that its syncs are over is told each time.
            HubEvent::Ready | HubEvent::SyncQueriesReady => self.in_sync(),
            HubEvent::OutboxMutationEnqueued { record, .. } => {
                self.own.remember(record);
                None
            }
            HubEvent::NetworkStatus { active: false } => {
                self.in_sync = false;
                let told = format!("changes wait here until {} can be reached", self.url);
                Some(format!("{} {told}", "offline:".yellow()))
            }
            HubEvent::ModelSynced {
                model,
                new,
                updated,
                deleted,
                ..
            } => {
                let parts = [(*new, "new"), (*updated, "changed"), (*deleted, "deleted")];
                let parts = parts.iter().filter(|(count, _)| *count > 0);
                let parts: Vec<String> = parts.map(|(count, word)| format!("{count} {word}")).collect();
                (!parts.is_empty()).then(|| format!("{} {model}: {}", "synced".green(), parts.join(", ")))
            }
            HubEvent::SyncTruncated { model, received } => Some(format!(
                "{} {model}: the first {received} records, as maxRecordsToSync says",
                "synced".green()
            )),
            HubEvent::OutboxMutationProcessed { kind, record } => {
                self.sent.0 += 1;
                self.sent.1 = format!("{} of {} {}", kind.verb(), record.def().name, id_of(record));
                None
            }
            HubEvent::OutboxStatus { is_empty: true } => {
                let (count, last) = std::mem::take(&mut self.sent);
                match count {
                    0 => None,
                    1 => Some(format!("{} {last}", "sent:".green())),
                    _ => Some(format!("{} {count} changes", "sent:".green())),
                }
            }
            HubEvent::OutboxPaused { reason } => {
                Some(format!("{} {}", "sending waits:".yellow(), harmless(reason)))
            }
            HubEvent::OutboxMutationRetried { key, kind } => Some(format!(
                "{} {} of {}, which the server did not know before",
                "tried again:".yellow(),
                kind.verb(),
                harmless(&key.to_string())
            )),
            HubEvent::ConflictResolved {
                key,
                accepted_remote,
                deleted,
                ..
            } => Some(resolved(key, *accepted_remote, *deleted)),
            _ => None,
        }
    }

    /// What went wrong; nothing if the same was said of another model since sync began.
    fn error(&mut self, error: &SyncError) -> Option<String> {
        let is_of_record = error.key.is_some();
        if !is_of_record && self.told.len() < TOLD_MAX && !self.told.insert(error.message.clone()) {
            return None;
        }
        let about = match (&error.key, &error.model) {
            (Some(key), _) => format!(" {key}"),
            (None, Some(model)) => format!(" {model}"),
            (None, None) => String::new(),
        };
        let told = format!(
            "{}{about}: {} ({}); {}",
            error.process.name(),
            error.message,
            error.kind.name(),
            error.suggestion
        );
        Some(format!("{} {}", "error:".red().bold(), harmless(&told)))
    }

    /// An observer ended: the store was cleared or closed.
    async fn ended(&mut self, index: usize) {
        let ended = self.changes.swap_remove(index);
        drop(ended);
        // Once the store is closed nothing more comes, and all of them go.
        self.observe().await.unwrap_or(());
    }
}

/// What becomes of a change that met a conflict.
fn resolved(key: &RecordKey, accepted_remote: bool, deleted: bool) -> String {
    let outcome = match (accepted_remote, deleted) {
        (true, true) => "it was deleted elsewhere, and stays so",
        (true, false) => "the server's record stands",
        (false, _) => "the change from here is sent again",
    };
    format!(
        "{} {}: {outcome}",
        "conflict:".yellow(),
        harmless(&key.to_string())
    )
}

/// The next set of any observer; waits for ever if there is none.
async fn next_set(changes: &mut [Observer<Record>]) -> (usize, Option<Result<Vec<Change<Record>>, Error>>) {
    if changes.is_empty() {
        return pending().await;
    }
    let sets = changes.iter_mut().map(|observer| Box::pin(observer.next_set()));
    let (set, index, _) = select_all(sets).await;
    (index, set)
}

/// What was saved here lately. The server tells everybody of it, this store too, which is no news here.
#[derive(Default)]
struct Own(VecDeque<(RecordKey, Vec<Value>)>);

impl Own {
    fn remember(&mut self, record: &Record) {
        let Some(key) = key_of(record) else { return };
        self.forget(&key);
        if self.0.len() == OWN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key, said_by(record)));
    }

    fn forget(&mut self, key: &RecordKey) {
        self.0.retain(|(known, _)| known != key);
    }

    /// Whether the change says no more than what was saved here last. If it does, what was saved is history.
    fn is_echo(&mut self, change: &Change<Record>) -> bool {
        let Some(key) = key_of(&change.element) else {
            return false;
        };
        let said = self.0.iter().find(|(known, _)| *known == key);
        if change.kind == ChangeKind::Update
            && said.is_some_and(|(_, said)| *said == said_by(&change.element))
        {
            return true;
        }
        self.forget(&key);
        false
    }
}

fn key_of(record: &Record) -> Option<RecordKey> {
    Some(RecordKey {
        model: record.def().name.clone(),
        id: record.id()?,
    })
}

/// What people say in a record, without the times that the server adds.
fn said_by(record: &Record) -> Vec<Value> {
    let fields = record.def().stored_fields().zip(record.values());
    let said = fields.filter(|(field, _)| !field.read_only);
    said.map(|(_, value)| value.clone()).collect()
}

/// What others changed, a line for each record.
fn arrivals(set: &[Change<Record>], own: &mut Own) -> Option<String> {
    let others: Vec<&Change<Record>> = set
        .iter()
        .filter(|change| change.origin == Origin::Subscription && !own.is_echo(change))
        .collect();
    let mut lines: Vec<String> = others
        .iter()
        .take(SHOWN_MAX)
        .map(|change| {
            let what = match change.kind {
                ChangeKind::Insert => "new",
                ChangeKind::Update => "changed",
                ChangeKind::Delete => "deleted",
            };
            let record = match change.kind {
                ChangeKind::Delete => id_of(&change.element),
                _ => fields_of(&change.element),
            };
            format!(
                "{} {what} {} {record}",
                "arrived:".green(),
                change.element.def().name
            )
        })
        .collect();
    if others.len() > SHOWN_MAX {
        lines.push(format!(
            "{} {} more",
            "arrived:".green(),
            others.len() - SHOWN_MAX
        ));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The fields that say something, in the form in which they are typed.
fn fields_of(record: &Record) -> String {
    let fields = record.def().stored_fields().zip(record.values());
    let shown = fields.filter(|(field, value)| !field.read_only && !value.is_null());
    let shown: Vec<String> = shown
        .map(|(field, value)| format!("{}={}", field.name, value_text(value)))
        .collect();
    shown.join(" ")
}

fn id_of(record: &Record) -> String {
    let parts = record.def().key.fields.iter();
    let parts: Vec<String> = parts
        .map(|field| {
            format!(
                "{field}={}",
                record.get(field).map_or_else(String::new, value_text)
            )
        })
        .collect();
    parts.join(" ")
}

/// A value, cut to a length that a line can bear.
fn value_text(value: &Value) -> String {
    let text = value.to_string();
    let text = harmless(&text).replace('\n', "\\n");
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}
