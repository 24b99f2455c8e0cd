//! Each fuzz target does on its corpus what it would do under `cargo fuzz`.

#[allow(unreachable_pub, reason = "to the fuzz targets it is a library")]
#[path = "../fuzz/src/lib.rs"]
mod bodies;

use std::path::Path;

/// Runs a target on every file of its corpus, and on each cut off in the middle.
fn on_corpus(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("each target has a corpus") {
        let path = entry.expect("it can be read").path();
        println!("{}", path.display());
        let data = std::fs::read(&path).expect("it can be read");
        body(&data);
        body(&data[..data.len() / 2]);
        count += 1;
    }
    assert!(count > 1, "the corpus of {target} is next to empty");
}

#[test]
fn frames() {
    on_corpus("frame", bodies::frame);
}

#[test]
fn replies() {
    on_corpus("reply", bodies::reply);
}

#[test]
fn logs() {
    on_corpus("log", bodies::log);
}

#[test]
fn images() {
    on_corpus("image", bodies::image);
}

#[test]
fn plans() {
    on_corpus("plan", bodies::plan);
}
