//! A redacted log shows nothing that was written, and tells the same story.

use std::io::Cursor;

use super::*;
use crate::test_support::put_fields;

fn redacted(history: &History, key: u8) -> (Vec<u8>, History) {
    let redaction = Redaction::new([key; REDACTION_KEY_BYTES], history.schema().cloned());
    let mut bytes = Vec::new();
    history
        .export(&mut bytes, Some(&redaction))
        .expect("memory is always there");
    let file = LogFile::open(Box::new(Cursor::new(bytes.clone()))).expect("it was written a moment ago");
    (bytes, History::of_file(file))
}

/// An entry of each kind that holds texts of others; `seq` is a change of `post-two`.
fn append_secrets(store: &mut Store, seq: Seq) {
    let free = Change::Refused(Refused {
        key: post("post-two"),
        mutation: seq,
        refusal: Refusal {
            error_type: Some("type-secret of one@example.com".into()),
            message: "message-secret".into(),
        },
        remote: None,
    });
    append(store, free).unwrap();
    let checkpoint = Checkpoint {
        model: "Post".into(),
        cursor: SyncCursor {
            expression: Some("expression-secret".into()),
            ..SyncCursor::default()
        },
    };
    append(store, Change::Checkpoint(checkpoint)).unwrap();
    let quarantined = landfall_core::Quarantined {
        model: "Post".into(),
        reason: "reason-secret".into(),
        json: "json-secret".into(),
    };
    append(store, Change::Quarantined(quarantined)).unwrap();
    let opaque = landfall_core::Opaque {
        kind: 900,
        version: 3,
        payload: b"payload-secret".to_vec(),
    };
    append(store, Change::Opaque(opaque)).unwrap();
}

#[test]
fn nothing_that_was_written_is_left() {
    let mut store = in_memory();
    save(&mut store, "Blog", "id=blog-secret name=name-secret");
    let place = [
        ("city".to_owned(), "city-secret".into()),
        ("lat".to_owned(), 47.375_861.into()),
    ];
    let extra = [("member-secret".to_owned(), "extra-secret".into())];
    let mut all = fields(
        "id=post-secret title=title-secret blogId=blog-secret status=LIVE rating=77123 tags=[tag-secret]",
    );
    all.insert("place".into(), landfall_core::Value::Object(place.into()));
    all.insert("extra".into(), landfall_core::Value::Object(extra.into()));
    let key = post("post-secret");
    let applied = store
        .write(5, |txn| put_fields(txn, "Post", &all))
        .unwrap()
        .value
        .unwrap();
    let refused = Change::Refused(Refused {
        key: key.clone(),
        mutation: applied.seq,
        refusal: Refusal {
            error_type: Some("Unauthorized".into()),
            message: "message-secret".into(),
        },
        remote: Some(remote(&key, 2, "id=post-secret title=theirs-secret")),
    });
    append(&mut store, refused).unwrap();
    let seq = save(&mut store, "Post", "id=post-two title=title-secret").seq;
    append_secrets(&mut store, seq);
    let history = history(&store);
    let mut plain = Vec::new();
    history.export(&mut plain, None).unwrap();
    let shows = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    let (bytes, file) = redacted(&history, 7);
    let number = [206, 0, 1, 45, 67];
    assert!(
        shows(&plain, b"secret") && shows(&plain, &number) && shows(&plain, &47.375_861_f64.to_be_bytes())
    );
    assert!(!shows(&bytes, b"secret") && !shows(&bytes, &number));
    assert!(!shows(&bytes, &47.375_861_f64.to_be_bytes()));
    assert!(file.is_redacted() && file.check().unwrap().is_sound());
    assert_ne!(redacted(&history, 8).0, bytes, "another key gives other values");
    // The schema, which is the shape, is there; enum values are values of the enum.
    let past = file.as_of(file.bounds().1, &Scope::All).unwrap();
    let record = past.query(&Query::all("Post")).unwrap().remove(0);
    assert!(["DRAFT", "LIVE", "OLD"].contains(&record.get("status").unwrap().as_str().unwrap()));
    let blog = past.query(&Query::all("Blog")).unwrap().remove(0);
    assert_eq!(record.get("blogId"), blog.get("id"), "references still refer");
    // Whoever goes on with it has records as valid as before.
    let schema = history.schema().unwrap();
    for (model, record) in [("Post", &record), ("Blog", &blog)] {
        let mut values = record.values().to_vec();
        let valid = landfall_core::validate(schema, schema.model(model).unwrap(), &mut values);
        assert_eq!(valid, Ok(()), "{record:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn equal_stays_equal_and_different_stays_different(deeds in deeds(40)) {
        let history = history(&random_store(&deeds));
        let (_, file) = redacted(&history, 1);
        prop_assert_eq!(file.bounds(), history.bounds());
        let (_, last) = history.bounds();
        let redaction = Redaction::new([1; REDACTION_KEY_BYTES], history.schema().cloned());
        let (plain, hidden) = (history.as_of(last, &Scope::All).unwrap(), file.as_of(last, &Scope::All).unwrap());
        prop_assert_eq!(plain.states().count(), hidden.states().count());
        let mut titles: Vec<(Option<landfall_core::Value>, Option<landfall_core::Value>)> = Vec::new();
        for (key, state) in plain.states() {
            let theirs = hidden.state(&redaction.key(&key)).expect("the same records");
            prop_assert_eq!(state.sync, theirs.sync);
            prop_assert_eq!(state.pending.len(), theirs.pending.len());
            let title = |past: &PastState, key: &RecordKey| past.get(key).and_then(|r| r.get("title").cloned());
            titles.push((title(&plain, &key), title(&hidden, &redaction.key(&key))));
        }
        for (plain, hidden) in &titles {
            for (other_plain, other_hidden) in &titles {
                prop_assert_eq!(plain == other_plain, hidden == other_hidden);
            }
        }
    }
}
