//! What the clients of a scenario do, and what is done to them.
//!
//! Owns [`work`]. Each client acts on a stream of chance of its own.

use landfall::{DataStore, Error, Record, RecordKey, Value};

use super::ledger::Ledger;
use crate::client::SimClient;
use crate::clock::pass;
use crate::random::{Seed, Stream};

/// Longest pause between two actions of a client, in virtual milliseconds.
const PAUSE_MS_MAX: u64 = 3_000;

/// Longest time that a client stays switched off after a crash, in virtual milliseconds.
const OFF_MS_MAX: u64 = 20_000;

/// Longest partition, in virtual milliseconds.
const PARTITION_MS_MAX: u64 = 60_000;

/// Boards that all clients share.
const BOARDS: [&str; 3] = ["board 1", "board 2", "board 3"];

/// What a client does next.
enum Action {
    Create,
    Update,
    Delete,
    Share,
    Partition,
    BreakSockets,
    Crash,
    CrashWhileSaving,
}

/// Lets the clients work for so long. Returns what went wrong that must not.
pub(super) async fn work(
    clients: &mut [SimClient],
    seed: Seed,
    busy_ms: u64,
    ledger: &mut Ledger,
) -> Vec<String> {
    let ledger = std::cell::RefCell::new(ledger);
    let lives = clients.iter_mut().map(|client| {
        let chance = seed.stream(&format!("workload {}", client.name()));
        let worker = Worker {
            client,
            chance,
            ledger: &ledger,
            serial: 0,
        };
        worker.live(busy_ms)
    });
    futures_util::future::join_all(lives)
        .await
        .into_iter()
        .flatten()
        .collect()
}

struct Worker<'a, 'l> {
    client: &'a mut SimClient,
    chance: Stream,
    ledger: &'a std::cell::RefCell<&'l mut Ledger>,
    serial: u64,
}

impl Worker<'_, '_> {
    async fn live(mut self, busy_ms: u64) -> Vec<String> {
        let mut violations = Vec::new();
        if let Err(error) = self.client.boot().await {
            return vec![format!("{} does not start: {error}", self.client.name())];
        }
        let mut passed = 0;
        while passed < busy_ms {
            let pause = 1 + self.chance.below(PAUSE_MS_MAX);
            pass(pause).await;
            passed += pause;
            if let Err(error) = self.act().await {
                violations.push(format!("{}: {error}", self.client.name()));
            }
        }
        violations
    }

    async fn act(&mut self) -> Result<(), Error> {
        match self.choose() {
            Action::Create => self.create().await,
            Action::Update => self.update().await,
            Action::Delete => self.delete().await,
            Action::Share => self.share().await,
            Action::Partition => self.partition(),
            Action::BreakSockets => {
                self.client.link().break_sockets();
                Ok(())
            }
            Action::Crash => self.crash().await,
            Action::CrashWhileSaving => self.crash_while_saving().await,
        }
    }

    fn choose(&self) -> Action {
        match self.chance.below(100) {
            0..40 => Action::Create,
            40..70 => Action::Update,
            70..76 => Action::Delete,
            76..88 => Action::Share,
            88..92 => Action::Partition,
            92..95 => Action::BreakSockets,
            95..98 => Action::Crash,
            _ => Action::CrashWhileSaving,
        }
    }

    fn store(&self) -> DataStore {
        self.client.store().clone()
    }

    fn text(&mut self) -> String {
        self.serial += 1;
        format!("{} {}", self.client.name(), self.serial)
    }

    fn note(&mut self) -> Result<(RecordKey, Record), Error> {
        let store = self.store();
        let key = store.records().new_id("Note");
        let mut record = Record::new(store.records().def("Note")?, Vec::new());
        record.set("id", key.id.to_string().into());
        record.set("owner", self.client.name().into());
        record.set("text", self.text().into());
        Ok((key, record))
    }

