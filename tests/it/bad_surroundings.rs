//! A disk without room, an endpoint that is not there, a key that is wrong: said clearly, and the store goes on.
//!
//! Owns what people see of it through the command line; the crates test each fault where it is met.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::landfall::landfall;
use crate::support::line_client::LineClient;
use crate::support::npm;
use crate::support::serve::{API_KEY, ServeProcess};

/// Looks, ten milliseconds apart, until a change must have been tried again.
const LOOKS_MAX: usize = 3_000;

fn note(title: &str) -> Value {
    json!({"op": "save", "model": "Post", "fields": {"title": title}})
}

/// A shell whose files may not grow beyond so many blocks of 1,024 bytes, as on a disk that is full by then.
#[cfg(unix)]
fn shell_with_room_for(blocks: u64, data: &str) -> LineClient {
    let shell = landfall();
    let mut command = Command::new("sh");
    // A write that goes too far ends a process that does not know of it.
    command
        .arg("-c")
        .arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\""));
    command.arg(shell.get_program());
    command
        .args(["shell", "--json", "--data", data, "--schema"])
        .arg(npm::schema());
    LineClient::spawn("a shell on a full disk", &mut command)
}

#[cfg(unix)]
#[test]
fn a_full_disk_refuses_saves_keeps_what_it_has_and_goes_on_with_room() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().to_str().expect("its name is text");
    // `ulimit -f` counts in blocks of 512 or 1,024 bytes, as the shell has it: room for the store, not for much more.
    let mut store = shell_with_room_for(8 * 1024, data);
    let text = "x".repeat(100_000);
    let mut saved = 0;
    let refused = loop {
        match store.send(&note(&format!("{saved} {text}"))) {
            Ok(_) => saved += 1,
            Err(error) => break error,
        }
        assert!(saved < 1_000, "the disk is never full");
    };
    assert!(
        refused.contains(&format!("the disk is full, so {data}")),
        "{refused}"
    );
    let count = json!({"op": "count", "model": "Post"});
    assert_eq!(store.ok(&count), saved, "what was acknowledged can be read");
    assert!(store.exit().success());

    let mut store = LineClient::landfall("with room", &npm::schema(), &["--data", data]);
    assert_eq!(
        store.ok(&count),
        saved,
        "no more and no less than was acknowledged"
    );
    store.ok(&note("one more"));
    assert_eq!(store.ok(&count), saved + 1);
    assert!(store.exit().success());
}

#[test]
fn an_endpoint_that_is_not_there_keeps_nobody_from_working() {
    let args = ["--endpoint", "http://127.0.0.1:1/graphql", "--api-key", "k"];
    let mut store = LineClient::landfall("a lonely store", &npm::schema(), &args);
    store.ok(&json!({"op": "start"}));
    store.wait_hub_with("networkStatus", &json!({"active": false}));
    let saved = store.ok(&note("kept"));
    assert_eq!(
        store.ok(&json!({"op": "get", "model": "Post", "id": saved["id"]}))["title"],
        "kept"
    );
    let waiting = store.ok(&json!({"op": "outbox"}));
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    assert!(store.exit().success());
}

#[test]
fn a_wrong_key_is_named_and_what_was_saved_waits() {
    let server = ServeProcess::start(&npm::schema(), &[]);
    let args = ["--endpoint", &server.url, "--api-key", "da2-wrong"];
    let mut store = LineClient::landfall("a stranger", &npm::schema(), &args);
    store.ok(&note("kept"));
    store.ok(&json!({"op": "start"}));
    let mut errors = Vec::new();
    for _ in 0..LOOKS_MAX {
        let more = store.ok(&json!({"op": "errors"}));
        errors.extend(more.as_array().cloned().unwrap_or_default());
        if errors.len() > 1 {
            break;
        }
        pause(&mut store);
    }
    // Realtime and each model meet the same cause; so does what waits, and only its error says that it does.
    assert_eq!(errors.len(), 2, "{errors:?}");
    let errors = Value::from(errors);
    for error in [&errors[0], &errors[1]] {
        assert_eq!(error["errorType"], "Unauthorized", "{errors}");
        let advice = error["recoverySuggestion"].as_str().unwrap_or_default();
        assert!(advice.contains("check the credentials"), "{errors}");
    }
    assert_ne!(errors[0]["process"], "mutate", "{errors}");
    assert_eq!(errors[1]["process"], "mutate", "{errors}");
    assert_eq!(errors[1]["model"], "Post", "{errors}");
    assert!(
        !errors.to_string().contains("da2-wrong"),
        "keys are never shown: {errors}"
    );
    assert_eq!(store.ok(&json!({"op": "errors"})), json!([]), "one cause");
    let waiting = store.ok(&json!({"op": "outbox"}));
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    assert!(store.exit().success());
}

/// Answers every request with a web page, as the login page of a network does, and counts those about a change of a post. Ends
/// with the test's process.
fn login_page() -> (String, Arc<AtomicUsize>) {
    page("200 OK")
}

