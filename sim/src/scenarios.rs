//! The scenario library: what went wrong for users of Amplify's DataStore, as scripts that have to go well here.
//!
//! Owns [`Scenario`] and [`SCENARIOS`]. The scripts are in `scenarios/`, by subject; what they are written in is
//! `scenarios/stage.rs`. While a script runs all oracles look, and in the end everything is repaired and must agree;
//! what a script itself expects is reported as `S`.

mod connection;
mod deletes;
mod lifecycle;
mod outbox;
mod relations;
mod stage;
mod sync;
mod together;

use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use crate::clock::within;
use crate::oracle::Violation;
use crate::plan::{ClientPlan, ServerPlan};
use crate::random::Seed;
use crate::run::plan_schema;
use crate::trace::TraceLog;
use crate::world::{Setup, World, in_virtual_time};
pub use stage::{Person, Stage};

/// How long a script may take, in virtual milliseconds: a week, of which the longest needs a day.
const SCRIPT_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;

/// A script with the reports that it retells.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Where upstream it was reported, such as `amplify-js#9979`.
    pub upstream: &'static [&'static str],
    /// What went wrong there.
    pub what: &'static str,
    /// Whether stale writes are merged by the server.
    automerge: bool,
    script: fn(Stage) -> LocalBoxFuture<'static, ()>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scenario({})", self.name)
    }
}

/// What a scenario came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// What was not as it must be.
    pub violations: Vec<Violation>,
    /// What happened, for reading when something was violated.
    pub recent: Vec<String>,
    /// Hash of everything that happened.
    pub trace_hash: String,
}

macro_rules! scenarios {
    ($($module:ident::$function:ident, $automerge:ident, [$($upstream:literal),*], $what:literal;)*) => {
        /// Every scenario.
        pub const SCENARIOS: &[Scenario] = &[
            $(Scenario {
                name: stringify!($function),
                upstream: &[$($upstream),*],
                what: $what,
                automerge: scenarios!(@ $automerge),
                script: |stage| Box::pin($module::$function(stage)),
            },)*
        ];
    };
    (@ automerge) => { true };
    (@ optimistic) => { false };
}

