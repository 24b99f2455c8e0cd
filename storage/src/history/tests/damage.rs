//! Files that are cut, altered, foreign, newer or hostile: nothing panics, and what is said to be readable is right.

use std::io::Cursor;

use super::*;

fn exported(deeds: &[Deed]) -> (History, Vec<u8>) {
    let history = history(&random_store(deeds));
    let mut bytes = Vec::new();
    history.export(&mut bytes, None).expect("memory is always there");
    (history, bytes)
}

fn read(bytes: Vec<u8>) -> Result<History, StorageError> {
    LogFile::open(Box::new(Cursor::new(bytes))).map(History::of_file)
}

/// Reads everything that can be read, and holds it to the original.
fn ransack(original: &History, damaged: &History) {
    let listing = damaged.list(&Filter::default(), usize::MAX).unwrap();
    for (seq, entry) in &listing.entries {
        let expected = original.entry(*seq).unwrap();
        assert_eq!(*entry.as_ref().expect("blocks are checked"), expected);
    }
    let check = damaged.check().unwrap();
    let (first, last) = damaged.bounds();
    if let Some(sound) = check.sound_to
        && damaged.schema().is_some()
    {
        assert!(
            damaged.as_of(sound, &Scope::All).is_ok(),
            "{sound} was said to be sound"
        );
    }
    damaged.stats().unwrap();
    damaged.diff(first, last).map(drop).unwrap_or(());
    damaged.record(&post("p1")).map(drop).unwrap_or(());
    let folder = tempfile::tempdir().unwrap();
    if damaged.fork(last, folder.path()).is_err() {
        assert!(
            !folder.path().join(crate::FILE_NAME).exists(),
            "half a store is left"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_cut_file_is_readable_up_to_the_cut(deeds in deeds(30), cut in any::<prop::sample::Index>()) {
        let (original, bytes) = exported(&deeds);
        let cut = cut.index(bytes.len());
        match read(bytes[..cut].to_vec()) {
            Err(error) => prop_assert!(cut < 16, "{error}"),
            Ok(damaged) => {
                prop_assert!(!damaged.check().unwrap().is_sound(), "it was cut at {cut}");
                ransack(&original, &damaged);
            }
        }
    }

    #[test]
    fn altered_bytes_are_found(deeds in deeds(30), flips in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4)) {
        let (original, bytes) = exported(&deeds);
        let mut altered = bytes.clone();
        for (at, mask) in flips {
            altered[at.index(bytes.len())] ^= mask;
        }
        if let Ok(damaged) = read(altered.clone()) {
            prop_assert!(altered == bytes || !damaged.check().unwrap().is_sound());
            ransack(&original, &damaged);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..2_000), start in 0..3_u8) {
        let mut file = match start {
            0 => Vec::new(),
            1 => b"\x89LFLOG\r\n\x01\x00\x00\x00".to_vec(),
            _ => exported(&[Deed::Save(1, 1)]).1,
        };
        file.extend(bytes);
        if let Ok(history) = read(file) {
            history.check().unwrap();
            history.list(&Filter::default(), 10).unwrap();
            let (_, last) = history.bounds();
            history.as_of(last, &Scope::All).map(drop).unwrap_or(());
        }
    }
}

#[test]
fn each_kind_of_damage_is_told_in_words() {
    let mut store = in_memory();
    for n in 0..3_000 {
        save(
            &mut store,
            "Post",
            &format!("id=p{n} title=a-title-that-takes-some-room"),
        );
    }
    let history = history(&store);
    let mut bytes = Vec::new();
    history.export(&mut bytes, None).unwrap();
    let said = |bytes: Vec<u8>| match read(bytes) {
        Err(error) => error.to_string(),
        Ok(history) => {
            let check = history.check().unwrap();
            let what: Vec<String> = check.damage.into_iter().map(|damage| damage.what).collect();
            format!(
                "sound to {:?}; {}",
                check.sound_to.map_or(0, |seq| seq.0),
                what.join("; ")
            )
        }
    };
    assert_eq!(said(bytes.clone()), "sound to 3001; ");
    assert!(said(b"PK\x03\x04 something else".to_vec()).contains("it is no exported log"));
    let mut newer = bytes.clone();
    newer[8] = 9;
    assert!(said(newer).contains("it has version 9 and this program reads up to 2; update Landfall"));
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n").into_bytes();
    let mangled = [&[0x89], &text[3..]].concat();
    assert!(said(mangled).contains("took it for text"));
    let cut = said(bytes[..bytes.len() - 100].to_vec());
    assert!(
        cut.contains("it was cut off after e") && !cut.starts_with("sound to 0"),
        "{cut}"
    );
    let middle = bytes.len() / 2;
    let mut altered = bytes.clone();
    altered[middle] ^= 1;
    let altered = said(altered);
    assert!(
        altered.contains("was altered in the file") && altered.contains("is missing"),
        "{altered}"
    );
    // The head of a block is hit: the blocks after it are found again.
    let head = bytes.windows(4).rposition(|window| window == b"LFB1").unwrap();
    let mut lost = bytes.clone();
    lost[head + 5] ^= 1;
    assert!(said(lost).contains("the file is damaged at byte"));
    let mut headless = bytes;
    headless[20] ^= 1;
    let headless = said(headless);
    assert!(headless.contains("not known which schema"), "{headless}");
}

#[test]
fn a_gap_is_told_and_what_lies_before_it_can_be_asked() {
    let mut store = in_memory();
    for n in 0..9 {
        save(&mut store, "Post", &format!("id=p{n} title=t"));
    }
    let folder = tempfile::tempdir().unwrap();
    history(&store).fork(store.head(), folder.path()).unwrap();
    tamper(folder.path(), |transaction| {
        transaction.open_table(LOG).unwrap().remove(5).unwrap();
    });
    let history = open_for_inspection(folder.path()).unwrap();
    let listing = history.list(&Filter::default(), usize::MAX).unwrap();
    assert_eq!(listing.gaps, [(Seq(5), Seq(5))]);
    let check = history.check().unwrap();
    assert_eq!(check.sound_to, Some(Seq(4)));
    assert_eq!(check.damage[0].what, "e5 is missing");
    assert!(history.as_of(Seq(4), &Scope::All).is_ok());
    let error = history.as_of(Seq(8), &Scope::All).unwrap_err().to_string();
    assert!(error.contains("the log has a gap from e5 to e5"), "{error}");
    // The gap survives an export.
    let mut bytes = Vec::new();
    history.export(&mut bytes, None).unwrap();
    let exported = read(bytes).unwrap();
    assert_eq!(exported.check().unwrap().damage, check.damage);
}

/// The entries that can be listed of a file, and what is wrong with it.
fn salvaged(original: &History, bytes: Vec<u8>) -> (Vec<u64>, Vec<String>) {
    let damaged = read(bytes).unwrap();
    ransack(original, &damaged);
    let listing = damaged.list(&Filter::default(), usize::MAX).unwrap();
    let there = listing.entries.iter().map(|(seq, _)| seq.0).collect();
    let check = damaged.check().unwrap();
    assert!(!check.is_sound());
    (
        there,
        check.damage.into_iter().map(|damage| damage.what).collect(),
    )
}

#[test]
fn of_a_damaged_block_every_entry_that_is_whole_is_read() {
    let mut store = in_memory();
    for n in 0..20 {
        save(&mut store, "Post", &format!("id=p{n} title=title-{n}-here"));
    }
    let original = history(&store);
    let mut bytes = Vec::new();
    original.export(&mut bytes, None).unwrap();
    let newest = original.bounds().1.0;
    let place = bytes
        .windows(13)
        .position(|bytes| bytes == b"title-11-here")
        .unwrap();
    // A value of one entry: that entry is lost. What follows is chained to what it stored.
    let mut altered = bytes.clone();
    altered[place] ^= 1;
    let (there, what) = salvaged(&original, altered);
    let without = |gone: u64| (1..=newest).filter(|seq| *seq != gone).collect::<Vec<u64>>();
    let gone = (1..=newest).find(|seq| !there.contains(seq)).unwrap();
    assert_eq!(there, without(gone));
    assert!(
        what.contains(&format!("e{gone} was altered in the file, or cut off")),
        "{what:?}"
    );
    // Cut off within the block: what lies before is read.
    let (there, what) = salvaged(&original, bytes[..place].to_vec());
    assert_eq!(there, (1..gone).collect::<Vec<u64>>());
    let lost = format!("e{gone} to e{newest} were altered in the file, or cut off");
    assert!(what.contains(&lost), "{what:?}");
    // The head of the block itself.
    let head = bytes.windows(4).position(|window| window == b"LFB1").unwrap();
    let mut headless = bytes.clone();
    headless[head + 9] ^= 1;
    let (there, what) = salvaged(&original, headless);
    assert_eq!(there, (1..=newest).collect::<Vec<u64>>());
    assert!(what[0].contains("the file is damaged at byte"), "{what:?}");
    // What comes behind the end is none of it, and is told.
    let longer = [&bytes[..], &[7; 200]].concat();
    let (there, what) = salvaged(&original, longer);
    assert_eq!(there.len() as u64, newest);
    assert!(what[0].starts_with("200 bytes follow the end mark"), "{what:?}");
}

#[test]
fn blocks_behind_bytes_that_are_gone_are_found_again() {
    let (bytes, newest) = long_log(1_500);
    let blocks: Vec<usize> = (0..bytes.len() - 4)
        .filter(|at| bytes[*at..].starts_with(b"LFB1"))
        .collect();
    let before_last = blocks[blocks.len() - 2];
    // So much that the block ends beyond the file by what its head says.
    let missing = [&bytes[..before_last + 2_000], &bytes[blocks[blocks.len() - 1]..]].concat();
    assert!(bytes.len() - blocks[blocks.len() - 1] < blocks[blocks.len() - 1] - before_last - 2_000);
    let damaged = read(missing).unwrap();
    let listing = damaged.list(&Filter::default(), usize::MAX).unwrap();
    assert_eq!(listing.entries.last().unwrap().0, newest);
    assert_eq!(listing.gaps.len(), 1);
}

#[test]
fn each_flipped_byte_of_a_log_costs_few_entries() {
    let mut store = in_memory();
    for n in 0..12 {
        save(&mut store, "Post", &format!("id=p{n} title=title-{n}-here"));
    }
    let original = history(&store);
    let mut bytes = Vec::new();
    original.export(&mut bytes, None).unwrap();
    let newest = original.bounds().1.0;
    let head = bytes.windows(4).position(|window| window == b"LFB1").unwrap();
    for at in head..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 0x10;
        let listing = read(altered)
            .unwrap()
            .list(&Filter::default(), usize::MAX)
            .unwrap();
        let there: Vec<u64> = listing.entries.iter().map(|(seq, _)| seq.0).collect();
        let before = there.iter().zip(1..).take_while(|(seq, n)| **seq == *n).count();
        // An altered length hides what follows in the block, nothing else does.
        assert!(
            there.len() as u64 + 2 >= newest || before == there.len(),
            "byte {at}: {there:?}"
        );
    }
}

