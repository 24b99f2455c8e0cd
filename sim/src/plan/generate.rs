//! From a seed to a plan.
//!
//! Owns [`generate`]. Each client and each kind of fault draws from a stream of its own, so that turning one knob leaves
//! everything else as it was.

use super::{Action, ActionStep, ClientPlan, Fault, FaultStep, PLAN_FORMAT, Plan, Profile, ServerPlan};
use crate::knobs::{KNOBS, Knobs};
use crate::random::{Seed, Stream};

/// Most clients of a plan that is drawn.
pub const CLIENTS_DRAWN_MAX: usize = 8;

/// Names of the clients, in order.
const NAMES: [&str; CLIENTS_DRAWN_MAX] = ["anna", "berta", "carl", "dora", "emil", "fritz", "greta", "hugo"];

/// Longest pause between two actions of a client, in milliseconds.
const PAUSE_MS_MAX: u64 = 3_000;

/// Shared boards and lists.
const BOARDS: u64 = 3;

/// Simulated work of a fault scenario, in milliseconds: a few faults, and what they lead to.
const FAULT_SCENARIO_MS: u64 = 5_000;

/// So many times as often as in long runs do faults begin in a fault scenario, so that none goes without.
const FAULT_SCENARIO_RATE: u32 = 14;

/// Longest time between reading a shared board and saving it, in milliseconds: long enough for others to be first.
const REVISE_MS_MAX: u64 = 6_000;

/// One fault in so many lasts ten times as long as others.
const LONG_ONE_IN: u64 = 8;

/// The plan of a seed. `knobs` replaces those that the seed would draw from the profile.
pub fn generate(seed: u64, profile: Profile, knobs: Option<Knobs>, busy_ms: u64) -> Plan {
    generate_for(seed, profile, knobs, busy_ms, None)
}

/// As [`generate`], for so many clients instead of as many as the seed would draw, up to [`CLIENTS_DRAWN_MAX`].
pub fn generate_for(
    seed: u64,
    profile: Profile,
    knobs: Option<Knobs>,
    busy_ms: u64,
    clients_wanted: Option<usize>,
) -> Plan {
    let chance = Seed(seed).stream("plan");
    let knobs = knobs.unwrap_or_else(|| swarm(profile.knobs(), &Seed(seed).stream("knobs")));
    let clients = clients(Seed(seed), &chance, clients_wanted);
    let mut actions: Vec<ActionStep> = (0..clients.len())
        .flat_map(|client| actions_of(client, &Seed(seed).stream(&format!("actions {client}")), busy_ms))
        .collect();
    actions.sort_by_key(|step| (step.at_ms, step.client));
    let mut faults: Vec<FaultStep> = KNOBS
        .iter()
        .flat_map(|knob| {
            let stream = Seed(seed).stream(&format!("fault {}", knob.name));
            let per_mille = knobs.get(knob.name).unwrap_or(0);
            faults_of(knob.name, per_mille, &stream, clients.len(), busy_ms)
        })
        .collect();
    faults.sort_by_key(|step| step.at_ms);
    Plan {
        format: PLAN_FORMAT,
        seed,
        profile,
        knobs,
        server: server(&chance, profile),
        clients,
        busy_ms,
        actions,
        faults,
    }
}

/// Fault scenario number so-and-so: a short run under faults, one of those that every test run of the project has.
pub fn fault_scenario(number: u64) -> Plan {
    let profiles = [
        Profile::Net,
        Profile::Server,
        Profile::Disk,
        Profile::Life,
        Profile::Chaos,
    ];
    let profile = profiles[usize::try_from(number % profiles.len() as u64).unwrap_or(0)];
    let mut knobs = swarm(profile.knobs(), &Seed(number).stream("knobs"));
    for knob in KNOBS {
        let per_mille = knobs.get(knob.name).unwrap_or(0);
        knobs.set(knob.name, (per_mille * FAULT_SCENARIO_RATE).min(1_000));
    }
    generate(number, profile, Some(knobs), FAULT_SCENARIO_MS)
}

/// Turns half of the knobs off: faults that are all on hide each other.
fn swarm(mut knobs: Knobs, chance: &Stream) -> Knobs {
    for knob in KNOBS {
        // Drawn for each knob, so that adding one at the end changes no other.
        if chance.happens(500) {
            knobs.set(knob.name, 0);
        }
    }
    knobs
}

fn clients(seed: Seed, chance: &Stream, wanted: Option<usize>) -> Vec<ClientPlan> {
    // Two or three mostly: what goes wrong between four goes wrong between three, and costs less.
    let drawn = *chance.pick(&[2, 2, 3, 3, 4]);
    let count = wanted.unwrap_or(drawn);
    NAMES
        .iter()
        .take(count.max(1))
        .map(|name| ClientPlan {
            name: (*name).to_owned(),
            hold_ms_max: chance.below(2) * chance.below(4),
            page_size: *chance.pick(&[1_000, 100, 7, 3]),
            accepts_remote: chance.happens(200),
            clock_ahead_ms: i64::try_from(chance.below(120_000)).unwrap_or(0) - 60_000,
            // Of a stream of its own, so that it changes nothing else of a seed's plan.
            mutations_per_request: *seed.stream(&format!("requests of {name}")).pick(&[1, 1, 4]),
            full_sync_s: *chance.pick(&[86_400, 86_400, 300, 20]),
        })
        .collect()
}

