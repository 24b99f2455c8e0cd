//! What the program's log says: each entry of the event log by its number, and nothing that is in a record. And the metrics,
//! which count the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Once;

use landfall::history::LogChange as Change;
use landfall::{DataStore, LogEntry, Metrics};
use landfall_backend::{BackendConfig, ConflictStrategy};
use landfall_sim::{SimClient, pass};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::support::{MINUTE_MS, World, config, create, find, recount, simulate};

/// A line of the program's log.
#[derive(Clone, Debug)]
struct Said {
    target: String,
    level: tracing::Level,
    fields: BTreeMap<String, String>,
    /// The spans around it, outermost first, each with its fields.
    spans: Vec<(String, BTreeMap<String, String>)>,
}

impl Said {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

thread_local! {
    /// What was said on this thread, if somebody listens there.
    static SAID: RefCell<Option<Vec<Said>>> = const { RefCell::new(None) };
}

/// Keeps what is said on threads that listen. There is one for all: what is enabled is found out for a whole program, so that
/// listeners that come and go with tests which run beside each other would miss lines.
struct Listener;

struct Fields<'f>(&'f mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

/// Under which the name of a span is among its fields; events have no such field.
const SPAN: &str = "name of the span";

fn keep(said: &Said) {
    SAID.with_borrow_mut(|all| all.iter_mut().for_each(|all| all.push(said.clone())));
}

struct OfSpan(BTreeMap<String, String>);

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Listener {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>, _: Context<'_, S>) -> bool {
        SAID.with_borrow(Option::is_some)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let span = context.span(id).expect("it was made just now");
        span.extensions_mut().insert(OfSpan(fields.clone()));
        let metadata = attributes.metadata();
        fields.insert(SPAN.to_owned(), metadata.name().to_owned());
        keep(&Said {
            target: metadata.target().to_owned(),
            level: *metadata.level(),
            fields,
            spans: Vec::new(),
        });
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        let around = context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root);
        let spans = around.map(|span| {
            let extensions = span.extensions();
            let fields = extensions.get::<OfSpan>().map(|of| of.0.clone());
            (span.name().to_owned(), fields.unwrap_or_default())
        });
        let said = Said {
            target: event.metadata().target().to_owned(),
            level: *event.metadata().level(),
            fields,
            spans: spans.collect(),
        };
        keep(&said);
    }
}

/// Runs something with a listener; returns what was said, and what came of it.
fn listening<T>(work: impl FnOnce() -> T) -> (Vec<Said>, T) {
    static LISTENER: Once = Once::new();
    LISTENER.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Listener);
        tracing::subscriber::set_global_default(subscriber).expect("nobody else sets one");
    });
    SAID.set(Some(Vec::new()));
    let result = work();
    (SAID.take().unwrap_or_default(), result)
}

/// An entry as the program's log names it: number, kind, record, mutation, cause.
fn named(entry: &LogEntry) -> [String; 5] {
    let text = |value: Option<String>| value.unwrap_or_default();
    let key = entry.change.key();
    [
        entry.seq.to_string(),
        entry.change.name().to_owned(),
        text(key.map(|key| format!("{}/{}", key.model, key.id))),
        text(entry.change.mutation().map(|seq| seq.to_string())),
        text(entry.cause.map(|seq| seq.to_string())),
    ]
}

fn entries(store: &DataStore) -> Vec<LogEntry> {
    let snapshot = store.snapshot().expect("the disk is well");
    snapshot.log(.., usize::MAX).expect("the log is whole")
}

struct Run {
    logs: [Vec<LogEntry>; 2],
    metrics: Metrics,
}

/// Anna edits while she is away, meets a conflict and a deletion, and hears of what Bert does meanwhile and later.
async fn a_day() -> Run {
    let world = World::new(BackendConfig {
        conflict: ConflictStrategy::OptimisticConcurrency,
        ..config()
    });
    let (anna, bert) = (world.client("anna"), world.client("bert"));
    let pages_of = |client: &SimClient| client.store().metrics().expect("the disk is well").sync_pages;
    anna.boot().await.expect("nothing goes wrong here");
    bert.boot().await.expect("nothing goes wrong here");
    create(&bert, "shared-secret", 1).await;
    create(&bert, "doomed-secret", 1).await;
    pass(MINUTE_MS).await;
    assert!(pages_of(&anna) > 0);
    anna.link().partition();
    pass(MINUTE_MS).await;
    recount(&anna, "shared-secret", 2).await;
    recount(&anna, "doomed-secret", 2).await;
    let away = anna.store().metrics().expect("the disk is well");
    assert_eq!((away.waiting, away.queued), (2, 2), "{away:?}");
    recount(&bert, "shared-secret", 3).await;
    let doomed = find(&bert, "doomed-secret");
    bert.store().delete(&doomed).await.expect("it is there");
    pass(MINUTE_MS).await;
    anna.link().repair();
    pass(5 * MINUTE_MS).await;
    Run {
        logs: [entries(&anna.store()), entries(&bert.store())],
        metrics: anna.store().metrics().expect("the disk is well"),
    }
}