/// A log of so many posts, in blocks, with the number of the last entry.
fn long_log(posts: u64) -> (Vec<u8>, Seq) {
    let mut store = in_memory();
    for n in 0..posts {
        let title = "a-title-that-takes-some-room";
        save(&mut store, "Post", &format!("id=p{n} title={title} rating={n}"));
    }
    let mut bytes = Vec::new();
    let history = history(&store);
    history.export(&mut bytes, None).unwrap();
    (bytes, history.bounds().1)
}

/// What is wrong with an answer, and up to where answers are right.
fn broken<T: std::fmt::Debug>(answer: Result<T, StorageError>) -> (String, Option<Seq>) {
    match answer {
        Err(StorageError::LogBroken { what, sound }) => (what, sound),
        other => panic!("it is answered as if the log were whole: {other:?}"),
    }
}

fn rating_below(limit: i64) -> Invariant {
    Invariant {
        name: "bound".into(),
        model: "Post".into(),
        rule: Rule::Every(Predicate::field("rating", landfall_core::Op::Lt(limit.into()))),
    }
}

/// Holds every question about the newest state of a log without its end to what is there.
fn nothing_is_told_beyond(damaged: &History, newest: Seq) -> Seq {
    assert_eq!(damaged.bounds().1, newest);
    let (what, sound) = broken(damaged.query(newest, &Query::all("Post")));
    assert!(what.contains("is missing"), "{what}");
    let told = [
        broken(damaged.pending(newest)),
        broken(damaged.as_of(newest, &Scope::All)),
        broken(damaged.diff(Seq(1), newest)),
        broken(damaged.record(&post("p0"))),
        broken(damaged.first_failure(&[rating_below(1_000_000)], Seq::ZERO)),
    ];
    assert!(told.iter().all(|(_, at)| *at == sound), "{told:?}");
    let folder = tempfile::tempdir().unwrap();
    broken(damaged.fork(newest, folder.path()));
    let sound = sound.expect("the first block is whole");
    assert_eq!(
        damaged.query(sound, &Query::all("Post")).unwrap().len() as u64,
        sound.0 - 1
    );
    broken(damaged.query(sound.next(), &Query::all("Post")));
    // What fails before the damage is found whatever comes after it.
    let failure = damaged
        .first_failure(&[rating_below(5)], Seq::ZERO)
        .unwrap()
        .expect("p5 fails");
    assert_eq!(failure.entry.change.key(), Some(&post("p5")));
    let last = i64::try_from(sound.0).unwrap() - 2;
    let failure = damaged.first_failure(&[rating_below(last)], Seq::ZERO).unwrap();
    assert_eq!(failure.expect("the last that is there fails").entry.seq, sound);
    sound
}