fn server(chance: &Stream, profile: Profile) -> ServerPlan {
    let mut server = ServerPlan {
        automerge: chance.happens(500),
        keep_alive_ms: 20_000,
        ..ServerPlan::default()
    };
    if profile != Profile::Calm {
        server.delta_ttl_minutes = *chance.pick(&[30, 1]);
        server.clock_ahead_ms = i64::try_from(chance.below(7_200_000)).unwrap_or(0) - 3_600_000;
        server.page_max = *chance.pick(&[1_000, 10, 4]);
    }
    server
}

fn actions_of(client: usize, chance: &Stream, busy_ms: u64) -> Vec<ActionStep> {
    let mut steps = Vec::new();
    let (mut at_ms, mut notes, mut items) = (0, 0, 0);
    // Some users click faster than others.
    let pause_ms_max = PAUSE_MS_MAX / (1 + chance.below(4));
    loop {
        at_ms += 1 + chance.below(pause_ms_max);
        if at_ms >= busy_ms {
            return steps;
        }
        let action = action(client, chance, &mut notes, &mut items);
        steps.push(ActionStep {
            at_ms,
            client,
            action,
        });
    }
}

fn small(chance: &Stream, below: u64) -> u32 {
    u32::try_from(chance.below(below)).unwrap_or(0)
}

/// A shared board, mostly the first: people meet where all of them work.
fn board(chance: &Stream) -> u32 {
    small(chance, 2) * small(chance, BOARDS)
}

fn action(client: usize, chance: &Stream, notes: &mut u32, items: &mut u32) -> Action {
    // Recent notes are touched most, so that edits meet mutations that still wait.
    let recent = |count: u32| count.saturating_sub(small(chance, u64::from(count.min(6))));
    let own_item = |count: u32| u32::try_from(client).unwrap_or(0) * 10_000 + count;
    match chance.below(100) {
        0..18 => {
            *notes += 1;
            Action::Create { note: *notes }
        }
        18..32 => Action::Update { note: recent(*notes) },
        32..36 => Action::Chain {
            note: recent(*notes),
            times: 2 + small(chance, 4),
        },
        36..41 => Action::EditStale {
            note: recent(*notes),
            hold_ms: chance.below(8_000),
        },
        41..44 => Action::UpdateIf {
            note: recent(*notes),
            above: i64::try_from(chance.below(1_000)).unwrap_or(0),
        },
        44..49 => Action::Delete { note: recent(*notes) },
        49..51 => Action::Create { note: recent(*notes) },
        51..56 => Action::Pair {
            pair: small(chance, 4),
        },
        56..62 => Action::Retitle { board: board(chance) },
        62..66 => Action::Star { board: board(chance) },
        66..69 => Action::Tag { board: board(chance) },
        69..76 => Action::Revise {
            board: board(chance),
            hold_ms: chance.below(REVISE_MS_MAX),
        },
        76..77 => Action::DropBoard { board: board(chance) },
        77..80 => Action::MakeList {
            list: small(chance, BOARDS * 4),
        },
        80..88 => {
            *items += 1;
            Action::AddItem {
                list: small(chance, BOARDS * 4),
                item: own_item(*items),
            }
        }
        88..93 => Action::EditItem {
            item: own_item(recent(*items)),
        },
        93..95 => Action::MoveItem {
            item: own_item(recent(*items)),
            list: small(chance, BOARDS * 4),
        },
        95..97 => Action::DropList {
            list: small(chance, BOARDS * 4),
        },
        97..99 => Action::DiscardRefused,
        _ => Action::RetryRefused,
    }
}

fn faults_of(knob: &str, per_mille: u32, chance: &Stream, clients: usize, busy_ms: u64) -> Vec<FaultStep> {
    if per_mille == 0 {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for second in 0..busy_ms / 1_000 {
        if chance.happens(per_mille) {
            let at_ms = second * 1_000 + chance.below(1_000);
            let client = usize::try_from(chance.below(clients as u64)).unwrap_or(0);
            if let Some(fault) = fault(knob, chance, client, clients) {
                steps.push(FaultStep { at_ms, fault });
            }
        }
    }
    steps
}

/// The numbers below `count`, in an order that chance decides.
fn shuffled(count: usize, chance: &Stream) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        let other = usize::try_from(chance.below(at as u64 + 1)).unwrap_or(0);
        numbers.swap(at, other);
    }
    numbers
}

/// A length: mostly up to `ms`, now and then ten times that.
fn length(chance: &Stream, ms: u64) -> u64 {
    let most = if chance.below(LONG_ONE_IN) == 0 {
        ms * 10
    } else {
        ms
    };
    1 + chance.below(most)
}