scenarios! {
    outbox::a_hundred_creates_on_a_weak_network, automerge, ["amplify-js#9979"],
        "on weak 3G up to a tenth of the created records never reached the server though the outbox was empty";
    outbox::five_fast_updates, automerge, ["amplify-js#6363", "amplify-js#7354"],
        "fast updates carried the same version, and the server ignored the last of them";
    outbox::the_third_update_while_a_restart_is_pending, automerge, ["amplify-swift#1324"],
        "of three offline updates the third was lost while the queue waited for its restart";
    outbox::create_then_update_before_the_answer, automerge, ["amplify-android#2077", "amplify-js#9355", "amplify-js#7950"],
        "a create and the update behind it were merged or ordered wrongly";
    outbox::an_update_between_answer_and_message, automerge, ["amplify-android#1559", "amplify-js#9942"],
        "the model was out of step until the subscription message arrived, which came before the answer";
    outbox::server_errors_drop_nothing, automerge, ["amplify-js#14766", "amplify-js#9741", "amplify-js#13127"],
        "after three quick attempts a change was deleted from the outbox on 500, 503 or 429";
    outbox::a_refused_change_holds_back_only_its_own, automerge, ["amplify-swift#3490", "amplify-android#1405", "amplify-android#2151"],
        "one refused change blocked the queue, and was dropped without a way to send it again";
    outbox::a_refused_change_can_be_taken_back, automerge, ["amplify-js#9741", "amplify-js#8891"],
        "an app could not roll a refused optimistic change back";
    outbox::a_crash_between_save_and_send, automerge, ["amplify-swift#3492"],
        "the outbox row was written after the commit, and a crash between them lost the change";
    outbox::a_crash_between_answer_and_note, automerge, ["amplify-js#9979"],
        "after a crash a change that the server had applied was sent a second time";
    outbox::many_changes_go_in_parallel, automerge, ["amplify-js#7686", "amplify-js#8306", "amplify-swift#3565"],
        "changes were sent one after the other, minutes for a thousand";
    outbox::an_offline_signal_that_lies, automerge, ["amplify-js#9699"],
        "the platform said that there was a network when there was none, and changes were dropped";
    together::two_people_edit_different_fields, optimistic, ["amplify-swift#1450", "amplify-flutter#930"],
        "an update sent every field and put back what others had changed";
    together::a_stale_copy_is_saved, optimistic, ["amplify-js#12729", "amplify-js#11674"],
        "saving a copy that was read earlier sent an old version or none";
    together::lists_are_not_doubled, automerge, ["amplify-swift#1308", "amplify-js#6611"],
        "unchanged list fields were sent along, and automerge doubled them";
    together::a_conflict_without_end, optimistic, ["amplify-js#6278", "amplify-js#5945"],
        "a conflict was tried again without end, or eleven times in a row";
    together::both_orders_of_reconnection, optimistic, ["amplify-js#6363"],
        "what was kept depended on who came online first, and not everybody agreed";
    together::two_people_make_the_same_record, automerge, ["amplify-js#9355", "amplify-swift#3490"],
        "of two creates with one identifier the second was taken for applied, or deleted from the outbox";
    together::a_lost_create_that_others_have_edited, automerge, ["amplify-js#9979"],
        "a create whose answer was lost was sent again over what others had written meanwhile";
    together::an_edit_against_a_delete, optimistic, ["amplify-cli#4111", "amplify-flutter#1501"],
        "an edit of a record that another client deleted was never settled";
    together::an_edit_against_a_delete_where_edits_are_merged, automerge, ["amplify-cli#4111"],
        "an edit of a record that another client deleted was dropped, and announced as processed";
    together::a_delete_against_an_edit, automerge, ["amplify-cli#4111"],
        "deletes are never merged, and a stale one stayed in the outbox";
    together::a_delete_against_an_edit_where_edits_are_refused, optimistic, ["amplify-cli#4111"],
        "a delete took an edit along that whoever deleted had never seen";
    together::a_delete_against_an_edit_that_was_taken_back, automerge, ["amplify-cli#4111"],
        "a delete was refused for ever though nothing of the record had changed";
    deletes::a_record_made_and_deleted_offline, automerge, ["amplify-js#8179"],
        "a record that was created and deleted came back";
    deletes::a_record_made_again_after_its_delete, automerge, ["amplify-swift#918", "amplify-flutter#1506"],
        "making a deleted record again was refused by the server and the app was told nothing";
    deletes::a_delete_while_everybody_is_away, automerge, ["amplify-swift#3821", "amplify-js#11633"],
        "deletes were missed by who came back after the delta table had forgotten them";
    deletes::a_delete_whose_answer_is_lost, automerge, ["amplify-js#8158"],
        "a delete with a lost answer was reported as failed or brought the record back";
    relations::parents_before_children, automerge, ["amplify-swift#1001", "amplify-swift#773", "amplify-android#461"],
        "a child was sent before its parent and refused";
    relations::a_delete_takes_children_along, automerge, ["amplify-swift#1321", "amplify-android#1058"],
        "children of a deleted record stayed on the server, or the parent went before them";
    relations::a_child_of_a_refused_parent, automerge, ["amplify-android#1660", "amplify-flutter#4535"],
        "children of a refused parent were sent all the same";
    sync::starting_offline, automerge, ["amplify-js#11481", "amplify-js#12714", "amplify-swift#1718"],
        "a store that was started offline said that it was ready, and never synced";
    sync::a_first_sync_in_many_pages, automerge, ["amplify-android#1204", "amplify-flutter#4678"],
        "a long first sync that was interrupted began again from nothing";
    sync::back_after_the_delta_table_has_forgotten, automerge, ["amplify-js#7272"],
        "who came back after half an hour fetched too little";
    sync::a_wrong_clock, automerge, ["amplify-js#9699"],
        "a wrong clock on the device made a sync fetch everything, or nothing";
    sync::a_failed_sync_is_no_success, automerge, ["amplify-js#11344", "amplify-js#5963"],
        "a failed sync was recorded as a success, and what it missed was never fetched";
    sync::changes_during_the_first_sync, automerge, ["amplify-js#7371"],
        "what arrived while the first sync ran was lost";
    connection::a_dead_socket, automerge, ["amplify-js#6488", "amplify-js#7126", "amplify-swift#1839"],
        "after sleep the socket was dead, and no message arrived any more";
    connection::a_socket_that_breaks_while_it_opens, automerge, ["amplify-android#823", "amplify-js#12818"],
        "subscriptions that failed to start were never started again, or were started twice";
    connection::everybody_reconnects_at_once, automerge, ["amplify-js#11353"],
        "a reconnection of all clients at once overran the server's limits";
    connection::messages_out_of_order_and_twice, automerge, ["amplify-js#8012", "amplify-js#13412"],
        "a late or repeated message put an older value back";
    connection::a_login_page_instead_of_the_server, automerge, ["amplify-js#13127"],
        "the login page of a hotel network was taken for an answer";
    connection::credentials_that_run_out, automerge, ["amplify-swift#3102", "amplify-swift#1555"],
        "changes were dropped when the credentials had run out";
    lifecycle::clear_while_everything_is_busy, automerge, ["amplify-js#10922", "amplify-js#12359", "amplify-flutter#1479"],
        "clearing hung, or left old work behind that wrote into the new store";
    lifecycle::stop_and_start_in_a_row, automerge, ["amplify-android#1464", "amplify-flutter#3113"],
        "stop and start in quick succession ended in a lock, or in two engines";
    lifecycle::another_user_signs_in, automerge, ["amplify-js#5312", "amplify-js#7152"],
        "the next user saw records of the one before, or sent that one's changes";
    lifecycle::observers_go_on_after_a_restart_of_sync, automerge, ["amplify-swift#3021", "amplify-js#10450"],
        "observers were dead after stop and start";
    lifecycle::a_full_disk, automerge, ["amplify-js#8640", "amplify-js#5584"],
        "a full disk left the store unusable until the app was installed again";
}