/// As [`login_page`], with a page of that status.
fn page(status: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&changes);
    let serve = move || {
        for stream in listener.incoming().flatten() {
            // Whoever asked may be gone.
            welcome(stream, status, &counted).unwrap_or(());
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a server of the test's own, which has no runtime"
    )]
    std::thread::spawn(serve);
    (format!("http://{address}/graphql"), changes)
}

/// Reads a request and answers it.
fn welcome(stream: TcpStream, status: &str, changes: &AtomicUsize) -> std::io::Result<()> {
    const PAGE: &str = "<html><head><title>Welcome to the hotel</title></head></html>";
    let mut request = BufReader::new(stream);
    let mut body = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line)?;
        if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            body = length.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; body];
    request.read_exact(&mut body)?;
    // Once the answer to a create cannot be read, what became of it is asked for.
    let body = String::from_utf8_lossy(&body);
    if body.contains("createPost") || body.contains("getPost") {
        changes.fetch_add(1, Ordering::SeqCst);
    }
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        PAGE.len()
    );
    request.get_mut().write_all(format!("{head}{PAGE}").as_bytes())
}

/// Waits until the third try of a change has failed, of which an app is told: by then the fourth is on its way.
fn await_fourth_try(store: &mut LineClient, changes: &AtomicUsize) {
    for _ in 0..LOOKS_MAX {
        if changes.load(Ordering::SeqCst) >= 4 {
            return;
        }
        pause(store);
    }
    panic!("what was saved is not tried often enough");
}

/// Waits for ten milliseconds, by an event that never comes.
fn pause(store: &mut LineClient) {
    let never = json!({"op": "waitHub", "event": "noSuchEvent", "ms": 10});
    store.send(&never).expect_err("there is no such event");
}

#[test]
fn a_login_page_in_the_way_is_named_and_what_was_saved_waits() {
    let (url, changes) = login_page();
    let args = ["--endpoint", &url, "--api-key", "k"];
    let mut store = LineClient::landfall("a guest", &npm::schema(), &args);
    store.ok(&note("kept"));
    store.ok(&json!({"op": "start"}));
    await_fourth_try(&mut store, &changes);
    let errors = store.ok(&json!({"op": "errors"}));
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "one cause: {errors}");
    let errors = errors.to_string();
    assert!(
        errors.contains("check its address, and that no login page"),
        "{errors}"
    );
    assert!(
        errors.contains("Welcome to the hotel"),
        "the page is named: {errors}"
    );
    let waiting = store.ok(&json!({"op": "outbox"}));
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    assert!(store.exit().success());
}

#[test]
fn an_error_page_in_the_way_is_told_and_holds_up_nothing() {
    let args = ["--endpoint", &page("502 Bad Gateway").0, "--api-key", "k"];
    let mut store = LineClient::landfall("behind a proxy", &npm::schema(), &args);
    store.ok(&note("kept"));
    store.ok(&json!({"op": "start"}));
    // Sync goes on without realtime, though it brings nothing here.
    store.wait_hub("syncQueriesStarted");
    let errors = store.ok(&json!({"op": "errors"}));
    assert_eq!(errors.as_array().map(Vec::len), Some(1), "one cause: {errors}");
    let errors = errors.to_string();
    assert!(errors.contains("no realtime connection"), "{errors}");
    assert!(
        errors.contains("Welcome to the hotel") && errors.contains("502"),
        "the page is named: {errors}"
    );
    let waiting = store.ok(&json!({"op": "outbox"}));
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    assert!(store.exit().success());
}

#[test]
fn a_model_that_an_older_server_knows_in_another_form_is_told_once() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let schema = |name: &str, fields: &str| {
        let path = folder.path().join(name);
        let sdl = format!("type Visit @model {{ id: ID! @primaryKey title: String {fields} }}");
        std::fs::write(&path, sdl).expect("it can be written");
        path
    };
    let server = ServeProcess::start(&schema("old.graphql", ""), &[]);
    let args = ["--endpoint", &server.url, "--api-key", API_KEY];
    let mut store = LineClient::landfall("a newer app", &schema("new.graphql", "weather: String"), &args);
    store.ok(&json!({"op": "save", "model": "Visit", "fields": {"id": "v1", "title": "first"}}));
    store.ok(&json!({"op": "start"}));
    // By then the subscriptions have been refused, the sync has failed, and so has the change.
    store.wait_hub("modelSyncFailed");
    for _ in 0..LOOKS_MAX {
        let waiting = store.ok(&json!({"op": "outbox"}));
        if waiting[0]["stage"] == "parked" {
            break;
        }
        pause(&mut store);
    }
    let errors = store.ok(&json!({"op": "errors"}));
    let of = |process: &[&str]| -> Vec<&Value> {
        let errors = errors.as_array().into_iter().flatten();
        errors
            .filter(|error| process.iter().any(|process| error["process"] == *process))
            .collect()
    };
    let of_model = of(&["subscribe", "sync"]);
    assert_eq!(of_model.len(), 1, "one cause: {errors}");
    let advice = of_model[0]["recoverySuggestion"].as_str().unwrap_or_default();
    assert!(
        advice.starts_with("update the server") && !advice.contains("kept up to date"),
        "{errors}"
    );
    assert_eq!(of(&["mutate"]).len(), 1, "what became of the change: {errors}");
    assert!(store.exit().success());
}
