use std::collections::{BTreeMap, VecDeque};

use std::time::Duration;

use landfall_core::{FieldMap, Paging, RecordId, RecordVersion, RemoteRecord, SyncMetadata};
use landfall_wire::{
    BadRecord, BadRecordFault, Delivery, FailureCause, FailureClass, RETRY_AFTER_MS_MAX, SyncPage,
    TransportError,
};

use super::super::doubts::{AT_A_TIME, Found, INQUIRIES_MAX};
use super::super::model::{ATTEMPTS_BEFORE_BACKGROUND, RESTARTS_MAX};
use super::super::pages::PAGES_MAX;
use super::super::trouble::Unfit;
use super::*;
use crate::handlers::ErrorKind;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Wall-clock time at the start of a test; the server's clock is the same.
const WALL_MS: i64 = 1_000_000;

/// The machine, what it has asked for, and a store that takes every page at once unless told otherwise.
struct Lab {
    state: State,
    now_ms: u64,
    cursors: BTreeMap<ModelName, SyncCursor>,
    questions: BTreeMap<ModelName, Question>,
    stores: BTreeMap<ModelName, (Ticket, Option<SyncCursor>, RemoteCounts)>,
    /// Records that the server is asked for.
    inquiries: BTreeMap<String, (Ticket, ModelName)>,
    slow_store: bool,
    /// What the store holds of a model; looked at in portions.
    held: BTreeMap<ModelName, Vec<&'static str>>,
    /// Of what it holds, what is outside of the sync expression, with when it changed.
    outside: BTreeMap<&'static str, i64>,
    portion: usize,
    trace: Vec<String>,
}

fn limits() -> Limits {
    Limits {
        page_size: 10,
        records_max: 100,
        models_in_parallel: 4,
        ages: SyncAges {
            full_sync_interval: Duration::from_millis(DAY_MS),
            tombstone_life: Duration::from_millis(30 * DAY_MS),
            delta_life: Duration::from_secs(30 * 60),
        },
    }
}

fn subject(model: &str) -> Subject {
    Subject {
        model: model.into(),
        expression: None,
        poll: None,
        unfit: None,
    }
}

/// A lab with levels written as `Blog Todo | Post`.
fn lab(levels: &str) -> Lab {
    lab_with(limits(), levels)
}

fn lab_with(limits: Limits, levels: &str) -> Lab {
    let levels = levels
        .split(" | ")
        .map(|level| level.split(' ').map(subject).collect())
        .collect();
    Lab {
        state: State::new(limits, levels),
        now_ms: 0,
        cursors: BTreeMap::new(),
        questions: BTreeMap::new(),
        stores: BTreeMap::new(),
        inquiries: BTreeMap::new(),
        slow_store: false,
        held: BTreeMap::new(),
        outside: BTreeMap::new(),
        portion: 2,
        trace: Vec::new(),
    }
}