#[test]
fn a_log_without_its_end_is_not_answered_as_if_it_were_whole() {
    let (bytes, newest) = long_log(3_000);
    let blocks: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter_map(|(at, mark)| (mark == b"LFB1").then_some(at))
        .collect();
    let (first, last) = (blocks[0], *blocks.last().unwrap());
    assert!(blocks.len() > 2, "{blocks:?}");
    let end = bytes.len() - 24;
    let cut = read(bytes[..bytes.len() * 2 / 3].to_vec()).unwrap();
    assert!(nothing_is_told_beyond(&cut, newest) < newest);
    // The last block altered, or gone without a trace.
    let mut altered = bytes.clone();
    // The length of the first entry in it, without which nothing in it is found.
    altered[last + 30] ^= 1;
    let altered = nothing_is_told_beyond(&read(altered).unwrap(), newest);
    let removed = [&bytes[..last], &bytes[end..]].concat();
    assert_eq!(nothing_is_told_beyond(&read(removed).unwrap(), newest), altered);
    // The head is damaged as well, so only the end mark says how far the log went; or nothing does.
    let mut headless = [&bytes[..last], &bytes[end..]].concat();
    headless[20] ^= 1;
    assert_eq!(
        nothing_is_told_beyond(&read(headless.clone()).unwrap(), newest),
        altered
    );
    headless.truncate(last);
    let endless = read(headless).unwrap();
    let (what, sound) = broken(endless.query(endless.bounds().1, &Query::all("Post")));
    assert!(what.contains("how long that was is not known"), "{what}");
    assert_eq!(sound, Some(altered));
    // Nothing is there at all.
    let none = read([&bytes[..first], &bytes[end..]].concat()).unwrap();
    for seq in [Seq(2), newest] {
        assert_eq!(broken(none.query(seq, &Query::all("Post"))).1, None);
        assert_eq!(broken(none.pending(seq)).1, None);
    }
    assert!(read(bytes).unwrap().query(newest, &Query::all("Post")).is_ok());
}

