use serde_json::json;

use super::*;

const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\rend\u{202e}";

fn step(seq: u64, title: &str, version: Option<u64>, told: &str) -> Json {
    json!({ "seq": seq, "row": { "id": "p1", "title": title }, "version": version, "deleted": false, "pending": [], "text": told })
}

fn data() -> Json {
    let mut sent = step(2, "first", None, "It was sent.");
    sent["pending"] = json!([{ "mutation": 1, "kind": "create", "stage": "in flight", "attempts": 1, "fields": { "title": "first" } }]);
    let entry = |seq: u64, kind: &str, id: &str, cause: Option<u64>, told: &str| json!({ "seq": seq, "atMs": 1_000 * seq, "origin": "app", "cause": cause, "kind": kind, "model": "Post", "id": id, "text": told });
    let mut conflict = entry(5, "conflict", "p1", Some(4), "They differed.");
    conflict["sides"] = json!({
        "verdict": ["Somebody else was first."],
        "fields": [{ "field": "title", "base": "first", "ours": "mine", "theirs": "theirs", "winner": "the server" }],
    });
    json!({
        "title": "blog", "first": 1, "newest": 5, "from": 1, "to": 5, "damage": [], "redacted": false,
        "entries": [
            entry(1, "write", "p1", None, "The app created it."),
            entry(2, "sent", "p1", Some(1), "It was sent."),
            entry(3, "remote", "p2", None, HOSTILE),
            entry(4, "write", "p1", None, "The app changed title."),
            conflict,
        ],
        "records": {
            "Post/p1": { "model": "Post", "id": "p1", "steps": [
                step(1, "first", None, "The app created it."), sent, step(4, "mine", Some(1), "The app changed title."),
                step(5, "theirs", Some(2), "They differed."),
            ] },
            "Post/p2": { "model": "Post", "id": "p2", "steps": [step(3, HOSTILE, Some(1), "It came.")] },
        },
        "cursors": [{ "seq": 3, "model": "Post", "lastSyncMs": 3_000, "lastFullSyncMs": null, "received": null }],
    })
}

fn press(view: &mut View, keys: &str) -> Flow {
    let mut flow = Flow::On;
    for key in keys.chars() {
        flow = view.key(&match key {
            '\n' => Key::Enter,
            '\u{1b}' => Key::Escape,
            '\t' => Key::Tab,
            other => Key::Char(other),
        });
    }
    flow
}

fn screen(view: &View) -> String {
    view.draw(120, 30).lines.join("\n")
}

#[test]
fn going_up_and_down_goes_through_time() {
    let mut view = View::new(data());
    assert_eq!(view.at(), 5, "it begins with the newest");
    press(&mut view, "2");
    assert!(screen(&view).contains("* title: theirs"), "{}", screen(&view));
    press(&mut view, "k");
    let shown = screen(&view);
    assert!(
        shown.contains("* title: mine") && shown.contains("after e4"),
        "{shown}"
    );
    press(&mut view, "g4");
    assert!(screen(&view).contains("nothing"), "{}", screen(&view));
    press(&mut view, "j");
    let outbox = screen(&view);
    assert!(outbox.contains("e1 waits: create, in flight"), "{outbox}");
    press(&mut view, "5");
    assert!(screen(&view).contains("never synced"));
    press(&mut view, "j");
    assert!(screen(&view).contains("Post: last sync 1970-01-01T00:00:03.000Z, last full sync never"));
}

#[test]
fn causes_and_effects_are_marked_followed_and_left_again() {
    let mut view = View::new(data());
    let shown = screen(&view);
    assert!(shown.contains("<e4 write Post/p1"), "{shown}");
    assert!(shown.contains("because of e4"), "{shown}");
    press(&mut view, "c");
    assert_eq!(view.at(), 4);
    assert!(screen(&view).contains(">e5 conflict"), "{}", screen(&view));
    press(&mut view, "e");
    assert_eq!(view.at(), 5);
    press(&mut view, "bb");
    assert_eq!(view.at(), 5, "back where it began");
    press(&mut view, "b");
    assert!(screen(&view).contains("this is where you began"));
    press(&mut view, "gc");
    assert!(screen(&view).contains("nothing in the log led to it"));
}