#[test]
fn a_line_of_the_programs_log_leads_to_an_entry_and_back() {
    let (said, run) = listening(|| simulate(a_day()));
    let mut told: Vec<[String; 5]> = said
        .iter()
        .filter(|said| said.target == "landfall::entry")
        .map(|said| {
            let record = match (said.field("model"), said.field("id")) {
                (_, "") => String::new(),
                (model, id) => format!("{model}/{id}"),
            };
            let field = |name| said.field(name).to_owned();
            [
                field("entry"),
                field("kind"),
                record,
                field("mutation"),
                field("cause"),
            ]
        })
        .collect();
    let mut logged: Vec<[String; 5]> = run.logs.iter().flatten().map(named).collect();
    told.sort();
    logged.sort();
    assert_eq!(
        told, logged,
        "each entry is said once, with its number and what it is about"
    );
    for kind in [
        "write",
        "sent",
        "acknowledged",
        "conflict",
        "remote",
        "checkpoint",
        "schema changed",
    ] {
        assert!(told.iter().any(|one| one[1] == kind), "there was no `{kind}`");
    }
    let of_kind = |kind: &str| {
        said.iter()
            .find(|said| said.field("kind") == kind)
            .expect("it was said")
    };
    assert_eq!(of_kind("conflict").level, tracing::Level::INFO);
    assert_eq!(of_kind("sent").level, tracing::Level::DEBUG);
    assert_eq!(of_kind("remote").level, tracing::Level::TRACE);
    assert_ne!(of_kind("conflict").field("decision"), "");
}

#[test]
fn pages_commits_and_calls_name_the_entries_that_they_became() {
    let (said, run) = listening(|| simulate(a_day()));
    let of = |target: &str| -> Vec<&Said> { said.iter().filter(|said| said.target == target).collect() };
    let is_in_a_log = |entry: &str| {
        let mut all = run.logs.iter().flatten();
        all.any(|logged| logged.seq.to_string() == entry)
    };
    for (target, name) in [("landfall::commit", "last"), ("landfall::call", "entry")] {
        let told = of(target);
        assert!(!told.is_empty(), "nothing was said by {target}");
        for said in told {
            assert!(is_in_a_log(said.field(name)), "{said:?}");
        }
    }
    let stored = of("landfall::remote");
    for origin in ["Sync", "Subscription"] {
        let news = stored
            .iter()
            .find(|said| said.field("origin") == origin && !said.field("last").is_empty());
        let news = news.unwrap_or_else(|| panic!("no news by {origin}: {stored:#?}"));
        assert!(is_in_a_log(news.field("first")) && is_in_a_log(news.field("last")));
    }
    // The app's own span is around what its call has become; and what storage does names the message that it handles.
    let handled = of("landfall::entry")
        .into_iter()
        .filter(|said| said.field("kind") != "schema changed");
    for said in handled {
        let (name, fields) = said.spans.last().expect("it is said while a message is handled");
        assert_eq!(
            (name.as_str(), fields["actor"].as_str()),
            ("handle", "StorageActor"),
            "{said:?}"
        );
    }
}

#[test]
fn a_request_goes_in_a_span_that_names_its_mutation() {
    let (said, run) = listening(|| simulate(a_day()));
    let spans = |target: &str| -> Vec<&Said> {
        let of_target = said.iter().filter(|said| said.target == target);
        of_target.filter(|said| !said.field(SPAN).is_empty()).collect()
    };
    let requests = spans("landfall::mutation");
    let sent: usize = run
        .logs
        .iter()
        .flatten()
        .filter(|entry| matches!(entry.change, Change::Sent(_)))
        .count();
    assert!(
        requests.len() >= sent && sent > 0,
        "{} spans for {sent} requests",
        requests.len()
    );
    for request in requests {
        let mut writes = run.logs.iter().flatten();
        let names_a_write = writes.any(|entry| {
            matches!(entry.change, Change::Write(_)) && entry.seq.to_string() == request.field("mutation")
        });
        assert!(names_a_write, "{request:?}");
    }
    assert!(
        spans("landfall::sync")
            .iter()
            .any(|page| page.field("model") == "Note")
    );
}

#[test]
fn no_value_of_a_record_is_in_the_programs_log() {
    let (said, _) = listening(|| simulate(a_day()));
    for said in said {
        assert!(!format!("{said:?}").contains("secret"), "{said:?}");
    }
}

#[test]
fn metrics_count_what_the_log_has() {
    let run = simulate(a_day());
    let metrics = &run.metrics;
    let log = &run.logs[0];
    let count = |is: fn(&Change) -> bool| log.iter().filter(|entry| is(&entry.change)).count() as u64;
    // What opening appends is not counted: it is there before anybody could ask.
    let opening = count(|change| matches!(change, Change::SchemaChanged(_)));
    assert_eq!(metrics.entries, log.len() as u64 - opening, "{metrics:?}");
    assert_eq!(metrics.newest, log.last().expect("there are some").seq);
    assert_eq!(metrics.writes, count(|change| matches!(change, Change::Write(_))));
    assert_eq!(metrics.sent, count(|change| matches!(change, Change::Sent(_))));
    assert_eq!(
        metrics.acknowledged,
        count(|change| matches!(change, Change::Acknowledged(_)))
    );
    assert_eq!(
        metrics.conflicts,
        count(|change| matches!(change, Change::Conflict(_)))
    );
    assert_eq!(
        metrics.records_taken,
        count(|change| matches!(change, Change::Remote(_)))
    );
    assert!(
        metrics.conflicts >= 2 && metrics.records_taken >= 2,
        "{metrics:?}"
    );
    assert!(metrics.sync_pages > 0 && metrics.sync_records > 0, "{metrics:?}");
    assert!(
        metrics.subscription_batches > 0 && metrics.frames > metrics.subscription_batches,
        "{metrics:?}"
    );
    assert!(
        metrics.sockets_opened >= 2 && metrics.sockets_lost >= 1,
        "she came back: {metrics:?}"
    );
    assert!(
        metrics.commits > 0 && metrics.commands > 0 && metrics.commits_failed == 0,
        "{metrics:?}"
    );
    assert_eq!(
        (metrics.waiting, metrics.queued, metrics.parked),
        (0, 0, 0),
        "{metrics:?}"
    );
}