impl Lab {
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for effect in self.state.step(self.now_ms, &mut || 0, input) {
                self.note(&effect);
                inputs.extend(self.perform(effect));
            }
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::ReadCursor { ticket, model } => {
                let cursor = self.cursors.get(&model).cloned().unwrap_or_default();
                let cursor = Ok((cursor, self.held.contains_key(&model)));
                let wall_ms = WALL_MS + i64::try_from(self.now_ms).unwrap();
                Some(Input::CursorRead {
                    ticket,
                    model,
                    cursor,
                    wall_ms,
                })
            }
            Effect::Ask(question) => {
                self.questions.insert(question.model.clone(), question);
                None
            }
            Effect::Store { ticket, batch } => {
                let counts = RemoteCounts {
                    new: batch.records.len() as u64,
                    ..RemoteCounts::default()
                };
                self.stores
                    .insert(batch.model.clone(), (ticket, batch.cursor, counts));
                (!self.slow_store).then(|| self.commit(&batch.model))
            }
            Effect::List(portion) => {
                let Portion {
                    ticket, model, after, ..
                } = portion;
                let ids = self.held[&model].iter().map(|id| RecordId::text(*id));
                let ids: Vec<RecordId> = ids
                    .filter(|id| after.as_ref().is_none_or(|after| id > after))
                    .collect();
                let next = ids.get(self.portion - 1).filter(|_| ids.len() > self.portion);
                let next = next.cloned();
                let is_outside = |id: &RecordId| self.outside.contains_key(&*id.to_string());
                let (outside, ids) = ids.into_iter().take(self.portion).partition(is_outside);
                let known = |id: RecordId| {
                    let last_changed_at_ms = self.outside[&*id.to_string()];
                    let sync = SyncMetadata {
                        last_changed_at_ms,
                        ..as_known()
                    };
                    (id, sync)
                };
                let outside: Vec<RecordId> = outside;
                let listing = Listing {
                    ids,
                    outside: outside.into_iter().map(known).collect(),
                    next,
                };
                Some(Input::Listed {
                    ticket,
                    model,
                    listed: Ok(listing),
                })
            }
            Effect::Inquire { ticket, model, id } => {
                self.inquiries.insert(id.to_string(), (ticket, model));
                None
            }
            _ => None,
        }
    }

    fn commit(&mut self, model: &str) -> Input {
        let (ticket, cursor, counts) = self.stores.remove(model).expect("something is being stored");
        if let Some(cursor) = cursor {
            self.cursors.insert(model.into(), cursor);
        }
        Input::Stored {
            ticket,
            model: model.into(),
            stored: Ok(counts),
        }
    }

    fn start(&mut self) {
        self.feed(Input::Start);
    }

    fn cancel(&mut self) {
        self.feed(Input::Cancel);
    }

    /// Lets time pass up to a moment, with the timer going off in between.
    fn until(&mut self, at_ms: u64) {
        while let Some(due_ms) = self.state.due_ms().filter(|due_ms| *due_ms <= at_ms) {
            self.now_ms = due_ms;
            self.feed(Input::TimerDue);
        }
        self.now_ms = at_ms;
    }

    fn answer(&mut self, model: &str, answer: Result<SyncPage, Box<Failure>>) {
        let question = self.questions.remove(model).expect("a question is open");
        self.feed(Input::Answered {
            ticket: question.ticket,
            model: question.model,
            answer: answer.map(|page| Answer {
                page,
                outside: Vec::new(),
            }),
        });
    }

    /// A page of records, with the token of the next page, that the server began to make at 500.
    fn page(&mut self, model: &str, ids: &str, next_token: Option<&str>) {
        self.answer(model, Ok(page(ids, next_token, Some(500))));
    }

    fn fail(&mut self, model: &str, class: FailureClass) {
        self.answer(model, Err(Box::new(failure(class))));
    }

    /// The server's answer to what it has of a record.
    fn found(&mut self, id: &str, found: Result<Found, FailureClass>) {
        let (ticket, model) = self.inquiries.remove(id).expect("it was asked for");
        let found = found.map_err(|class| Box::new(failure(class)));
        self.feed(Input::Inquired { ticket, model, found });
    }

    fn stored(&mut self, model: &str) {
        let stored = self.commit(model);
        self.feed(stored);
    }

    fn not_stored(&mut self, model: &str) {
        let (ticket, ..) = self.stores.remove(model).expect("something is being stored");
        self.feed(Input::Stored {
            ticket,
            model: model.into(),
            stored: Err("disk full".into()),
        });
    }

    fn note(&mut self, effect: &Effect) {
        let line = match effect {
            Effect::Begun { models } => format!("begin {}", models.join(" ")),
            // Reading a cursor always comes before the first question, and is answered at once.
            Effect::ReadCursor { .. } => return,
            Effect::List(portion) => {
                let after = portion
                    .after
                    .as_ref()
                    .map_or("the first".to_owned(), ToString::to_string);
                format!("list {} from {after} before {}", portion.model, portion.before_ms)
            }
            Effect::Ask(question) => {
                let token = question.token.as_deref().unwrap_or("first");
                let since = question
                    .last_sync_ms
                    .map(|ms| format!(" since {ms}"))
                    .unwrap_or_default();
                format!("ask {} {token} limit {}{since}", question.model, question.limit)
            }
            Effect::Store { batch, .. } => {
                let ids: Vec<String> = batch.records.iter().map(|record| record.id.to_string()).collect();
                let bad = if batch.bad.is_empty() {
                    String::new()
                } else {
                    format!(" bad {}", batch.bad.len())
                };
                let left_over = batch.left_over.as_ref().map(|left_over| {
                    let ids: Vec<String> = left_over.ids.iter().map(ToString::to_string).collect();
                    let outside = left_over.outside.iter().map(|(id, _)| format!(" outside {id}"));
                    format!(" without {}{}", ids.join(" "), outside.collect::<String>())
                });
                format!(
                    "store {} [{}]{bad}{} {}",
                    batch.model,
                    ids.join(" "),
                    left_over.unwrap_or_default(),
                    cursor_text(batch.cursor.as_ref())
                )
            }
            Effect::Progress { model, received } => format!("progress {model} {received}"),
            Effect::NonApplicable { model, errors } => format!("errors {model} {}", errors.len()),
            Effect::Synced { model, kind, counts } => format!("synced {model} {kind:?} new {}", counts.new),
            Effect::Truncated { model, received } => format!("truncated {model} {received}"),
            Effect::Failed {
                model,
                trouble,
                tried_again,
            } => {
                format!(
                    "failed {model}: {trouble}{}",
                    if *tried_again { "; tried again" } else { "" }
                )
            }
            Effect::Inquire { id, .. } => format!("inquire {id}"),
            Effect::Kept { model, records } => format!("kept {model} {records:?}"),
            Effect::Ready => "ready".to_owned(),
            Effect::Finished => "finished".to_owned(),
        };
        self.trace.push(line);
    }

    /// What happened since the last check.
    #[track_caller]
    fn check(&mut self, expected: &[&str]) {
        assert_eq!(std::mem::take(&mut self.trace), expected);
        assert!(self.state.unexpected.is_empty(), "{:?}", self.state.unexpected);
    }
}

fn cursor_text(cursor: Option<&SyncCursor>) -> String {
    match cursor {
        None => "no cursor".to_owned(),
        Some(SyncCursor {
            paging: Some(paging), ..
        }) => {
            format!(
                "paged {} @{} {}",
                paging.next_token, paging.started_at_ms, paging.received
            )
        }
        Some(cursor) => format!(
            "finished @{}",
            cursor
                .last_sync_ms
                .map_or("never".to_owned(), |ms| ms.to_string())
        ),
    }
}

/// What the server says of a record.
fn as_known() -> SyncMetadata {
    SyncMetadata {
        version: RecordVersion(1),
        last_changed_at_ms: 1,
        deleted: false,
    }
}

fn page(ids: &str, next_token: Option<&str>, started_at_ms: Option<i64>) -> SyncPage {
    let sync = as_known();
    let record = |id: &str| RemoteRecord {
        id: RecordId::text(id),
        fields: FieldMap::new(),
        sync,
    };
    SyncPage {
        items: ids.split_whitespace().map(record).collect(),
        bad: Vec::new(),
        errors: Vec::new(),
        next_token: next_token.map(str::to_owned),
        started_at_ms,
    }
}

const TRANSIENT: FailureClass = FailureClass::Transient {
    delivery: Delivery::NotDelivered,
    retry_after_ms: None,
};

