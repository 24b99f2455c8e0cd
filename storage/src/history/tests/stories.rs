//! What is told of a value, word by word.

use super::*;

fn told(store: &Store, field: Option<&str>) -> String {
    let why = history(store)
        .record(&post("p1"))
        .expect("a known model")
        .why(field);
    let mut text = format!("{}\n", why.subject);
    for line in why.lines {
        text += &format!("{} {}\n", line.seq, line.text);
    }
    text + &why.verdict.join("\n")
}

/// A post that the server knows as version 1, edited here while somebody else edited it there.
fn clash(decision: Decision) -> Store {
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=first rating=1")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    let given_up = match decision {
        Decision::AcceptRemote => fields("title=mine"),
        Decision::Retry { .. } => fields(""),
    };
    let conflict = Conflict {
        key: post("p1"),
        mutation: edit,
        remote: remote(&post("p1"), 2, "id=p1 title=theirs rating=5"),
        decision,
        given_up,
    };
    append(&mut store, Change::Conflict(conflict)).unwrap();
    store
}

#[test]
fn a_conflict_that_the_server_won() {
    let store = clash(Decision::AcceptRemote);
    assert_eq!(
        told(&store, Some("title")),
        r#"Post/p1.title is "theirs"
e2 Version 1 came from the server, by other means: the record appeared with id "p1", rating 1, title "first".
e3 The app changed title from "first" to "mine", on top of the server's version 1; that waits for the server.
e4 It was sent to the server, attempt 1: updatePost(id: "p1", title: "mine", _version: 1).
e5 The server did not accept e3, made on version 1, because its record was at version 2 with title "theirs". It was decided that the server's record stands, and the app's change was dropped, with title "mine": it changed title from "mine" to "theirs", rating from 1 to 5.
The server won: in the conflict e5 its version 2 replaced what the app had written in e3. It was "mine" before.
It agrees with the server's version 2."#
    );
}

#[test]
fn a_conflict_that_this_store_won() {
    let mut store = clash(Decision::Retry {
        kind: MutationKind::Update,
        patch: fields("title=mine"),
    });
    let text = told(&store, Some("title"));
    let verdict = r#"It comes from this store: the app wrote it in e3. It was "first" before.
This store won: in the conflict e5 the handler kept its value over the server's version 2, which had "theirs".
The server does not have it yet: e3 waits to be sent again."#;
    assert!(text.ends_with(verdict), "{text}");
    append(&mut store, sent(&post("p1"), Seq(3))).unwrap();
    let acknowledged = Acknowledged {
        key: post("p1"),
        mutation: Seq(3),
        remote: remote(&post("p1"), 3, "id=p1 title=mine rating=5"),
    };
    append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    let text = told(&store, Some("title"));
    assert!(
        text.ends_with("The server has it since version 3 (e7)."),
        "{text}"
    );
    // The other field was the server's to decide.
    let rating = told(&store, Some("rating"));
    assert!(
        rating.contains("The server won this field: in the conflict e5"),
        "{rating}"
    );
}

