use std::sync::Arc;

use landfall_core::{Change, LogEntry, Origin};
use redb::backends::InMemoryBackend;

use super::*;
use crate::codec;
use crate::disk::region_at_start;
use crate::error::StorageError;
use crate::store::LogHead;

const CAPACITY: u64 = 16 * SECTOR as u64;

/// A journal in memory, and its bytes beneath.
fn journal() -> (Journal, Arc<InMemoryBackend>) {
    let disk = Arc::new(InMemoryBackend::new());
    disk.set_len(CAPACITY).unwrap();
    (reopened(&disk), disk)
}

fn reopened(disk: &Arc<InMemoryBackend>) -> Journal {
    Journal::new(
        region_at_start(Arc::clone(disk) as Arc<dyn StorageBackend>),
        CAPACITY,
    )
}

/// A frame of `count` entries after `head`, told apart by `time`; and where the log ends with it.
fn frame(head: LogHead, count: u64, time: i64) -> (Frame, LogHead) {
    let mut frame = Frame::after(head);
    let mut end = head;
    for _ in 0..count {
        let entry = LogEntry {
            seq: end.seq.next(),
            at_ms: time,
            origin: Origin::App,
            cause: None,
            change: Change::Cleared,
        };
        let previous = end.check;
        let (_, check) = frame.push(|out| codec::entry::encode(out, &entry, previous));
        end = LogHead {
            seq: entry.seq,
            check,
        };
    }
    (frame, end)
}

fn append(journal: &mut Journal, head: LogHead, count: u64, time: i64) -> LogHead {
    let (mut frame, end) = frame(head, count, time);
    journal.append(&mut frame).unwrap();
    end
}

fn seqs(found: &[Found]) -> Vec<u64> {
    found.iter().map(|entry| entry.seq.0).collect()
}

#[test]
fn an_empty_journal_has_nothing_to_recover() {
    let (mut journal, _disk) = journal();
    assert_eq!(journal.recover(LogHead::default()).unwrap(), []);
}

#[test]
fn what_follows_the_head_is_recovered_in_order_and_the_next_frame_goes_behind_it() {
    let (mut journal, disk) = journal();
    let start = LogHead::default();
    let first = append(&mut journal, start, 2, 0);
    let second = append(&mut journal, first, 1, 0);
    let third = append(&mut journal, second, 3, 0);

    for (head, expected) in [
        (start, vec![1, 2, 3, 4, 5, 6]),
        (first, vec![3, 4, 5, 6]),
        (second, vec![4, 5, 6]),
        (third, vec![]),
    ] {
        assert_eq!(seqs(&reopened(&disk).recover(head).unwrap()), expected);
    }
    let mut again = reopened(&disk);
    again.recover(first).unwrap();
    let fourth = append(&mut again, third, 1, 0);
    assert_eq!(seqs(&reopened(&disk).recover(third).unwrap()), [7]);
    assert_eq!(reopened(&disk).recover(fourth).unwrap(), []);
}

#[test]
fn frames_of_an_earlier_round_are_not_taken_for_a_part_of_this_one() {
    let (mut journal, disk) = journal();
    let mut head = LogHead::default();
    for _ in 0..6 {
        head = append(&mut journal, head, 1, 0);
    }
    journal.restart();
    let end = append(&mut journal, head, 1, 0);
    assert_eq!(seqs(&reopened(&disk).recover(head).unwrap()), [7]);
    assert_eq!(reopened(&disk).recover(end).unwrap(), []);
}