#[test]
fn the_entries_of_a_record_lead_to_each_other() {
    let mut view = View::new(data());
    press(&mut view, "p");
    assert_eq!(view.at(), 4);
    press(&mut view, "pp");
    assert_eq!(view.at(), 1, "what is about another record is passed over");
    press(&mut view, "n");
    assert_eq!(view.at(), 2);
}

#[test]
fn a_filter_hides_and_going_to_a_hidden_entry_ends_it() {
    let mut view = View::new(data());
    press(&mut view, "/conflict\n");
    assert_eq!(view.shown.len(), 1);
    assert!(
        screen(&view).contains("filter: conflict (1 entries"),
        "{}",
        screen(&view)
    );
    press(&mut view, "c");
    assert_eq!((view.at(), view.shown.len()), (4, 5));
    press(&mut view, "/nothing has this");
    assert!(view.shown.is_empty());
    screen(&view);
    press(&mut view, "q\u{1b}");
    assert_eq!(view.shown.len(), 5, "q was typed into the filter");
    assert_eq!(press(&mut view, "q"), Flow::End);
}

#[test]
fn a_conflict_is_shown_from_both_sides() {
    let shown = screen(&View::new(data()));
    for line in [
        "Somebody else was first.",
        "title: the server won",
        "before: first",
        "this store: mine",
        "the server: theirs",
    ] {
        assert!(shown.contains(line), "{line} is missing:\n{shown}");
    }
}

#[test]
fn records_cannot_steer_the_terminal() {
    let mut view = View::new(data());
    for panel in ["1", "2", "3", "4", "5"] {
        for _ in 0..5 {
            press(&mut view, panel);
            for line in view.draw(200, 40).lines {
                let odd = |c: char| c.is_control() || c == '\u{202e}';
                assert!(!line.contains(odd), "{line:?}");
            }
            press(&mut view, "k");
        }
        press(&mut view, "G");
    }
}

#[test]
fn a_frame_has_the_size_that_it_is_asked_for_and_the_entry_is_in_it() {
    let mut view = View::new(data());
    for panel in ["1", "2", "3", "4", "5"] {
        press(&mut view, panel);
        for (columns, lines) in [
            (200, 50),
            (80, 24),
            (79, 24),
            (20, 5),
            (3, 3),
            (1, 1),
            (0, 0),
            (300, 2),
        ] {
            let frame = view.draw(columns, lines);
            assert_eq!(frame.lines.len(), if columns == 0 { 0 } else { lines });
            for line in &frame.lines {
                assert_eq!(console::measure_text_width(line), columns, "{line:?}");
            }
            if let Some(chosen) = frame.chosen {
                assert!(frame.lines[chosen].is_char_boundary(frame.chosen_bytes));
                assert!(columns < 10 || frame.lines[chosen].contains("e5"), "{frame:?}");
            }
        }
    }
}

#[test]
fn whoever_looks_at_the_newest_entry_goes_along_with_the_store() {
    let more = || {
        let mut more = data();
        let mut sixth = more["entries"][3].clone();
        sixth["seq"] = 6.into();
        more["entries"].as_array_mut().unwrap().push(sixth);
        more["to"] = 6.into();
        more
    };
    let mut view = View::new(data());
    view.follow(more());
    assert_eq!(view.at(), 6);
    let mut view = View::new(data());
    press(&mut view, "k");
    view.follow(more());
    assert_eq!(view.at(), 4);
    assert!(
        screen(&view).contains("the store has gone on by 1"),
        "{}",
        screen(&view)
    );
}

#[test]
fn data_without_anything_can_be_looked_at() {
    for empty in [
        json!({}),
        json!({ "entries": [], "records": {}, "cursors": [] }),
        Json::Null,
    ] {
        let mut view = View::new(empty);
        for key in "kjgG12345cebnp /x\n".chars() {
            press(&mut view, &key.to_string());
            screen(&view);
        }
    }
}