/// Plays a scenario, from beginning to end.
pub fn play(scenario: &Scenario) -> Played {
    let trace = TraceLog::default();
    let setup = Setup {
        server: ServerPlan {
            automerge: scenario.automerge,
            ..ServerPlan::default()
        },
        clients: ["anna", "berta"].map(ClientPlan::plain).to_vec(),
        configure: Rc::new(|builder| builder),
        schema: Arc::clone(plan_schema()),
        seed: Seed(1),
    };
    in_virtual_time(&trace, async {
        let world = World::new(&setup, &trace);
        let stage = Stage::new(world.clone());
        if let Err(error) = world.boot().await {
            world.violated("E1", &format!("a new store does not open: {error}"));
        }
        if within(SCRIPT_MS_MAX, (scenario.script)(stage)).await.is_none() {
            world.violated("E1", "the script waits for ever");
        }
        if !world.findings().is_violated() {
            world.settle().await;
        }
        Played {
            violations: world.findings().violations(),
            recent: trace.recent(),
            trace_hash: trace.hash(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_goes_well() {
        for scenario in SCENARIOS {
            let played = play(scenario);
            assert!(
                played.violations.is_empty(),
                "{}: {:#?}\n{}",
                scenario.name,
                played.violations,
                played.recent.join("\n")
            );
        }
    }

    #[test]
    fn names_are_unique_and_every_scenario_says_where_it_comes_from() {
        let mut names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            assert!(!scenario.upstream.is_empty(), "{}", scenario.name);
            for address in scenario.upstream {
                let (repository, number) = address.split_once('#').expect("repository#number");
                assert!(
                    repository.starts_with("amplify-") && number.parse::<u32>().is_ok(),
                    "{address}"
                );
            }
        }
    }
}