#[test]
fn damage_before_the_last_frame_is_told_from_a_crash() {
    let (mut journal, disk) = journal();
    let start = LogHead::default();
    let first = append(&mut journal, start, 1, 1);
    append(&mut journal, first, 1, 1);
    let mut byte = [0];
    disk.read(40, &mut byte).unwrap();
    disk.write(40, &[byte[0] ^ 1]).unwrap();
    let refused = reopened(&disk).recover(start);
    assert!(
        matches!(refused, Err(StorageError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_frame_of_another_history_does_not_continue_this_one() {
    let (mut journal, disk) = journal();
    let start = LogHead::default();
    let lost = append(&mut journal, start, 1, 1);
    append(&mut journal, lost, 1, 1);
    // The same entry number and the same length, but another content.
    let other = append(&mut reopened(&disk), start, 1, 2);
    assert_ne!(other.check, lost.check);
    let refused = reopened(&disk).recover(start);
    assert!(
        matches!(refused, Err(StorageError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_frame_with_any_bit_flipped_ends_the_journal() {
    let (mut journal, disk) = journal();
    let first = append(&mut journal, LogHead::default(), 1, 0);
    let (mut torn, _) = frame(first, 2, 0);
    let length = torn.seal().iter().rposition(|byte| *byte != 0).unwrap() + 1;
    journal.append(&mut torn).unwrap();
    for at in 0..length {
        let place = SECTOR as u64 + at as u64;
        let mut byte = [0];
        disk.read(place, &mut byte).unwrap();
        disk.write(place, &[byte[0] ^ 4]).unwrap();
        assert_eq!(
            seqs(&reopened(&disk).recover(LogHead::default()).unwrap()),
            [1],
            "byte {at}"
        );
        disk.write(place, &byte).unwrap();
    }
}

#[test]
fn a_journal_that_does_not_follow_the_log_is_refused() {
    let (mut journal, disk) = journal();
    let start = LogHead {
        seq: Seq(10),
        check: 7,
    };
    append(&mut journal, start, 2, 0);
    let other = LogHead {
        seq: Seq(10),
        check: 8,
    };
    let earlier = LogHead {
        seq: Seq(9),
        check: 7,
    };
    for head in [other, earlier] {
        let refused = reopened(&disk).recover(head);
        assert!(
            matches!(refused, Err(StorageError::Corrupt { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(seqs(&reopened(&disk).recover(start).unwrap()), [11, 12]);
}

#[test]
fn a_frame_that_does_not_fit_is_not_begun() {
    let (mut journal, _disk) = journal();
    let mut head = LogHead::default();
    for _ in 0..16 {
        let (mut next, end) = frame(head, 1, 0);
        assert!(journal.has_room_for(&next));
        journal.append(&mut next).unwrap();
        head = end;
    }
    assert!(!journal.has_room_for(&frame(head, 1, 0).0));
    journal.restart();
    assert!(journal.has_room_for(&frame(head, 1, 0).0));
    assert!(!journal.has_room_for(&frame(head, 400, 0).0));
}

#[test]
fn an_erased_journal_keeps_no_byte() {
    let (mut journal, disk) = journal();
    append(&mut journal, LogHead::default(), 5, 0);
    journal.restart();
    journal.erase().unwrap();
    let mut bytes = vec![1; usize::try_from(CAPACITY).unwrap()];
    disk.read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(journal.recover(LogHead::default()).unwrap(), []);
}

#[test]
fn what_a_crash_left_of_an_erased_journal_is_known_however_long_its_first_frame() {
    let (mut journal, disk) = journal();
    let head = append(&mut journal, LogHead::default(), 40, 7);
    let head = append(&mut journal, head, 1, 7);
    // All but the first sector was being overwritten when the power went.
    disk.write(SECTOR as u64, &[0; 2 * SECTOR]).unwrap();
    let mut again = reopened(&disk);
    assert_eq!(again.recover(head).unwrap(), []);
    assert_eq!(again.oldest(), Some(Seq(1)));
    again.erase().unwrap();
    let mut bytes = vec![1; usize::try_from(CAPACITY).unwrap()];
    StorageBackend::read(&*disk, 0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(reopened(&disk).oldest(), None);
}

#[test]
fn what_was_taken_over_is_not_erased_with_what_lies_behind_it() {
    let (mut journal, disk) = journal();
    let mut head = LogHead::default();
    for _ in 0..4 {
        head = append(&mut journal, head, 1, 7);
    }
    journal.restart();
    let end = append(&mut journal, head, 1, 8);
    let mut again = reopened(&disk);
    assert_eq!(seqs(&again.recover(head).unwrap()), [5]);
    assert_eq!(again.oldest(), Some(Seq(2)), "of the round before");
    again.erase().unwrap();
    let mut again = reopened(&disk);
    assert_eq!(seqs(&again.recover(head).unwrap()), [5]);
    assert_eq!(again.oldest(), None);
    append(&mut again, end, 1, 9);
    assert_eq!(seqs(&reopened(&disk).recover(head).unwrap()), [5, 6]);
}

#[test]
fn a_length_that_makes_no_sense_is_no_frame() {
    let (mut journal, disk) = journal();
    append(&mut journal, LogHead::default(), 1, 7);
    disk.write(1 + 16, &u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(reopened(&disk).recover(LogHead::default()).unwrap(), []);
}
