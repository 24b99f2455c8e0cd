//! Stores that are right under every reading of what is not known of AppSync.
//!
//! Two of them write, delete, lose the network and come back, with a backend whose switches and strategy are drawn; at the
//! end both must hold what the backend holds. Each reading is drawn at least once. A failure names its seed and its
//! switches, and the same seed gives the same run.

use std::collections::BTreeSet;
use std::rc::Rc;

use landfall::{ModelQuery, Value};
use landfall_backend::{BackendConfig, ConflictStrategy, Switches};
use landfall_sim::{
    API_KEY, ClientPlan, Configure, Seed, SimClient, TraceLog, World as SimWorld, in_virtual_time, pass,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

landfall::inline_schema!("type Note @model { text: String! count: Int tags: [String] }");

const MINUTE_MS: u64 = 60_000;

/// The seed of the first run; each further one has the next.
const SEED: u64 = 0x0050_717c;

/// Things that happen in a run.
const STEPS: usize = 25;

/// Switches that are drawn in a run beside the one that it is for.
const OTHERS: usize = 3;

/// How often what was refused is given up and what is left is waited for: giving one up may let another go.
const ROUNDS_MAX: usize = 20;

struct World {
    sim: SimWorld,
}

impl World {
    fn new(config: BackendConfig, seed: Seed, trace: &TraceLog) -> Self {
        let sim = SimWorld::serving(schema(), config, seed, trace);
        Self { sim }
    }

    fn client(&mut self, name: &str) -> SimClient {
        let configure: Configure = Rc::new(|builder| builder);
        self.sim.join(ClientPlan::plain(name), schema(), &configure)
    }

    /// What is live in the backend, one text for each record.
    fn records(&self) -> BTreeSet<String> {
        let records = self
            .sim
            .network
            .backend()
            .records("Note")
            .expect("memory can be read");
        let live = records.into_iter().filter(|record| !record.sync.deleted);
        live.map(|record| {
            let field = |name: &str| json(record.fields.get(name).unwrap_or(&Value::Null));
            format!(
                "{} {} {} {}",
                record.id,
                field("text"),
                field("count"),
                field("tags")
            )
        })
        .collect()
    }
}

fn notes(client: &SimClient) -> Vec<Note> {
    let all = ModelQuery::<Note>::all();
    client.store().query(all).expect("the disk is well")
}

fn held(client: &SimClient) -> BTreeSet<String> {
    notes(client)
        .iter()
        .map(|note| {
            let (text, count, tags) = (json(&note.text), json(&note.count), json(&note.tags));
            format!("{} {text} {count} {tags}", note.id)
        })
        .collect()
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("values are JSON")
}

/// One thing that one of the clients does, or that happens to it.
async fn step(client: &SimClient, draw: &mut impl FnMut(usize) -> usize) {
    let mine = notes(client);
    let store = client.store();
    let some = if mine.is_empty() {
        None
    } else {
        mine.get(draw(mine.len()))
    };
    match (draw(12), some) {
        (0..=2, _) | (3..=8, None) => {
            let note = Note::builder().text(format!("text {}", draw(1_000)));
            let note = if draw(2) == 0 { note.count(1) } else { note };
            store
                .save(note.build().expect("it is valid"))
                .await
                .expect("it is saved");
        }
        (3..=7, Some(note)) => {
            let what = draw(4);
            let number = i32::try_from(draw(1_000)).expect("it is small");
            let edited = Note::copy_of(note, |note| match what {
                0 => note.text = format!("text {number}"),
                1 => note.count = Some(number),
                2 => note.count = None,
                _ => note.tags = Some(vec![Some(format!("tag {number}"))]),
            });
            store.save(edited).await.expect("it is saved");
        }
        (8, Some(note)) => store.delete(note).await.map(drop).expect("it is deleted"),
        (9, _) => client.link().partition(),
        (10, _) => client.link().repair(),
        // The longer one is longer than the backend remembers its changes.
        _ => pass([1, 40][draw(2)] * MINUTE_MS).await,
    }
    pass(draw(3) as u64 * 5_000).await;
}

/// Gives up what was refused until nothing waits any more.
async fn settle(clients: &[SimClient; 2]) {
    for _ in 0..ROUNDS_MAX {
        pass(10 * MINUTE_MS).await;
        let mut waiting = 0;
        for client in clients {
            let outbox = client
                .store()
                .outbox()
                .list(usize::MAX)
                .expect("the disk is well");
            waiting += outbox.len();
            for mutation in client
                .store()
                .outbox()
                .parked(usize::MAX)
                .expect("the disk is well")
            {
                // It may have been given up together with one before it.
                client.store().outbox().discard(mutation.seq).await.unwrap_or(());
            }
        }
        if waiting == 0 {
            return;
        }
    }
    panic!("something waits for ever");
}

fn run(seed: u64, switch: &str) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |below: usize| random.next_u32() as usize % below;
    let texts = Switches::texts();
    let mut switches = Switches::default();
    let mut set: Vec<&str> = (0..OTHERS).map(|_| texts[draw(texts.len())].as_str()).collect();
    set.push(switch);
    for text in &set {
        switches.set(text).expect("it is a switch");
    }
    let conflict = [
        ConflictStrategy::Automerge,
        ConflictStrategy::OptimisticConcurrency,
    ][draw(2)];
    let context = format!("seed {seed:#x}, {set:?}, {conflict:?}");
    let config = BackendConfig {
        conflict,
        switches,
        ..BackendConfig::with_api_key(API_KEY)
    };
    let trace = TraceLog::default();
    in_virtual_time(&trace, async {
        let mut world = World::new(config, Seed(seed), &trace);
        let clients = ["anna", "bert"].map(|name| world.client(name));
        for client in &clients {
            client.boot().await.expect("it opens");
        }
        for _ in 0..STEPS {
            step(&clients[draw(2)], &mut draw).await;
        }
        for client in &clients {
            client.link().repair();
        }
        settle(&clients).await;
        for client in &clients {
            client.store().sync_now().await.expect("it syncs");
        }
        pass(MINUTE_MS).await;
        for client in &clients {
            assert_eq!(held(client), world.records(), "{}: {context}", client.name());
        }
        world.sim.look();
        let violations = world.sim.findings().violations();
        assert!(violations.is_empty(), "{context}: {violations:#?}");
    });
}

#[test]
fn stores_agree_with_the_backend_under_every_reading() {
    for (seed, switch) in (SEED..).zip(Switches::texts()) {
        run(seed, &switch);
    }
}
