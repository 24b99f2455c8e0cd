//! Plans of the simulator, carried out for real: processes, sockets, files, and `kill -9` where a plan cuts the power.
//!
//! Owns the same bodies without the simulation: what users do and in which order is drawn from a seed as for `landfall
//! sim`, and in the end all must agree. What only a simulated network or disk can do is left out. It is slower by some
//! orders and not the same twice; it is here to show where the simulation and the world differ.

use std::collections::{BTreeMap, VecDeque};

use landfall_sim::{Action, Fault, Knobs, Plan, Profile, generate_for};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::kill::wait_until_sent;
use crate::support::landfall::repository;
use crate::support::line_client::LineClient;
use crate::support::serve::{API_KEY, ServeProcess};

/// Plans that are carried out.
const SEEDS: std::ops::Range<u64> = 1..4;

/// Work of each, in the plan's milliseconds; here the steps follow each other without pause.
const BUSY_MS: u64 = 20_000;

/// For how many steps somebody is offline.
const OFFLINE_STEPS: usize = 8;

/// Somebody with a device.
struct Person {
    name: String,
    folder: TempDir,
    store: Option<LineClient>,
    /// Identifier and text of each note, by number; `None` once it is deleted.
    notes: BTreeMap<u32, (Value, Option<String>)>,
    /// Step at which it is online again.
    offline_until: Option<usize>,
    serial: u32,
}

/// What is done next: by a user, or to a device.
enum Step {
    Act(Action),
    Kill,
    GoOffline,
}

impl Person {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            store: None,
            notes: BTreeMap::new(),
            offline_until: None,
            serial: 0,
        }
    }

    fn store(&mut self) -> &mut LineClient {
        self.store.as_mut().expect("it was opened")
    }

    fn open(&mut self, url: &str) {
        let data = self.folder.path().to_str().expect("its name is text");
        let args = ["--data", data, "--endpoint", url, "--api-key", API_KEY];
        let mut store = LineClient::landfall(&self.name, &schema(), &args);
        store.ok(&json!({"op": "start"}));
        self.store = Some(store);
        self.offline_until = None;
    }

    /// What was acknowledged before a kill is there after it.
    fn is_killed(&mut self, url: &str) {
        if let Some(store) = self.store.take() {
            store.kill_9();
        }
        self.open(url);
        let notes: Vec<(Value, String)> = self
            .notes
            .values()
            .filter_map(|(id, text)| Some((id.clone(), text.clone()?)))
            .collect();
        for (id, text) in notes {
            self.store().wait_for("Note", &id, &json!({ "text": text }));
        }
    }

    fn act(&mut self, action: &Action, boards: &mut BTreeMap<u32, Value>) {
        self.serial += 1;
        let text = format!("{}#{}", self.name, self.serial);
        match action {
            Action::Create { note } if !self.notes.contains_key(note) => {
                let fields = json!({"owner": self.name, "text": text});
                let saved = self.store().save("Note", &fields);
                self.notes.insert(*note, (saved["id"].clone(), Some(text)));
            }
            Action::Update { note } | Action::Chain { note, .. } | Action::EditStale { note, .. } => {
                let Some((id, Some(_))) = self.notes.get(note).cloned() else {
                    return;
                };
                self.store().update("Note", &id, &json!({ "text": text }));
                self.notes.insert(*note, (id, Some(text)));
            }
            Action::Delete { note } => {
                let Some((id, Some(_))) = self.notes.get(note).cloned() else {
                    return;
                };
                self.store().delete("Note", &id);
                self.notes.insert(*note, (id, None));
            }
            Action::Retitle { board } | Action::Revise { board, .. } | Action::Star { board } => {
                if let Some(id) = boards.get(board) {
                    let change =
                        json!({"op": "update", "model": "Board", "id": id, "fields": {"title": text}});
                    // Whoever has not heard of the board yet cannot change it.
                    drop(self.store().send(&change));
                } else {
                    let saved = self.store().save("Board", &json!({ "title": text }));
                    boards.insert(*board, saved["id"].clone());
                }
            }
            _ => {}
        }
    }
}

fn schema() -> std::path::PathBuf {
    repository().join("sim/src/scenario.graphql")
}

/// The steps of a plan that can be carried out here, in order of time.
fn steps(plan: &Plan) -> Vec<(usize, Step)> {
    let actions = plan
        .actions
        .iter()
        .map(|step| (step.at_ms, step.client, Step::Act(step.action.clone())));
    let faults = plan.faults.iter().filter_map(|step| match step.fault {
        Fault::Crash { client, .. } => Some((step.at_ms, client, Step::Kill)),
        Fault::Partition { client, .. } => Some((step.at_ms, client, Step::GoOffline)),
        _ => None,
    });
    let mut steps: Vec<_> = actions.chain(faults).collect();
    steps.sort_by_key(|(at_ms, client, _)| (*at_ms, *client));
    steps
        .into_iter()
        .map(|(_, client, step)| (client, step))
        .collect()
}

fn carry_out(plan: &Plan) {
    let server = ServeProcess::start(&schema(), &[]);
    let mut people: Vec<Person> = plan
        .clients
        .iter()
        .map(|client| Person::new(&client.name))
        .collect();
    people.iter_mut().for_each(|person| person.open(&server.url));
    let mut boards = BTreeMap::new();
    let mut offline: VecDeque<(usize, usize)> = VecDeque::new();
    for (number, (client, step)) in steps(plan).into_iter().enumerate() {
        while offline.front().is_some_and(|(until, _)| *until <= number) {
            if let Some((until, client)) = offline.pop_front()
                && people[client].offline_until == Some(until)
            {
                people[client].offline_until = None;
                people[client].store().go_online();
            }
        }
        let person = &mut people[client];
        match step {
            Step::Act(action) => person.act(&action, &mut boards),
            Step::Kill => person.is_killed(&server.url),
            Step::GoOffline if person.offline_until.is_none() => {
                person.store().go_offline();
                person.offline_until = Some(number + OFFLINE_STEPS);
                offline.push_back((number + OFFLINE_STEPS, client));
            }
            Step::GoOffline => {}
        }
    }
    for person in &mut people {
        if person.offline_until.take().is_some() {
            person.store().go_online();
        }
        wait_until_sent(person.store());
    }
    assert_agreement(&server, &mut people);
}

/// Everybody holds every note as its owner left it, and every board as the server has it.
fn assert_agreement(server: &ServeProcess, people: &mut [Person]) {
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut fresh = LineClient::landfall("a fresh store", &schema(), &args);
    fresh.ok(&json!({"op": "start"}));
    let boards = fresh.ok(&json!({"op": "query", "model": "Board"}));
    let notes: Vec<_> = people
        .iter()
        .flat_map(|person| person.notes.values().cloned())
        .collect();
    let stores = people.iter_mut().map(Person::store);
    for store in stores.chain([&mut fresh]) {
        for (id, text) in &notes {
            match text {
                Some(text) => drop(store.wait_for("Note", id, &json!({ "text": text }))),
                None => store.wait_gone("Note", id),
            }
        }
        for board in boards.as_array().expect("a query answers with a list") {
            store.wait_for("Board", &board["id"], &json!({"title": board["title"]}));
        }
    }
}

#[test]
fn plans_of_the_simulator_end_in_agreement_with_real_processes_that_are_killed() {
    let knobs = Knobs {
        crash: 120,
        partition: 120,
        ..Knobs::default()
    };
    for seed in SEEDS {
        println!("seed {seed}");
        carry_out(&generate_for(seed, Profile::Chaos, Some(knobs), BUSY_MS, Some(3)));
    }
}