#[test]
fn of_a_transaction_whose_rest_is_missing_no_failure_is_told() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a rating=1");
    let before = store.head();
    let group = Some(before.next());
    for rating in ["9", "1"] {
        let write = landfall_core::Write {
            key: post("p1"),
            kind: MutationKind::Update,
            patch: fields(&format!("rating={rating}")),
            condition: None,
            base_version: None,
            queued: true,
            parents: Vec::new(),
            group,
            at_end: false,
            took_along: None,
        };
        append(&mut store, Change::Write(write)).unwrap();
    }
    assert_eq!(
        history(&store)
            .first_failure(&[rating_below(5)], Seq::ZERO)
            .unwrap(),
        None
    );
    save(&mut store, "Post", "id=p2 title=b rating=2");
    let folder = tempfile::tempdir().unwrap();
    history(&store).fork(store.head(), folder.path()).unwrap();
    tamper(folder.path(), |transaction| {
        transaction.open_table(LOG).unwrap().remove(before.0 + 2).unwrap();
    });
    let damaged = open_for_inspection(folder.path()).unwrap();
    let (_, sound) = broken(damaged.first_failure(&[rating_below(5)], Seq::ZERO));
    assert_eq!(sound, Some(before));
}

#[test]
fn what_a_newer_program_wrote_is_told_as_that_and_not_as_damage() {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a rating=1");
    let sound = store.head();
    // The third version of a conflict.
    let newer = landfall_core::Opaque {
        kind: 6,
        version: 3,
        payload: vec![0xc0],
    };
    append(&mut store, Change::Opaque(newer)).unwrap();
    save(&mut store, "Post", "id=p2 title=b rating=9");
    let history = history(&store);
    let newest = store.head();
    let check = history.check().unwrap();
    assert_eq!((check.newer, check.sound_to), (Some(sound.next()), Some(sound)));
    assert!(check.is_sound() && check.projections.is_none(), "{check:?}");
    let told = [
        history.query(newest, &Query::all("Post")).map(drop),
        history.pending(newest).map(drop),
        history.as_of(newest, &Scope::All).map(drop),
        history.diff(Seq(1), newest).map(drop),
        history.record(&post("p1")).map(drop),
        history.first_failure(&[rating_below(5)], Seq::ZERO).map(drop),
    ];
    for told in told {
        let error = told.expect_err("what it did is not known");
        assert!(
            matches!(error, StorageError::EntryTooNew { seq, sound: Some(at) } if seq == sound.next() && at == sound),
            "{error}"
        );
        assert!(error.to_string().contains("update Landfall"), "{error}");
    }
    assert_eq!(history.query(sound, &Query::all("Post")).unwrap().len(), 1);
    assert!(
        history
            .first_failure(&[rating_below(1)], Seq::ZERO)
            .unwrap()
            .is_some()
    );
    // Made again from its log the store would lack what the entry did.
    let rebuilt = store.rebuild().expect_err("it cannot be done by this version");
    assert!(matches!(rebuilt, StorageError::EntryTooNew { .. }), "{rebuilt}");
    let listed = history.list(&Filter::default(), usize::MAX).unwrap().entries;
    assert!(
        listed.iter().all(|(_, entry)| entry.is_ok()),
        "what can be shown is shown"
    );
}