#[test]
fn a_change_that_waits_a_record_that_is_unknown_and_one_that_is_gone() {
    let mut store = in_memory();
    assert_eq!(
        told(&store, None),
        "the log knows nothing of Post/p1\nNo entry of the log made the record what it is."
    );
    save(&mut store, "Post", "id=p1 title=a");
    save(&mut store, "Post", "id=p1 title=b");
    let text = told(&store, Some("title"));
    assert!(text.contains(r#"e3 The app changed title from "a" to "b"; that was folded into e2, which waits for the server."#), "{text}");
    assert!(
        text.ends_with("The server does not have it yet: e2 waits to be sent."),
        "{text}"
    );
    store.write(5, |txn| remove(txn, &post("p1"))).unwrap();
    let text = told(&store, None);
    assert!(
        text.contains(
            "e4 The app deleted the record; as the server had never seen the record, nothing is left to send."
        ),
        "{text}"
    );
    assert!(text.starts_with("Post/p1 does not exist"), "{text}");
}

#[test]
fn a_refusal_and_what_became_of_it() {
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 4, "id=p1 title=first")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    let refused = Change::Refused(Refused {
        key: post("p1"),
        mutation: edit,
        refusal: Refusal {
            error_type: Some("Unauthorized".into()),
            message: "not yours".into(),
        },
        remote: None,
    });
    append(&mut store, refused).unwrap();
    let text = told(&store, Some("title"));
    assert!(
        text.ends_with(r#"The server does not have it: it refused e3 (Unauthorized, "not yours"), which waits for the app to retry or discard it."#),
        "{text}"
    );
    let of = MutationRef {
        key: post("p1"),
        mutation: edit,
    };
    append(&mut store, Change::Discarded(of)).unwrap();
    let text = told(&store, Some("title"));
    assert!(
        text.contains(r#"e6 The app gave e3 up: it changed title from "mine" to "first"."#),
        "{text}"
    );
    assert!(
        text.contains("The app gave its change e3 up in e6, which brought it back."),
        "{text}"
    );
}

#[test]
fn long_values_and_many_fields_are_cut() {
    let mut store = in_memory();
    let long = "x".repeat(500);
    save(
        &mut store,
        "Post",
        &format!("id=p1 title={long} rating=1 score=1.5 live=true day=2020-01-01 status=LIVE tags=[a]"),
    );
    save(&mut store, "Post", "id=p1 title=b");
    let text = told(&store, None);
    assert!(
        text.contains("and 2 more") && text.contains("xxx...") && text.len() < 700,
        "{text}"
    );
}

/// A post of version 1 whose title and rating are edited here; the server answers with version 3 and a title of somebody
/// else, which came as version 2 before the answer, after it, or not at all.
fn merged(other: Option<bool>) -> Store {
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=first rating=1")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine rating=4").seq;
    let theirs = arrived(&post("p1"), 2, "id=p1 title=theirs rating=1");
    if other == Some(true) {
        append(&mut store, theirs.clone()).unwrap();
    }
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    let acknowledged = Acknowledged {
        key: post("p1"),
        mutation: edit,
        remote: remote(&post("p1"), 3, "id=p1 title=theirs rating=4"),
    };
    append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    if other == Some(false) {
        append(&mut store, theirs).unwrap();
    }
    store
}

#[test]
fn an_edit_that_the_server_merged_away() {
    let store = merged(Some(true));
    assert_eq!(
        told(&store, Some("title")),
        r#"Post/p1.title is "theirs"
e2 Version 1 came from the server, by other means: the record appeared with id "p1", rating 1, title "first".
e3 The app changed title from "first" to "mine", rating from 1 to 4, on top of the server's version 1; that waits for the server.
e4 Version 2 came from the server, by other means; what the app had changed meanwhile stays on top of it.
e5 It was sent to the server, attempt 1: updatePost(id: "p1", rating: 4, title: "mine", _version: 1).
e6 The server merged e3, made on version 1, which made version 3: its version 2, e4, had title "theirs", and it kept that: it changed title from "mine" to "theirs".
The server won: it merged e3, made on version 1, with its version 2, e4, which had title "theirs", and kept that (e6). It was "mine" before.
The server has it since version 3 (e6)."#
    );
    // The other field went through as it was sent, and has nothing to do with the other version.
    let rating = told(&store, Some("rating"));
    assert!(!rating.contains("e4 Version 2"), "{rating}");
    assert!(
        rating.contains("It comes from this store: the app wrote it in e3."),
        "{rating}"
    );
    // What only came after the answer tells as much.
    let later = told(&merged(Some(false)), Some("title"));
    assert!(
        later.contains("\ne6 Version 2 came from the server")
            && later.contains("with its version 2, e6, which had title \"theirs\", and kept that (e5)."),
        "{later}"
    );
}

#[test]
fn of_several_fields_that_the_server_merged_each_is_told_by_itself() {
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=first rating=1")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine rating=4").seq;
    append(&mut store, arrived(&post("p1"), 2, "id=p1 title=theirs rating=2")).unwrap();
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    let acknowledged = Acknowledged {
        key: post("p1"),
        mutation: edit,
        remote: remote(&post("p1"), 3, "id=p1 title=theirs rating=6"),
    };
    append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    let title = told(&store, Some("title"));
    for part in [
        r#"The server won: it merged e3, made on version 1, with its version 2, e4, which had title "theirs", and kept that (e6)."#,
        r#"its version 2, e4, had rating 2, title "theirs", and it kept title "theirs" and answered with rating 6: it changed"#,
    ] {
        assert!(title.contains(part), "{part}: {title}");
    }
    let rating = told(&store, Some("rating"));
    assert!(
        rating.contains("The server decided: it merged e3, made on version 1, with its version 2, e4, which had rating 2, and answered with rating 6 (e6)."),
        "{rating}"
    );
}

#[test]
fn a_merge_is_told_without_the_other_version_too() {
    let text = told(&merged(None), Some("title"));
    let verdict = r#"The server won: e3 was made on version 1 and its answer has version 3, so somebody else's change was merged, which the log does not hold; it answered with title "theirs" (e5). It was "mine" before."#;
    assert!(text.contains(verdict), "{text}");
    assert!(
        text.contains("its version went on by more than one, so somebody else's change was merged"),
        "{text}"
    );
}

#[test]
fn what_a_resolver_of_the_server_changed_on_the_next_version_is_no_merge() {
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=first")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    let acknowledged = Acknowledged {
        key: post("p1"),
        mutation: edit,
        remote: remote(&post("p1"), 2, "id=p1 title=MINE"),
    };
    append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    let text = told(&store, Some("title"));
    assert!(
        text.contains("a merge, a resolver or a default of the server put it there")
            && !text.contains("merged"),
        "{text}"
    );
    // An answer that was lost is made up of the record of a later moment, which proves nothing.
    let mut store = in_memory();
    append(&mut store, arrived(&post("p1"), 1, "id=p1 title=first")).unwrap();
    let edit = save(&mut store, "Post", "id=p1 title=mine").seq;
    append(&mut store, sent(&post("p1"), edit)).unwrap();
    append(&mut store, lost(&post("p1"), edit)).unwrap();
    let acknowledged = Acknowledged {
        key: post("p1"),
        mutation: edit,
        remote: remote(&post("p1"), 3, "id=p1 title=theirs"),
    };
    append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    let text = told(&store, Some("title"));
    assert!(!text.contains("merged"), "{text}");
}