    async fn create(&mut self) -> Result<(), Error> {
        let (key, record) = self.note()?;
        let text = record.get("text").cloned().unwrap_or_default();
        self.ledger.borrow_mut().attempt(&key, Some(text.clone()));
        self.store().records().save(record).await?;
        self.ledger.borrow_mut().acknowledge(&key, Some(text));
        Ok(())
    }

    async fn update(&mut self) -> Result<(), Error> {
        let Some((key, mut record)) = self.any_note()? else {
            return Ok(());
        };
        let text = Value::from(self.text());
        record.set("text", text.clone());
        record.set(
            "count",
            Value::Int(i64::try_from(self.chance.below(1_000)).unwrap_or(0)),
        );
        self.ledger.borrow_mut().attempt(&key, Some(text.clone()));
        self.store().records().save(record).await?;
        self.ledger.borrow_mut().acknowledge(&key, Some(text));
        Ok(())
    }

    async fn delete(&mut self) -> Result<(), Error> {
        let Some((key, _)) = self.any_note()? else {
            return Ok(());
        };
        self.ledger.borrow_mut().attempt(&key, None);
        self.store().records().delete(key.clone()).await?;
        self.ledger.borrow_mut().acknowledge(&key, None);
        Ok(())
    }

    /// Changes a board that others change as well; who wins is the server's business, agreement is ours.
    async fn share(&mut self) -> Result<(), Error> {
        let store = self.store();
        let id = landfall::RecordId::text(*self.chance.pick(&BOARDS));
        let found = store.records().query(&landfall::Query {
            predicate: landfall::Predicate::field("id", landfall::Op::Eq(id.to_string().into())),
            ..landfall::Query::all("Board")
        })?;
        let mut record = match found.into_iter().next() {
            Some(record) => record,
            // The first client makes all boards; the others wait until they hear of them.
            None if self.client.name() == "anna" => {
                let mut record = Record::new(store.records().def("Board")?, Vec::new());
                record.set("id", id.to_string().into());
                record
            }
            None => return Ok(()),
        };
        record.set("title", self.text().into());
        record.set(
            "stars",
            Value::Int(i64::try_from(self.chance.below(6)).unwrap_or(0)),
        );
        store.records().save(record).await?;
        Ok(())
    }

    /// One of the client's own notes.
    fn any_note(&self) -> Result<Option<(RecordKey, Record)>, Error> {
        let owner = landfall::Predicate::field("owner", landfall::Op::Eq(self.client.name().into()));
        let query = landfall::Query {
            predicate: owner,
            ..landfall::Query::all("Note")
        };
        let notes = self.store().records().query(&query)?;
        if notes.is_empty() {
            return Ok(None);
        }
        let record = self.chance.pick(&notes).clone();
        Ok(record.id().map(|id| (RecordKey::new("Note", id), record)))
    }

    fn partition(&mut self) -> Result<(), Error> {
        self.ledger.borrow_mut().partitions += 1;
        let link = self.client.link();
        link.partition();
        let ms = 1 + self.chance.below(PARTITION_MS_MAX);
        actix::spawn(async move {
            pass(ms).await;
            link.repair();
        });
        Ok(())
    }

    async fn crash(&mut self) -> Result<(), Error> {
        self.ledger.borrow_mut().crashes += 1;
        self.client.crash().await;
        pass(self.chance.below(OFF_MS_MAX)).await;
        self.client.boot().await
    }

    /// Crashes with a save under way: it may be there afterwards or not.
    async fn crash_while_saving(&mut self) -> Result<(), Error> {
        let (key, record) = self.note()?;
        let text = record.get("text").cloned().unwrap_or_default();
        self.ledger.borrow_mut().attempt(&key, Some(text));
        let store = self.store();
        actix::spawn(async move {
            // Nobody waits for the answer, which is what a crash means.
            drop(store.records().save(record).await);
        });
        if self.chance.happens(500) {
            pass(1).await;
        }
        self.crash().await
    }
}
