//! `landfall demo`: the main job, told as it happens.
//!
//! A backend on loopback and two stores on disk: edits offline on both sides, a conflict, reconnection, agreement.
//! Ends with exit status 1 if the two and the backend do not agree.

mod edits;
mod server;
mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use landfall::{DataStore, Record, RecordId, Schema, Value};
use landfall_core::FieldMap;

use crate::signals::Signals;
use crate::{schema_file, serve};
use edits::Edits;
use server::Server;
use story::Story;

/// Needs no network and leaves nothing behind.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Resolve conflicts on the server (automerge) or in the stores (optimistic-concurrency).
    #[arg(long, value_enum, default_value = "optimistic-concurrency")]
    conflict: Conflict,
    /// Record what the stores hear from outside in files of this directory, for `landfall replay`.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Who resolves the conflict of the story. A handler of the server's would need a program besides this one.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Conflict {
    /// The server, field by field.
    Automerge,
    /// The stores.
    OptimisticConcurrency,
}

impl From<Conflict> for serve::Conflict {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Automerge => Self::Automerge,
            Conflict::OptimisticConcurrency => Self::OptimisticConcurrency,
        }
    }
}

/// The schema of the story.
const SCHEMA: &str = "\
enum Condition { GOOD DAMAGED LOST }
type Site @model { name: String! buoys: [Buoy] @hasMany }
type Buoy @model {
  label: String!
  condition: Condition
  depthMetres: Float
  notes: String
  site: Site @belongsTo
}
";