/// A write whose condition has so many others in it, encoded as a careful stranger would.
fn nested(levels: usize) -> Change {
    const ALL: &[u8] = b"\xa3All";
    const NOT: &[u8] = b"\x81\xa3Not";
    let write = landfall_core::Write {
        key: post("p1"),
        kind: MutationKind::Update,
        patch: fields("title=t"),
        condition: Some(Predicate::Not(Box::new(Predicate::All))),
        base_version: None,
        queued: true,
        parents: Vec::new(),
        group: None,
        at_end: false,
        took_along: None,
    };
    let plain = rmp_serde::to_vec(&write).unwrap();
    let at = plain.windows(ALL.len()).position(|bytes| bytes == ALL).unwrap();
    let mut payload = plain[..at - NOT.len()].to_vec();
    payload.extend(std::iter::repeat_n(NOT, levels).flatten());
    payload.extend(&plain[at..]);
    // Kind and version of a write, which the store takes for what it does not know when it is told so.
    Change::Opaque(landfall_core::Opaque {
        kind: 1,
        version: 3,
        payload,
    })
}

/// An exported log whose checks all fit, with such a write between two sound ones.
fn with_nested(levels: usize) -> Vec<u8> {
    let mut store = in_memory();
    save(&mut store, "Post", "id=p1 title=a");
    append(&mut store, nested(levels)).expect("what is not known changes nothing");
    save(&mut store, "Post", "id=p2 title=b");
    let mut bytes = Vec::new();
    history(&store)
        .export(&mut bytes, None)
        .expect("memory is always there");
    bytes
}