fn failure(class: FailureClass) -> Failure {
    let cause = match class {
        FailureClass::Transient { .. } => FailureCause::Transport(TransportError::Unreachable {
            reason: "no route".into(),
        }),
        FailureClass::Unauthorized => FailureCause::Status { status: 401 },
        _ => FailureCause::Errors {
            status: 200,
            errors: vec![ServerError::new("BadRequest", "no")],
        },
    };
    Failure { class, cause }
}

fn synced_at(ms: i64) -> SyncCursor {
    SyncCursor::default().finished(None, SyncKind::Base, ms)
}

#[test]
fn parents_are_settled_before_their_children_begin() {
    let mut lab = lab("Blog Todo | Post");
    lab.start();
    lab.check(&[
        "begin Blog Todo Post",
        "ask Blog first limit 10",
        "ask Todo first limit 10",
    ]);
    lab.page("Blog", "b1 b2", None);
    lab.check(&[
        "store Blog [b1 b2] finished @500",
        "progress Blog 2",
        "synced Blog Base new 2",
    ]);
    lab.page("Todo", "", None);
    lab.check(&[
        "store Todo [] finished @500",
        "progress Todo 0",
        "synced Todo Base new 0",
        "ask Post first limit 10",
    ]);
    lab.page("Post", "p1", None);
    lab.check(&[
        "store Post [p1] finished @500",
        "progress Post 1",
        "synced Post Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn so_many_models_go_on_at_the_same_time_and_no_more() {
    let mut lab = lab_with(
        Limits {
            models_in_parallel: 2,
            ..limits()
        },
        "A B C D",
    );
    lab.start();
    lab.check(&["begin A B C D", "ask A first limit 10", "ask B first limit 10"]);
    // A model that goes on paging keeps its place.
    lab.page("A", "a1", Some("t1"));
    lab.check(&[
        "store A [a1] paged t1 @500 1",
        "ask A t1 limit 10",
        "progress A 1",
    ]);
    lab.page("B", "", None);
    lab.check(&[
        "store B [] finished @500",
        "progress B 0",
        "synced B Base new 0",
        "ask C first limit 10",
    ]);
    // One that waits to be tried again does not.
    lab.fail("C", TRANSIENT);
    lab.check(&["ask D first limit 10"]);
}

#[test]
fn the_next_page_is_fetched_while_one_is_stored_but_its_cursor_waits() {
    let mut lab = lab("A");
    lab.slow_store = true;
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.check(&[
        "begin A",
        "ask A first limit 10",
        "store A [a1] paged t1 @500 1",
        "ask A t1 limit 10",
    ]);
    // One page ahead and not two: nothing further is asked for, and nothing stored, before the first page is.
    lab.answer("A", Ok(page("a2", Some("t2"), Some(777))));
    lab.check(&[]);
    lab.stored("A");
    lab.check(&[
        "progress A 1",
        "store A [a2] paged t2 @500 2",
        "ask A t2 limit 10",
    ]);
    lab.stored("A");
    lab.check(&["progress A 2"]);
    lab.answer("A", Ok(page("a3", None, Some(999))));
    lab.check(&["store A [a3] finished @500"]);
    lab.stored("A");
    lab.check(&["progress A 3", "synced A Base new 3", "ready", "finished"]);
}

#[test]
fn paging_resumes_where_it_stopped_with_what_is_left_of_the_allowance() {
    let mut lab = lab("A");
    let paging = Paging {
        kind: SyncKind::Base,
        next_token: "t7".into(),
        started_at_ms: 123,
        received: 95,
        fresh: true,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), SyncCursor::default().paged(None, paging));
    lab.start();
    lab.check(&["begin A", "ask A t7 limit 5"]);
    lab.page("A", "a1", None);
    // What was made meanwhile may be behind the token, and nobody listened then.
    lab.check(&[
        "store A [a1] finished @123",
        "progress A 96",
        "ask A first limit 10 since 123",
    ]);
    lab.page("A", "", None);
    lab.check(&[
        "store A [] finished @500",
        "progress A 0",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn changes_that_are_fetched_from_where_paging_stopped_are_asked_for_once_more() {
    let mut lab = lab("A");
    let paging = Paging {
        kind: SyncKind::Delta,
        next_token: "t7".into(),
        started_at_ms: 999_999,
        received: 3,
        fresh: false,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), synced_at(WALL_MS - 9).paged(None, paging));
    lab.start();
    lab.page("A", "a1", None);
    lab.check(&[
        "begin A",
        "ask A t7 limit 10 since 999991",
        "store A [a1] finished @999999",
        "progress A 4",
        "ask A first limit 10 since 999999",
    ]);
    // However that one fares, it is one more and not two.
    lab.page("A", "a2", Some("t1"));
    lab.fail("A", TRANSIENT);
    lab.until(1_000);
    lab.trace.clear();
    lab.page("A", "a3", None);
    lab.check(&[
        "store A [a3] finished @500",
        "progress A 2",
        "synced A Delta new 3",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_try_that_goes_on_within_a_start_asks_for_nothing_more() {
    let mut lab = lab("A");
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.fail("A", TRANSIENT);
    lab.until(1_000);
    lab.trace.clear();
    lab.page("A", "a2", None);
    lab.check(&[
        "store A [a2] finished @500",
        "progress A 2",
        "synced A Base new 2",
        "ready",
        "finished",
    ]);
}

#[test]
fn pages_that_are_no_longer_gone_on_with_need_no_second_look() {
    let mut lab = lab("A");
    let paging = Paging {
        kind: SyncKind::Base,
        next_token: "old".into(),
        started_at_ms: 123,
        received: 50,
        fresh: true,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), SyncCursor::default().paged(None, paging));
    lab.start();
    lab.fail("A", FailureClass::Permanent);
    lab.trace.clear();
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_delta_sync_asks_for_what_changed_since() {
    let mut lab = lab("A");
    lab.cursors.insert("A".into(), synced_at(WALL_MS - 1));
    lab.start();
    lab.check(&["begin A", "ask A first limit 10 since 999999"]);
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Delta new 1",
        "ready",
        "finished",
    ]);
    assert_eq!(lab.cursors["A"].last_full_sync_ms, Some(WALL_MS - 1));
}

#[test]
fn a_refused_page_token_begins_with_the_first_page_but_not_for_ever() {
    let mut lab = lab("A");
    let paging = Paging {
        kind: SyncKind::Base,
        next_token: "old".into(),
        started_at_ms: 1,
        received: 50,
        fresh: true,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), SyncCursor::default().paged(None, paging));
    lab.start();
    lab.fail("A", FailureClass::Permanent);
    lab.check(&["begin A", "ask A old limit 10", "ask A first limit 10"]);
    // A failure before the first page came keeps to that decision.
    lab.fail("A", TRANSIENT);
    lab.until(100);
    lab.check(&["ask A first limit 10"]);
    for token in 1..RESTARTS_MAX {
        lab.page("A", "a1", Some(&format!("t{token}")));
        lab.fail("A", FailureClass::Permanent);
    }
    lab.trace.clear();
    lab.page("A", "a1", Some("last"));
    lab.fail("A", FailureClass::Permanent);
    lab.check(&[
        "store A [a1] paged last @500 1",
        "ask A last limit 10",
        "progress A 1",
        "failed A: BadRequest: no; tried again",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_token_that_leads_to_itself_is_noticed() {
    let mut lab = lab("A");
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.trace.clear();
    lab.page("A", "a1", Some("t1"));
    lab.check(&["ask A first limit 10"]);
    for _ in 0..RESTARTS_MAX {
        lab.page("A", "a1", Some("t1"));
        lab.trace.clear();
        lab.page("A", "a1", Some("t1"));
    }
    lab.check(&[
        "failed A: the server gave a page's own token as that of the next page; tried again",
        "ready",
        "finished",
    ]);
    assert_eq!(
        cursor_text(lab.cursors.get("A")),
        "paged t1 @500 1",
        "nothing is claimed"
    );
}

#[test]
fn empty_pages_with_a_token_go_on() {
    let mut lab = lab("A");
    lab.start();
    for token in 0..50 {
        lab.page("A", "", Some(&format!("t{token}")));
    }
    lab.trace.clear();
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn pages_without_end_are_given_up_and_the_next_sync_goes_on_from_there() {
    let mut lab = lab("A");
    lab.start();
    for page in 0..PAGES_MAX {
        lab.page("A", "", Some(&format!("t{page}")));
        lab.trace.clear();
    }
    lab.page("A", "", Some("more"));
    lab.check(&[
        "failed A: the server's pages did not end after 20000",
        "ready",
        "finished",
    ]);
    lab.start();
    lab.check(&["begin A", "ask A t19999 limit 10"]);
}

#[test]
fn a_model_that_keeps_failing_holds_up_nobody_and_is_tried_for_ever() {
    let mut lab = lab("A B | C");
    lab.start();
    lab.page("B", "", None);
    for attempt in 1..ATTEMPTS_BEFORE_BACKGROUND {
        lab.fail("A", TRANSIENT);
        let due_ms = lab.state.due_ms().expect("it is tried again");
        lab.until(due_ms);
        assert!(!lab.questions.contains_key("C"), "after {attempt} failures");
    }
    lab.trace.clear();
    lab.fail("A", TRANSIENT);
    lab.check(&[
        "failed A: the server cannot be reached: no route; tried again",
        "ask C first limit 10",
    ]);
    lab.page("C", "", None);
    lab.check(&[
        "store C [] finished @500",
        "progress C 0",
        "synced C Base new 0",
        "ready",
        "finished",
    ]);
    // It is told once, however long it lasts.
    let mut waits = Vec::new();
    for _ in 0..12 {
        let due_ms = lab.state.due_ms().expect("it is tried again");
        waits.push(due_ms - lab.now_ms);
        lab.until(due_ms);
        lab.check(&["ask A first limit 10"]);
        lab.fail("A", TRANSIENT);
    }
    assert!(
        waits.is_sorted() && waits[11] == 30_000,
        "half of a minute is certain, the rest drawn: {waits:?}"
    );
    lab.until(lab.now_ms + 30_000);
    lab.trace.clear();
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Base new 1",
    ]);
}

#[test]
fn a_retry_after_is_honoured() {
    let mut lab = lab("A");
    lab.start();
    lab.fail(
        "A",
        FailureClass::Transient {
            delivery: Delivery::Unknown,
            retry_after_ms: Some(9_000),
        },
    );
    assert_eq!(lab.state.due_ms(), Some(9_000));
    lab.until(9_000);
    lab.fail(
        "A",
        FailureClass::Transient {
            delivery: Delivery::Unknown,
            retry_after_ms: Some(u64::MAX),
        },
    );
    assert_eq!(lab.state.due_ms(), Some(9_000 + RETRY_AFTER_MS_MAX));
}

#[test]
fn a_model_that_is_refused_is_told_and_keeps_its_cursor() {
    for class in [FailureClass::Unauthorized, FailureClass::Permanent] {
        let mut lab = lab("A B");
        lab.cursors.insert("A".into(), synced_at(WALL_MS - 1));
        lab.start();
        lab.trace.clear();
        lab.fail("A", class);
        let told = format!("failed A: {}; tried again", failure(class));
        lab.check(&[&told]);
        lab.page("B", "", None);
        lab.check(&[
            "store B [] finished @500",
            "progress B 0",
            "synced B Base new 0",
            "ready",
            "finished",
        ]);
        assert_eq!(cursor_text(lab.cursors.get("A")), "finished @999999");
        // The next start tries it again.
        lab.start();
        assert!(lab.questions.contains_key("A"));
    }
}

#[test]
fn credentials_that_run_out_half_way_are_not_taken_for_a_bad_token() {
    let mut lab = lab("A");
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.trace.clear();
    lab.fail("A", FailureClass::Unauthorized);
    lab.check(&[
        "failed A: the server answered with status 401; tried again",
        "ready",
        "finished",
    ]);
    assert_eq!(cursor_text(lab.cursors.get("A")), "paged t1 @500 1");
}

#[test]
fn the_record_limit_truncates_and_the_next_sync_goes_on() {
    let mut lab = lab_with(
        Limits {
            records_max: 3,
            page_size: 2,
            ..limits()
        },
        "A",
    );
    lab.start();
    lab.page("A", "a1 a2", Some("t1"));
    lab.page("A", "a3", Some("t2"));
    lab.check(&[
        "begin A",
        "ask A first limit 2",
        "store A [a1 a2] paged t1 @500 2",
        "ask A t1 limit 1",
        "progress A 2",
        "store A [a3] paged t2 @500 3",
        "progress A 3",
        "truncated A 3",
        "ready",
        "finished",
    ]);
    assert_eq!(
        lab.cursors["A"].last_sync_ms, None,
        "it is not claimed to be complete"
    );
    lab.start();
    lab.page("A", "a4", None);
    lab.check(&[
        "begin A",
        "ask A t2 limit 2",
        "store A [a4] finished @500",
        "progress A 4",
        "ask A first limit 2 since 500",
    ]);
    lab.page("A", "", None);
    lab.check(&[
        "store A [] finished @500",
        "progress A 0",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_truncated_sync_whose_token_is_refused_gets_further_than_before() {
    let mut lab = lab_with(
        Limits {
            records_max: 3,
            page_size: 2,
            ..limits()
        },
        "A",
    );
    lab.start();
    lab.page("A", "a1 a2", Some("t1"));
    lab.page("A", "a3", Some("t2"));
    lab.start();
    lab.trace.clear();
    lab.fail("A", FailureClass::Permanent);
    lab.page("A", "a1 a2", Some("t1"));
    lab.check(&[
        "ask A first limit 2",
        "store A [a1 a2] paged t1 @500 2",
        "ask A t1 limit 2",
        "progress A 2",
    ]);
    // The end of the process changes nothing about that.
    lab.state = State::new(lab.state.limits.clone(), vec![vec![subject("A")]]);
    lab.start();
    lab.page("A", "a3 a4", Some("t2"));
    lab.trace.clear();
    lab.page("A", "a5 a6", Some("t3"));
    lab.check(&[
        "store A [a5 a6] paged t3 @500 6",
        "progress A 6",
        "truncated A 6",
        "ready",
        "finished",
    ]);
}

#[test]
fn exactly_as_many_records_as_allowed_are_not_too_many() {
    let mut lab = lab_with(
        Limits {
            records_max: 2,
            ..limits()
        },
        "A",
    );
    lab.start();
    lab.trace.clear();
    lab.page("A", "a1 a2", None);
    lab.check(&[
        "store A [a1 a2] finished @500",
        "progress A 2",
        "synced A Base new 2",
        "ready",
        "finished",
    ]);
}

#[test]
fn after_a_cancel_nothing_is_stored_and_a_start_begins_from_the_cursors() {
    let mut lab = lab("A B");
    lab.slow_store = true;
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.fail("B", TRANSIENT);
    lab.trace.clear();
    lab.cancel();
    assert_eq!(lab.state.due_ms(), None);
    lab.page("A", "a2", None);
    lab.check(&[]);
    assert_eq!(lab.state.late, 1);
    // The page that was already with the store is waited for, so that the cursor read is the newest.
    lab.start();
    lab.check(&["begin A B", "ask B first limit 10"]);
    lab.stored("A");
    lab.check(&["ask A t1 limit 10"]);
    lab.cancel();
    lab.cancel();
    lab.check(&[]);
}

#[test]
fn a_start_while_syncing_is_followed_by_one_more_sync() {
    let mut lab = lab("A");
    lab.start();
    lab.start();
    lab.start();
    lab.page("A", "a1", None);
    lab.check(&[
        "begin A",
        "ask A first limit 10",
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Base new 1",
        "ready",
        "begin A",
        "ask A first limit 10 since 500",
    ]);
    lab.page("A", "", None);
    lab.check(&[
        "store A [] finished @500",
        "progress A 0",
        "synced A Delta new 0",
        "ready",
        "finished",
    ]);
}

#[test]
fn what_came_with_errors_is_used_and_bad_records_are_set_aside() {
    let mut lab = lab("A");
    lab.start();
    lab.trace.clear();
    let bad = BadRecord {
        id: None,
        fault: BadRecordFault::Withheld,
        path: String::new(),
        reason: "is null".into(),
        json: String::new(),
    };
    let partial = SyncPage {
        bad: vec![bad],
        errors: vec![
            ServerError::new("Unauthorized", "not yours"),
            ServerError::new("X", "y"),
        ],
        ..page("a1", None, Some(500))
    };
    lab.answer("A", Ok(partial));
    lab.check(&[
        "errors A 2",
        "store A [a1] bad 1 finished @500",
        "progress A 2",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn everything_is_fetched_again_when_the_interval_runs_out() {
    let mut lab = lab("A B");
    lab.cursors.insert("A".into(), synced_at(WALL_MS - 4_000_000));
    lab.start();
    lab.page("A", "", None);
    lab.page("B", "", None);
    // A was fetched whole 4,000 seconds earlier than B, so its turn comes first.
    assert_eq!(lab.state.due_ms(), Some(DAY_MS - 4_000_000));
    lab.trace.clear();
    lab.until(DAY_MS - 4_000_000);
    lab.check(&[
        "begin A B",
        "ask A first limit 10",
        "ask B first limit 10 since 500",
    ]);
    lab.page("A", "", None);
    lab.trace.clear();
    lab.page("B", "", None);
    // Nobody waits for this one, so nobody is told.
    lab.check(&[
        "store B [] finished @500",
        "progress B 0",
        "synced B Delta new 0",
        "ready",
    ]);
}

#[test]
fn a_short_interval_does_not_sync_without_end() {
    let mut lab = lab_with(
        Limits {
            ages: SyncAges {
                full_sync_interval: Duration::ZERO,
                ..limits().ages
            },
            ..limits()
        },
        "A",
    );
    lab.start();
    lab.page("A", "", None);
    assert_eq!(lab.state.due_ms(), Some(FULL_SYNC_WAIT_MS_MIN));
}

#[test]
fn a_page_that_cannot_be_stored_is_fetched_again_from_the_stored_cursor() {
    let mut lab = lab("A");
    lab.slow_store = true;
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.stored("A");
    lab.page("A", "a2", Some("t2"));
    lab.page("A", "a3", None);
    lab.trace.clear();
    lab.not_stored("A");
    lab.check(&[]);
    lab.until(1_000);
    lab.check(&["ask A t1 limit 10"]);
    lab.page("A", "a2", Some("t2"));
    lab.stored("A");
    lab.page("A", "a3", None);
    lab.trace.clear();
    lab.stored("A");
    lab.check(&["progress A 3", "synced A Base new 3", "ready", "finished"]);
}

#[test]
fn a_model_that_cannot_be_synced_is_told_and_left_out() {
    let mut lab = lab("A");
    let unfit = Unfit {
        kind: ErrorKind::BadModel,
        reason: "too large".into(),
    };
    let levels = vec![
        vec![Subject {
            unfit: Some(unfit),
            ..subject("A")
        }],
        vec![subject("B")],
    ];
    lab.state = State::new(limits(), levels);
    lab.start();
    lab.check(&["begin A B", "failed A: too large", "ask B first limit 10"]);
}

#[test]
fn a_store_without_synced_models_is_ready_at_once() {
    let mut lab = lab("A");
    lab.state = State::new(limits(), Vec::new());
    lab.start();
    lab.check(&["begin ", "ready", "finished"]);
}

#[test]
fn a_server_that_does_not_say_when_it_started_is_never_taken_for_synced() {
    let mut lab = lab("A");
    lab.start();
    lab.answer("A", Ok(page("a1", Some("t1"), None)));
    lab.answer("A", Ok(page("a2", None, Some(500))));
    lab.check(&[
        "begin A",
        "ask A first limit 10",
        "store A [a1] no cursor",
        "ask A t1 limit 10",
        "progress A 1",
        "store A [a2] no cursor",
        "progress A 2",
        "synced A Base new 2",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_changed_expression_begins_anew_and_is_kept_with_the_cursor() {
    let mut lab = lab("A");
    let paging = Paging {
        kind: SyncKind::Base,
        next_token: "t7".into(),
        started_at_ms: 1,
        received: 9,
        fresh: true,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), synced_at(WALL_MS - 1).paged(None, paging));
    lab.state = State::new(
        limits(),
        vec![vec![Subject {
            expression: Some("x".into()),
            ..subject("A")
        }]],
    );
    lab.start();
    lab.check(&["begin A", "ask A first limit 10"]);
    lab.page("A", "a1", Some("t1"));
    assert_eq!(lab.cursors["A"].expression.as_deref(), Some("x"));
    assert_eq!(lab.cursors["A"].last_full_sync_ms, None);
}

#[test]
fn what_cannot_happen_is_counted_by_name() {
    let mut lab = lab("A");
    lab.feed(Input::TimerDue);
    assert_eq!(lab.state.unexpected, BTreeMap::from([(("idle", "TimerDue"), 1)]));
    lab.start();
    let question = lab.questions["A"].clone();
    let again = || Input::Answered {
        ticket: question.ticket,
        model: "A".into(),
        answer: Ok(Answer {
            page: page("a1", None, Some(1)),
            outside: Vec::new(),
        }),
    };
    lab.feed(again());
    lab.feed(again());
    lab.feed(Input::Stored {
        ticket: question.ticket,
        model: "Z".into(),
        stored: Ok(RemoteCounts::default()),
    });
    assert_eq!(
        lab.state.late, 2,
        "an answer that comes twice, and one of a model that nobody knows"
    );
    assert_eq!(
        lab.trace.iter().filter(|line| line.starts_with("store")).count(),
        1
    );
}

/// A lab with one model of which the store holds these, fully synced long ago.
fn lab_that_holds(ids: &[&'static str]) -> Lab {
    let mut lab = lab("A");
    lab.held.insert("A".into(), ids.to_vec());
    lab
}

#[test]
fn a_full_sync_ends_with_what_it_has_not_met() {
    let mut lab = lab_that_holds(&["a1", "a2", "a3", "a4", "a5"]);
    lab.start();
    lab.page("A", "a1 a3", Some("t1"));
    lab.page("A", "a4", None);
    lab.check(&[
        "begin A",
        "ask A first limit 10",
        "store A [a1 a3] paged t1 @500 2",
        "ask A t1 limit 10",
        "progress A 2",
        "store A [a4] finished @500",
        "progress A 3",
        "list A from the first before -59500",
        "store A [] without a2 no cursor",
        "list A from a2 before -59500",
        // Of a3 and a4 nothing leaves.
        "list A from a4 before -59500",
        "store A [] without a5 finished @500",
        "synced A Base new 3",
        "ready",
        "finished",
    ]);
    assert_eq!(lab.cursors["A"].last_full_sync_ms, Some(500));
}

#[test]
fn what_is_known_to_be_outside_leaves_though_it_changed_lately_and_unless_it_was_met() {
    let mut lab = lab_that_holds(&["a1", "a2", "a3", "a4", "a5"]);
    lab.outside = BTreeMap::from([("a1", 1), ("a3", 1), ("a5", 1)]);
    lab.start();
    lab.trace.clear();
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        // The server has a newer one of a1, which it selects.
        "list A from the first before -59500",
        "store A [] without a2 no cursor",
        "list A from a2 before -59500",
        "store A [] without a4 outside a3 no cursor",
        "list A from a4 before -59500",
        "store A [] without  outside a5 finished @500",
        "synced A Base new 1",
        "ready",
        "finished",
    ]);
}

#[test]
fn what_is_known_to_be_outside_is_not_asked_for_and_leaves_with_what_was() {
    let mut lab = lab_that_holds(&["a1", "a2", "a3"]);
    lab.outside = BTreeMap::from([("a1", 1), ("a3", -60_000)]);
    lab.start();
    lab.trace.clear();
    lab.answer("A", Ok(nameless("", 1)));
    lab.check(&[
        "store A [] bad 1 finished @500",
        "progress A 1",
        "list A from the first before -59500",
        "inquire a2",
    ]);
    lab.found("a2", Ok(Found::Unreadable));
    lab.check(&[
        "store A [] without  outside a1 no cursor",
        "list A from a2 before -59500",
        "store A [] without a3 finished @500",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_sweep_that_was_cut_off_is_made_up_for_also_for_what_is_outside() {
    let mut lab = lab_that_holds(&["a1", "a2", "a3"]);
    lab.outside = BTreeMap::from([("a1", 1), ("a3", 1)]);
    let narrowed = Subject {
        expression: Some("x".into()),
        ..subject("A")
    };
    lab.state = State::new(limits(), vec![vec![narrowed]]);
    lab.cursors.insert("A".into(), synced_at(WALL_MS - 1));
    lab.start();
    lab.slow_store = true;
    lab.page("A", "", None);
    lab.stored("A");
    lab.cancel();
    lab.stored("A");
    // By the cursor the expression is the same from here on.
    assert_eq!(lab.cursors["A"].expression.as_deref(), Some("x"));
    lab.trace.clear();
    lab.slow_store = false;
    lab.start();
    lab.page("A", "", None);
    lab.check(&[
        "begin A",
        "ask A first limit 10",
        "store A [] finished @500",
        "progress A 0",
        "list A from the first before -59500",
        "store A [] without a2 outside a1 no cursor",
        "list A from a2 before -59500",
        "store A [] without  outside a3 finished @500",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_full_sync_is_not_over_before_its_sweep_is() {
    let mut lab = lab_that_holds(&["a1"]);
    lab.start();
    lab.page("A", "a1", None);
    assert_eq!(
        lab.cursors["A"].last_full_sync_ms,
        Some(500),
        "the sweep is through"
    );
    let mut lab = lab_that_holds(&["a1"]);
    lab.slow_store = true;
    lab.start();
    lab.page("A", "", None);
    lab.stored("A");
    assert_eq!(
        (lab.cursors["A"].last_sync_ms, lab.cursors["A"].last_full_sync_ms),
        (Some(500), None),
        "only the pages are"
    );
    lab.cancel();
    lab.not_stored("A");
    lab.trace.clear();
    lab.slow_store = false;
    lab.start();
    lab.check(&["begin A", "ask A first limit 10"]);
}

#[test]
fn a_full_sync_of_an_empty_store_needs_no_sweep() {
    let mut lab = lab("A");
    lab.start();
    lab.page("A", "a1", None);
    assert!(
        !lab.trace.iter().any(|line| line.starts_with("list")),
        "{:?}",
        lab.trace
    );
    assert_eq!(lab.cursors["A"].last_full_sync_ms, Some(500));
}

#[test]
fn a_full_sync_that_was_cut_off_goes_on_with_what_it_has_met() {
    let mut lab = lab_that_holds(&["a1", "a2"]);
    lab.start();
    lab.page("A", "a1", Some("t1"));
    lab.cancel();
    lab.trace.clear();
    lab.start();
    lab.page("A", "", None);
    lab.check(&[
        "begin A",
        "ask A t1 limit 10",
        "store A [] finished @500",
        "progress A 1",
        "list A from the first before -59500",
        "store A [] without a2 finished @500",
        "ask A first limit 10 since 500",
    ]);
    lab.page("A", "", None);
    lab.check(&[
        "store A [] finished @500",
        "progress A 0",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_full_sync_begun_by_another_process_removes_nothing_and_is_repeated() {
    let mut lab = lab_that_holds(&["a1", "a2"]);
    let paging = Paging {
        kind: SyncKind::Base,
        next_token: "t1".into(),
        started_at_ms: 500,
        received: 1,
        fresh: false,
        limit: 0,
    };
    lab.cursors
        .insert("A".into(), SyncCursor::default().paged(None, paging));
    lab.start();
    lab.page("A", "", None);
    lab.check(&[
        "begin A",
        "ask A t1 limit 10",
        "store A [] finished @500",
        "progress A 1",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
    lab.until(FULL_SYNC_WAIT_MS_MIN);
    lab.check(&["begin A", "ask A first limit 10"]);
}

/// A page with so many items of null.
fn nameless(ids: &str, items: usize) -> SyncPage {
    let item = BadRecord {
        id: None,
        fault: BadRecordFault::Withheld,
        path: String::new(),
        reason: "is null".into(),
        json: String::new(),
    };
    SyncPage {
        bad: vec![item; items],
        ..page(ids, None, Some(500))
    }
}

#[test]
fn what_may_be_behind_an_item_without_a_name_is_asked_for_before_it_leaves() {
    let mut lab = lab_that_holds(&["a1", "a2", "a3", "a4", "a5"]);
    lab.start();
    lab.trace.clear();
    lab.answer("A", Ok(nameless("a1 a5", 1)));
    lab.check(&[
        "store A [a1 a5] bad 1 finished @500",
        "progress A 3",
        "list A from the first before -59500",
        "inquire a2",
    ]);
    assert_eq!(lab.cursors["A"].last_full_sync_ms, None, "it is not over yet");
    lab.found("a2", Ok(Found::Nothing));
    lab.check(&[
        "store A [] without a2 no cursor",
        "list A from a2 before -59500",
        "inquire a3",
        "inquire a4",
    ]);
    let record = page("a4", None, None).items.remove(0);
    lab.found("a4", Ok(Found::Record(record)));
    lab.check(&[]);
    // This is the one that the server cannot show.
    lab.found("a3", Err(FailureClass::Permanent));
    lab.check(&[
        "store A [a4] no cursor",
        "list A from a4 before -59500",
        "store A [] finished @500",
        "synced A Base new 3",
        "ready",
        "finished",
    ]);
    assert_eq!(lab.cursors["A"].last_full_sync_ms, Some(500));
}

#[test]
fn what_cannot_be_found_out_stays_and_the_app_is_told() {
    let mut lab = lab_that_holds(&["a1", "a2"]);
    lab.start();
    lab.answer("A", Ok(nameless("", 1)));
    lab.trace.clear();
    // The way to the server says nothing of the record, so nothing more is asked.
    lab.found("a1", Err(TRANSIENT));
    lab.found("a2", Ok(Found::Unreadable));
    lab.check(&[
        "store A [] finished @500",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
    let mut lab = lab_that_holds(&["a1", "a2"]);
    lab.start();
    lab.answer("A", Ok(nameless("", 1)));
    lab.trace.clear();
    lab.found("a1", Err(FailureClass::Permanent));
    lab.found("a2", Err(FailureClass::Permanent));
    lab.check(&[
        "store A [] finished @500",
        "kept A Some(2)",
        "synced A Base new 0",
        "ready",
        "finished",
    ]);
}

#[test]
fn a_sync_asks_for_so_many_records_and_a_few_at_a_time() {
    let mut lab = lab("A");
    let ids = (0..INQUIRIES_MAX + 10).map(|id| &*format!("{id:05}").leak());
    lab.held.insert("A".into(), ids.collect());
    lab.portion = usize::MAX;
    lab.start();
    lab.answer("A", Ok(nameless("", 1)));
    let mut answered = 0;
    while let Some(id) = lab.inquiries.keys().next().cloned() {
        assert!(lab.inquiries.len() <= AT_A_TIME);
        answered += 1;
        lab.found(&id, Ok(Found::Nothing));
    }
    assert_eq!(answered, INQUIRIES_MAX);
    assert!(
        lab.trace.iter().any(|line| line == "kept A Some(10)"),
        "{:?}",
        lab.trace.iter().rev().take(3).collect::<Vec<_>>()
    );
}

#[test]
fn an_answer_that_comes_after_a_cancel_removes_nothing() {
    let mut lab = lab_that_holds(&["a1"]);
    lab.start();
    lab.answer("A", Ok(nameless("", 1)));
    lab.cancel();
    lab.trace.clear();
    lab.found("a1", Ok(Found::Nothing));
    lab.check(&[]);
    assert_eq!((lab.state.late, lab.cursors["A"].last_full_sync_ms), (1, None));
}

#[test]
fn a_polled_model_is_synced_alone_every_so_often() {
    let polled = Subject {
        poll: Some(Duration::from_secs(5)),
        ..subject("A")
    };
    let mut lab = lab("B");
    lab.state = State::new(limits(), vec![vec![polled, subject("B")]]);
    lab.start();
    lab.page("A", "a1", None);
    lab.page("B", "", None);
    lab.trace.clear();
    lab.until(5_000);
    lab.check(&["ask A first limit 10 since 500"]);
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Delta new 1",
    ]);
    lab.until(9_999);
    lab.check(&[]);
    lab.until(10_000);
    lab.check(&["ask A first limit 10 since 500"]);
}

#[test]
fn a_model_that_may_not_be_read_is_tried_again_by_itself_and_told_once() {
    let mut lab = lab("A");
    lab.start();
    lab.fail("A", FailureClass::Unauthorized);
    let told = |lab: &Lab| lab.trace.iter().filter(|line| line.starts_with("failed")).count();
    assert_eq!(told(&lab), 1, "{:?}", lab.trace);
    let due_ms = lab.state.due_ms().expect("it is tried again");
    lab.until(due_ms);
    lab.fail("A", FailureClass::Unauthorized);
    assert_eq!(told(&lab), 1, "{:?}", lab.trace);
    let next_ms = lab.state.due_ms().expect("it is tried again");
    assert!(
        next_ms - due_ms > due_ms,
        "each wait is longer: {due_ms} {next_ms}"
    );
    lab.until(next_ms);
    lab.trace.clear();
    lab.page("A", "a1", None);
    lab.check(&[
        "store A [a1] finished @500",
        "progress A 1",
        "synced A Base new 1",
    ]);
}