/// How long the story waits for anything before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The key that the two stores share with the backend.
const API_KEY: &str = "da2-demo";

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let schema = Arc::new(schema_file::parse("demo.graphql", SCHEMA)?);
    let home = crate::opening::temporary("")?;
    let mut story = Story::new();
    story.scene("A backend starts");
    let mut signals = Signals::with_hang_up()?;
    let backend = serve::start(Arc::clone(&schema), API_KEY, args.conflict.into(), None, 0).await?;
    story.tell(&format!(
        "An AppSync-compatible API listens on {}.",
        backend.url()
    ));
    if let Some(directory) = &args.record {
        std::fs::create_dir_all(directory)
            .map_err(|error| miette::miette!("{}: {error}", directory.display()))?;
    }
    let sea = Sea {
        schema,
        home: home.path().to_owned(),
        url: backend.url().to_owned(),
        record: args.record,
        stores: Mutex::default(),
    };
    let played = tokio::select! {
        played = play(&mut story, &sea) => Ok(played),
        asked = signals.next() => Err(asked),
    };
    let agreed = match played {
        Ok(agreed) => agreed?,
        Err(asked) => {
            // What is still written to is not removed as a whole.
            sea.close().await;
            return Ok(asked.status());
        }
    };
    backend.shutdown().await;
    if let Some(directory) = &sea.record {
        story.tell(&format!(
            "What the stores heard from outside is in {}; play it with `landfall replay FILE`.",
            directory.display()
        ));
    }
    match agreed {
        Some(kept) => {
            story.end(&format!(
                "Both stores and the server hold the same records, with {kept} that were made offline."
            ))?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            story.fail("The stores and the server do not agree.")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Where the story happens.
struct Sea {
    schema: Arc<Schema>,
    home: PathBuf,
    url: String,
    record: Option<PathBuf>,
    /// The stores that are open, by directory.
    stores: Mutex<BTreeMap<PathBuf, DataStore>>,
}

impl Sea {
    /// Closes all stores.
    async fn close(&self) {
        let stores = std::mem::take(&mut *self.stores.lock().unwrap_or_else(PoisonError::into_inner));
        for store in stores.into_values() {
            store.close().await;
        }
    }
}

/// Plays the story; answers with the words for how many edits are in the records, or nothing if the ends do not agree.
async fn play(story: &mut Story, sea: &Sea) -> miette::Result<Option<String>> {
    story.scene("Two stores open on disk, on two boats");
    let anna = Boat::launch("Anna", sea, "anna").await?;
    let berta = Boat::launch("Berta", sea, "berta").await?;
    let site = anna
        .create(story, "Site", &[("name", "Outer Reef".into())])
        .await?;
    let site_id = id_of(&site)?;
    let fields = [
        ("label", "Buoy 7".into()),
        ("condition", "GOOD".into()),
        ("depthMetres", 12.5.into()),
        ("siteBuoysId", site_id.to_string().into()),
    ];
    let buoy = id_of(&anna.create(story, "Buoy", &fields).await?)?;
    berta
        .await_field("Buoy", &buoy, "label", &"Buoy 7".into())
        .await?;
    story
        .tell("Berta sees Buoy 7 appear: the save went to disk, to the API, and over a subscription to her.");

    story.scene("The network is cut, both go on working");
    anna.set_online(story, false)?;
    berta.set_online(story, false)?;
    let extra = [
        ("label", "Buoy 8".into()),
        ("siteBuoysId", site_id.to_string().into()),
    ];
    let second = id_of(&anna.create(story, "Buoy", &extra).await?)?;
    let mut edits = Edits::default();
    let hers = [("condition", "DAMAGED".into()), ("notes", "chain worn".into())];
    anna.update(story, "Buoy", &buoy, &hers).await?;
    edits.by(anna.name, &hers);
    let others = [("condition", "LOST".into()), ("depthMetres", 14.0.into())];
    berta.update(story, "Buoy", &buoy, &others).await?;
    edits.by(berta.name, &others);
    story.tell(&format!(
        "Unsent changes wait on disk: {} on Anna, {} on Berta. Reads and writes do not notice.",
        anna.waiting()?,
        berta.waiting()?
    ));

    story.scene("Anna closes her app and opens it again, still offline");
    let anna = anna.restart(sea).await?;
    story.tell(&format!(
        "Her {} unsent changes are still there.",
        anna.waiting()?
    ));

    story.scene("The network is back");
    anna.set_online(story, true)?;
    anna.start().await?;
    anna.await_sent().await?;
    story.tell("Anna's changes make landfall.");
    berta.set_online(story, true)?;
    berta.await_sent().await?;
    story.tell("Berta's change met Anna's: both had set the condition. The conflict was resolved, and this is how it ends:");
    let server = Server::new(Arc::clone(&sea.schema), &sea.url, API_KEY)?;
    let agreed = converge(story, &anna, &berta, &server, [&buoy, &second]).await?;
    let kept = anna.get("Buoy", &buoy)?.map(|record| edits.tell(story, &record));
    anna.store.close().await;
    berta.store.close().await;
    Ok(kept.filter(|_| agreed))
}

/// Waits until both boats and the server hold the same, and shows it.
async fn converge(
    story: &mut Story,
    anna: &Boat,
    berta: &Boat,
    server: &Server,
    [buoy, second]: [&RecordId; 2],
) -> miette::Result<bool> {
    berta.await_record("Buoy", second).await?;
    let agreed = tokio::time::timeout(PATIENCE, async {
        let mut changes = anna.observe("Buoy").await?;
        let mut others = berta.observe("Buoy").await?;
        loop {
            let hers = anna.everything()?;
            // The server is asked last: both may be behind it, and the same.
            if hers == berta.everything()? && hers == server.everything().await? {
                return miette::Result::<bool>::Ok(true);
            }
            tokio::select! {
                change = changes.next() => if change.is_none() { return Ok(false) },
                change = others.next() => if change.is_none() { return Ok(false) },
            }
        }
    });
    let agreed = agreed.await.unwrap_or(Ok(false))?;
    for boat in [anna, berta] {
        let record = boat
            .get("Buoy", buoy)?
            .ok_or_else(|| miette::miette!("{} lost Buoy 7", boat.name))?;
        story.show(boat.name, &record);
    }
    for record in server.everything().await? {
        if record.def().name == "Buoy" && record.id().as_ref() == Some(buoy) {
            story.show("The server", &record);
        }
    }
    Ok(agreed)
}

/// A store with a name.
struct Boat {
    name: &'static str,
    store: DataStore,
    directory: std::path::PathBuf,
}

impl Boat {
    async fn launch(name: &'static str, sea: &Sea, directory: &str) -> miette::Result<Self> {
        let boat = Self::open(name, sea, &sea.home.join(directory), directory).await?;
        boat.start().await?;
        Ok(boat)
    }

    async fn open(name: &'static str, sea: &Sea, directory: &Path, recording: &str) -> miette::Result<Self> {
        let mut builder = DataStore::builder(&sea.schema)
            .directory(directory)
            .endpoint(&sea.url, API_KEY);
        if let Some(records) = &sea.record {
            builder = builder.record(records.join(format!("{recording}.flight")));
        }
        let store = builder.open().await.map_err(report)?;
        sea.stores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(directory.to_owned(), store.clone());
        Ok(Self {
            name,
            store,
            directory: directory.to_owned(),
        })
    }

    async fn start(&self) -> miette::Result<()> {
        self.store.start().await.map_err(report)?;
        match tokio::time::timeout(PATIENCE, self.store.ready()).await {
            Ok(ready) => {
                ready.map_err(report)?;
                Ok(())
            }
            Err(_) => Err(miette::miette!(
                "{} is not in sync after {} s",
                self.name,
                PATIENCE.as_secs()
            )),
        }
    }

    /// Ends the store without stopping it first, and opens its directory again.
    async fn restart(self, sea: &Sea) -> miette::Result<Self> {
        let Self {
            name,
            store,
            directory,
        } = self;
        // A store is in use for as long as somebody holds it.
        sea.stores
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&directory);
        store.close().await;
        Self::open(name, sea, &directory, "anna-again").await
    }

    async fn create(
        &self,
        story: &mut Story,
        model: &str,
        fields: &[(&str, Value)],
    ) -> miette::Result<Record> {
        let def = self.store.records().def(model).map_err(report)?;
        let mut record = Record::from_fields(def, &field_map(fields));
        record.set("id", self.store.records().new_id(model).id.to_string().into());
        let saved = self.store.records().save(record).await.map_err(report)?;
        story.act(self.name, &format!("makes {model} {}", describe(fields)));
        Ok(saved)
    }

    async fn update(
        &self,
        story: &mut Story,
        model: &str,
        id: &RecordId,
        fields: &[(&str, Value)],
    ) -> miette::Result<()> {
        let mut record = self
            .get(model, id)?
            .ok_or_else(|| miette::miette!("there is no {model} {id}"))?;
        for (name, value) in fields {
            record.set(name, value.clone());
        }
        self.store.records().save(record).await.map_err(report)?;
        story.act(self.name, &format!("sets {} on the {model}", describe(fields)));
        Ok(())
    }

    fn get(&self, model: &str, id: &RecordId) -> miette::Result<Option<Record>> {
        self.store.records().get(model, id).map_err(report)
    }

    fn set_online(&self, story: &mut Story, online: bool) -> miette::Result<()> {
        self.store.set_online(online).map_err(report)?;
        story.act(self.name, if online { "is online" } else { "is offline" });
        Ok(())
    }

    fn waiting(&self) -> miette::Result<u64> {
        self.store.outbox().len().map_err(report)
    }

    async fn await_sent(&self) -> miette::Result<()> {
        match tokio::time::timeout(PATIENCE, self.store.outbox().drained()).await {
            Ok(drained) => drained.map_err(report),
            Err(_) => Err(miette::miette!(
                "{} could not send its changes in {} s",
                self.name,
                PATIENCE.as_secs()
            )),
        }
    }

    async fn observe(&self, model: &str) -> miette::Result<landfall::Observer<Record>> {
        self.store
            .records()
            .observe(model, landfall::Predicate::All)
            .await
            .map_err(report)
    }

    async fn await_record(&self, model: &str, id: &RecordId) -> miette::Result<()> {
        self.await_that(model, |boat| Ok(boat.get(model, id)?.is_some()))
            .await
    }

    async fn await_field(
        &self,
        model: &str,
        id: &RecordId,
        field: &str,
        value: &Value,
    ) -> miette::Result<()> {
        self.await_that(model, |boat| {
            Ok(boat.get(model, id)?.is_some_and(|r| r.get(field) == Some(value)))
        })
        .await
    }

    async fn await_that(
        &self,
        model: &str,
        holds: impl Fn(&Self) -> miette::Result<bool>,
    ) -> miette::Result<()> {
        let waited = tokio::time::timeout(PATIENCE, async {
            let mut changes = self.observe(model).await?;
            while !holds(self)? {
                if changes.next().await.is_none() {
                    return Err(miette::miette!("{} closed", self.name));
                }
            }
            Ok(())
        });
        waited.await.unwrap_or_else(|_| {
            Err(miette::miette!(
                "{} did not hear of it in {} s",
                self.name,
                PATIENCE.as_secs()
            ))
        })
    }

    /// Every record with its version, by model and identifier.
    fn everything(&self) -> miette::Result<Vec<Record>> {
        let mut all = Vec::new();
        for def in self.store.schema().models() {
            let mut records = self
                .store
                .records()
                .query(&landfall::Query::all(def.name.clone()))
                .map_err(report)?;
            records.sort_by_key(Record::id);
            all.extend(records);
        }
        Ok(all)
    }
}

fn field_map(fields: &[(&str, Value)]) -> FieldMap {
    fields
        .iter()
        .map(|(name, value)| ((*name).into(), value.clone()))
        .collect()
}

fn describe(fields: &[(&str, Value)]) -> String {
    let shown = fields.iter().filter(|(name, _)| !name.ends_with("Id"));
    shown
        .map(|(name, value)| format!("{name} {value}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn id_of(record: &Record) -> miette::Result<RecordId> {
    record
        .id()
        .ok_or_else(|| miette::miette!("a saved record has no identifier"))
}

fn report(error: impl std::fmt::Display) -> miette::Report {
    miette::miette!("{error}")
}