#[test]
fn a_condition_nested_without_end_is_told_and_nothing_falls_over() {
    for levels in [400, 100_000] {
        let damaged = read(with_nested(levels)).expect("every check fits");
        let (_, last) = damaged.bounds();
        let check = damaged.check().expect("memory is always there");
        let told: Vec<&str> = check.damage.iter().map(|damage| damage.what.as_str()).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("nests deeper"), "{told:?}");
        let listed = damaged.list(&Filter::default(), usize::MAX).unwrap().entries;
        assert_eq!(listed.iter().filter(|(_, entry)| entry.is_err()).count(), 1);
        let query = Query {
            predicate: Predicate::field("title", landfall_core::Op::Eq("a".into())),
            ..Query::all("Post")
        };
        let invariant = Invariant {
            name: "any".into(),
            model: "Post".into(),
            rule: Rule::Every(Predicate::All),
        };
        let answers = [
            damaged.query(last, &query).map(drop),
            damaged.query(last, &Query::all("Post")).map(drop),
            damaged.pending(last).map(drop),
            damaged.record(&post("p1")).map(drop),
            damaged.as_of(last, &Scope::All).map(drop),
            damaged.first_failure(&[invariant], Seq::ZERO).map(drop),
        ];
        for answer in answers {
            let told = answer.expect_err("an entry cannot be read").to_string();
            assert!(told.contains("nests deeper"), "{told}");
        }
        assert!(
            damaged.record(&post("p2")).is_ok(),
            "what is not damaged is answered"
        );
        damaged
            .export(
                &mut Vec::new(),
                Some(&Redaction::new([7; REDACTION_KEY_BYTES], None)),
            )
            .map(drop)
            .unwrap_or(());
    }
}

#[test]
fn as_much_nesting_as_is_read_fits_into_the_stack_of_a_thread() {
    let most = with_nested(crate::codec::nesting::NESTING_MAX - 3);
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let read_all = thread.spawn(move || {
        let history = read(most).expect("every check fits");
        let entries = history.list(&Filter::default(), usize::MAX).unwrap().entries;
        assert!(entries.iter().all(|(_, entry)| entry.is_ok()));
        for (_, entry) in &entries {
            entry_json(entry.as_ref().unwrap());
        }
        let (_, last) = history.bounds();
        assert_eq!(history.query(last, &Query::all("Post")).unwrap().len(), 2);
        history.pending(last).unwrap();
    });
    read_all.unwrap().join().expect("the stack is deep enough");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What stands in an entry is a stranger's, though all checks fit.
    #[test]
    fn payloads_of_any_kind_are_answered(
        kind in 0..20_u16,
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        nest in proptest::collection::vec((any::<u8>(), 0..600_usize), 0..4),
    ) {
        let mut payload = payload;
        for (byte, times) in nest {
            payload.extend(std::iter::repeat_n(byte, times));
        }
        let mut store = in_memory();
        save(&mut store, "Post", "id=p1 title=a");
        append(&mut store, Change::Opaque(landfall_core::Opaque { kind, version: 1, payload })).expect("it is not known");
        save(&mut store, "Post", "id=p2 title=b");
        let mut bytes = Vec::new();
        history(&store).export(&mut bytes, None).expect("memory is always there");
        let damaged = read(bytes).expect("every check fits");
        let (_, last) = damaged.bounds();
        let query = Query {
            predicate: Predicate::field("title", landfall_core::Op::Eq("a".into())),
            ..Query::all("Post")
        };
        damaged.check().unwrap();
        let found = damaged.query(last, &query).map(drop).is_ok();
        let plain = damaged.as_of(last, &Scope::Model("Post".into())).map(drop).is_ok();
        prop_assert!(found || !plain, "a query reads no more than a fold");
        damaged.pending(last).map(drop).unwrap_or(());
        damaged.record(&post("p1")).map(drop).unwrap_or(());
    }
}