fn fault(knob: &str, chance: &Stream, client: usize, clients: usize) -> Option<Fault> {
    let ms = length(chance, 12_000);
    let per_mille = 50 + small(chance, 450);
    Some(match knob {
        "partition" => Fault::Partition { client, ms },
        "replies_lost" => Fault::RepliesLost { client, ms },
        "requests_lost" => Fault::RequestsLost { client, ms },
        "swizzle" => {
            let clients: Vec<usize> = (0..clients).filter(|_| chance.happens(700)).collect();
            Fault::Swizzle {
                step_ms: chance.below(4_000),
                ms,
                repairs: shuffled(clients.len(), chance),
                clients,
            }
        }
        "loss" => Fault::Loss {
            client,
            ms: ms * 4,
            per_mille: 10 + small(chance, 290),
        },
        "bursts" => Fault::Bursts {
            client,
            times: 2 + small(chance, 6),
            ms: 20 + chance.below(2_000),
        },
        "frames_doubled" => Fault::FramesDoubled {
            client,
            ms: ms * 3,
            per_mille,
        },
        "frames_reordered" => Fault::FramesReordered {
            client,
            ms: ms * 3,
            per_mille,
        },
        "slow" => Fault::Slow {
            client,
            ms: ms * 2,
            delay_ms: 200 + chance.below(8_000),
        },
        "narrow" => Fault::Narrow {
            client,
            ms: ms * 2,
            bytes_per_second: 500 + chance.below(8_000),
        },
        "half_open" => Fault::HalfOpen { client },
        "frames_lost" => Fault::FramesLost { client, ms },
        "sockets_broken" => Fault::SocketsBroken { client },
        "reply_lost_once" => Fault::ReplyLostOnce { client },
        "garbled" => Fault::Garbled {
            client,
            ms,
            per_mille,
        },
        "connect_refused" => Fault::ConnectRefused { client, ms },
        "offline_signal" => Fault::OfflineSignal { client, ms },
        "captive_portal" => Fault::CaptivePortal { client, ms },
        "storm" => Fault::Storm {},
        "hangs" => Fault::Hangs { client, ms },
        other => return server_fault(other, chance, client, ms, per_mille),
    })
}

fn server_fault(knob: &str, chance: &Stream, client: usize, ms: u64, per_mille: u32) -> Option<Fault> {
    Some(match knob {
        "fails_before" => Fault::FailsBefore {
            client,
            ms,
            status: *chance.pick(&[500, 502, 503]),
            per_mille,
        },
        "writes_fail" => Fault::WritesFail {
            client,
            ms,
            per_mille: sure(chance, per_mille),
        },
        "reads_fail" => Fault::ReadsFail {
            client,
            ms,
            per_mille: sure(chance, per_mille),
        },
        "fails_after" => Fault::FailsAfter {
            client,
            ms,
            per_mille,
        },
        "throttled" => Fault::Throttled {
            client,
            ms,
            retry_after_ms: chance.below(2) * chance.below(20_000),
        },
        "unauthorized" => Fault::Unauthorized { client, ms },
        "journal_fails" => Fault::JournalFails {
            times: 1 + small(chance, 3),
        },
        "max_conflicts" => Fault::MaxConflicts {
            times: 1 + small(chance, 3),
        },
        "fan_out_paused" => Fault::FanOutPaused { ms },
        "messages_dropped" => Fault::MessagesDropped {
            times: 1 + small(chance, 6),
        },
        "server_restart" => Fault::ServerRestart {},
        other => return client_fault(other, chance, client, ms),
    })
}

/// As often as a service of which one half is down fails: half of the time at everything.
fn sure(chance: &Stream, per_mille: u32) -> u32 {
    if chance.happens(500) { 1_000 } else { per_mille }
}

fn client_fault(knob: &str, chance: &Stream, client: usize, ms: u64) -> Option<Fault> {
    let off_ms = length(chance, 3_000);
    Some(match knob {
        "crash" => Fault::Crash { client, off_ms },
        "crash_at_operation" => Fault::CrashAtOperation {
            client,
            operations: chance.below(60),
            off_ms,
            again: chance.happens(400).then(|| chance.below(40)),
        },
        "write_fails" => Fault::WriteFails {
            client,
            times: 1 + chance.below(3),
            halved: chance.happens(500),
        },
        "sync_fails" => Fault::SyncFails {
            client,
            times: 1 + chance.below(20),
            forgotten: chance.happens(500),
        },
        "disk_full" => Fault::DiskFull { client, ms },
        "read_fails" => Fault::ReadFails {
            client,
            times: 1 + chance.below(3),
        },
        "slow_disk" => Fault::SlowDisk {
            client,
            ms,
            hold_ms: 10 + chance.below(3_000),
        },
        "wall_clock_jumps" => Fault::WallClockJumps {
            client,
            by_ms: i64::try_from(chance.below(14_400_000)).unwrap_or(0) - 7_200_000,
        },
        "restart" => Fault::Restart { client, off_ms },
        "stop_start" => Fault::StopStart { client, ms },
        "clear" => Fault::Clear { client },
        _ => return None,
    })
}
