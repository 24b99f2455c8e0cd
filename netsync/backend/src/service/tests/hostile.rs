//! What must not bring the backend down: junk on every way in, and a disk that fails.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use landfall_storage::kv::DiskBackend;
use proptest::prelude::*;

use super::realtime::silent;
use super::*;

/// Pieces that junk is made of, so that some of it gets past the first check.
fn piece() -> impl Strategy<Value = String> {
    let known = [
        "{",
        "}",
        "(",
        ")",
        "query",
        "mutation",
        "subscription",
        "getPost",
        "createPost",
        "onCreatePost",
        "(id: 1)",
        "(input: {title: \"t\"})",
        "$x",
        ": ID!",
        "...F",
        "fragment F on Post",
        "id",
        "title",
        "comments",
        "items",
        "@skip(if: true)",
        "\"",
        "\\",
        "\u{0}",
        "é",
        "-1",
        "null",
        "[",
        "]",
        "filter: {and: [{id: {eq: null}}]}",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        ".{0,4}"
    ]
}

fn junk() -> impl Strategy<Value = String> {
    proptest::collection::vec(piece(), 0..20).prop_map(|pieces| pieces.join(" "))
}

#[test]
fn fragments_that_lead_from_one_to_the_next_are_refused_before_they_are_followed() {
    let chain = |fragments: usize, levels: usize| {
        let mut query = String::from("{ getPost(id: \"p1\") { ...F0 } }");
        for number in 0..fragments {
            let (open, close) = ("...{".repeat(levels), "}".repeat(levels));
            query += &format!(
                " fragment F{number} on Post {{ {open} ...F{} {close} }}",
                number + 1
            );
        }
        query + &format!(" fragment F{fragments} on Post {{ id }}")
    };
    let answer = bench().ask(&chain(30, 400), json!({}));
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("Query nests too deep"), "{answer}");
    let answer = bench().ask(&chain(3, 20), json!({}));
    assert_eq!(answer, json!({"data": {"getPost": null}}));
}

proptest! {
    #![proptest_config(crate::fixtures::random(256))]

    #[test]
    fn junk_is_answered(query in junk(), body in junk(), frame in junk()) {
        let bench = bench();
        let (status, _) = bench.post(&json!({"query": query}));
        prop_assert!(status == 200 || status == 400, "{status}");
        let reply = bench.backend.handle_http(START_MS, &HttpCall::post(KEY, body.clone()));
        prop_assert!(reply.status == 200 || reply.status == 400);
        let get = HttpCall { get: true, query: Some(body), ..HttpCall::post(KEY, "") };
        prop_assert!(bench.backend.handle_http(START_MS, &get).status < 500);
        let headers = [("x-api-key".to_owned(), KEY.to_owned()), ("sec-websocket-protocol".to_owned(), frame.clone())];
        let connection = bench.backend.open_connection(START_MS, &headers, Some(&frame), silent());
        bench.backend.frame_in(START_MS, connection, &frame);
        let data = json!({"query": query}).to_string();
        let payload = json!({"data": data, "extensions": {"authorization": {"x-api-key": KEY}}});
        let start = json!({"id": frame, "type": "start", "payload": payload}).to_string();
        bench.backend.frame_in(START_MS, connection, &start);
        prop_assert!(!bench.backend.take_outgoing(connection).is_empty());
    }
}

/// A disk that outlives its databases and cannot sync while told so.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
}

impl DiskBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes
            .lock()
            .unwrap()
            .resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_failed_commit_is_answered_with_500_and_the_backend_goes_on() {
    let disk = Disk::default();
    let handed = disk.clone();
    let kv = KvStore::with_opener(move || Ok(Box::new(handed.clone()))).unwrap();
    let config = BackendConfig::with_api_key(KEY);
    let backend = Backend::new(fixtures::blog(), config, kv, SeededEntropy::new(1)).unwrap();
    let bench = Bench {
        backend,
        now_ms: START_MS.into(),
    };
    bench.create(json!({"id": "p1", "title": "t"}));
    disk.full.store(true, Ordering::SeqCst);
    let create = json!({"query": "mutation { createPost(input: {id: \"p2\", title: \"t\"}) { id } }"});
    let (status, body) = bench.post(&create);
    assert_eq!((status, only_error(&body).0.as_str()), (500, "InternalFailure"));
    assert_eq!(bench.get("p1")["title"], "t", "reads go on");
    disk.full.store(false, Ordering::SeqCst);
    bench.create(json!({"id": "p3", "title": "t"}));
    // Whether the failed commit took effect is unknown; if it did, it did as a whole.
    let (records, changes) = (
        bench.backend.records("Post").unwrap(),
        bench.backend.changes("Post").unwrap(),
    );
    assert_eq!(records.len(), changes.len());
    assert!(records.iter().any(|record| record.id == "p3".into()));
}