/// The bytes of a store's file with so many posts, closed in order or as a kill leaves it, and its newest entry.
fn file_of(posts: u64, closed: bool) -> (Vec<u8>, Seq) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(crate::FILE_NAME);
    let mut store = in_directory(folder.path());
    for n in 0..posts {
        save(&mut store, "Post", &format!("id=p{n} title=a-title rating={n}"));
    }
    let newest = store.head();
    let killed = std::fs::read(&file).unwrap();
    drop(store);
    let bytes = if closed {
        std::fs::read(&file).unwrap()
    } else {
        killed
    };
    (bytes, newest)
}

/// Looks at a file of a store whose length is wrong.
fn inspected(bytes: &[u8]) -> (tempfile::TempDir, Result<History, StorageError>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(crate::FILE_NAME), bytes).unwrap();
    let opened = open_for_inspection(folder.path());
    (folder, opened)
}

#[test]
fn a_store_that_lost_or_gained_some_bytes_at_its_end_is_read_and_made_again() {
    for closed in [true, false] {
        let (sound, newest) = file_of(40, closed);
        let longer = |by: usize| [&sound[..], &vec![0xA5; by]].concat();
        let damaged = [sound[..sound.len() - 1].to_vec(), longer(200), longer(5_000)];
        for (number, bytes) in damaged.iter().enumerate() {
            let (folder, history) = inspected(bytes);
            let history = history.unwrap_or_else(|error| panic!("{closed} {number}: {error}"));
            let listing = history.list(&Filter::default(), usize::MAX).unwrap();
            assert_eq!(listing.entries.len() as u64, newest.0, "{closed} {number}");
            assert_eq!(history.query(newest, &Query::all("Post")).unwrap().len(), 40);
            let check = history.check().unwrap();
            // A whole page more is what a stop while the file grows leaves as well, and no damage.
            assert!(number == 2 || !check.is_sound(), "{closed} {number}: {check:?}");
            assert_eq!(check.sound_to, Some(newest));
            drop(history);
            let file = folder.path().join(crate::FILE_NAME);
            assert!(std::fs::read(&file).unwrap() == *bytes, "it is only looked at");
            let made = crate::remake(folder.path(), crate::Extent::Everything).unwrap();
            assert_eq!((made.newest, made.lost), (newest, None), "{closed} {number}");
        }
    }
}

#[test]
fn a_store_that_was_cut_in_the_middle_is_read_as_far_as_its_log_goes_and_named() {
    let (sound, newest) = file_of(3_000, true);
    let (mut partial, mut nothing) = (0, 0);
    for cut in (2..40).map(|part| sound.len() * part / 40 + 7) {
        let (folder, history) = inspected(&sound[..cut.min(sound.len() - 1)]);
        match history {
            Ok(history) => {
                let check = history.check().unwrap();
                assert!(!check.is_sound(), "cut at {cut}");
                let listing = history.list(&Filter::default(), usize::MAX).unwrap();
                let there = listing.entries.len() as u64;
                assert_eq!(there, check.entries);
                if there < newest.0 {
                    partial += 1;
                    assert_eq!(check.sound_to, Some(Seq(there)), "cut at {cut}");
                    let told = broken(history.query(history.bounds().1, &Query::all("Post")));
                    assert_eq!(told.1, Some(Seq(there)));
                    let posts = history.query(Seq(there), &Query::all("Post")).unwrap();
                    assert_eq!(posts.len() as u64, there - 1);
                }
            }
            Err(StorageError::NoStore { .. } | StorageError::Foreign { .. }) => nothing += 1,
            Err(error) => {
                nothing += 1;
                let text = error.to_string();
                let file = folder.path().join(crate::FILE_NAME).display().to_string();
                assert!(text.contains(&file) && !text.contains("the disk"), "{text}");
                assert!(
                    !text.contains("data rebuild"),
                    "of nothing no store can be made: {text}"
                );
            }
        }
    }
    println!("{partial} in part, {nothing} not at all");
    assert!(nothing > 0, "what has lost its database cannot be read");
}
