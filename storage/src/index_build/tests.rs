//! Which indexes are built when a store is opened with another schema, and how far they tell they have got.

use std::path::Path;
use std::sync::{Arc, Mutex};

use landfall_core::SchemaParts;

use super::*;
use crate::migrate::MigrationProgress;
use crate::test_support::{assert_sound, built, in_directory, index, options_with, save, shop_parts};
use crate::{Disk, Store};

/// More rows than are between two reports.
const POSTS: u64 = 2_500;

fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = in_directory(directory.path());
    for number in 0..POSTS / 500 {
        store
            .write(5, |txn| {
                for post in 0..500 {
                    let fields = format!("id=p{number}-{post} title=t rating={post} score=-0.0");
                    crate::test_support::put(txn, "Post", &fields)?;
                }
                Ok(())
            })
            .expect("the disk is well");
    }
    for number in 0..50 {
        save(
            &mut store,
            "Order",
            &format!("customer=c number={number} state=new"),
        );
    }
    directory
}

/// The store under a schema, and what was told while it was opened.
fn opened(path: &Path, parts: SchemaParts) -> (Store, Vec<MigrationProgress>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut migrations = Migrations::default();
    let hears = Arc::clone(&told);
    migrations.on_progress(Arc::new(move |at| hears.lock().expect("nobody panics").push(at)));
    let options = options_with(Disk::Directory(path.to_owned()), built(parts));
    let store = Store::open_migrating(options, &migrations).expect("it fits");
    let told = told.lock().expect("nobody panics").clone();
    (store, told)
}

fn with_index(on: usize, name: &str, field: &str) -> SchemaParts {
    let mut parts = shop_parts();
    parts.models[on].indexes.push(index(name, &[field]));
    parts
}

fn entries(store: &Store, prefix: &[u8]) -> usize {
    let snapshot = store.reader().snapshot().expect("the disk is well");
    let table = snapshot.transaction().open_table(INDEX).expect("it is there");
    let end = prefix_end(prefix).expect("it ends with a zero byte");
    table
        .range(prefix..end.as_slice())
        .expect("the disk is well")
        .count()
}

#[test]
fn an_index_that_is_new_is_built_with_progress_and_the_others_are_left_alone() {
    let directory = filled();
    let (store, told) = opened(directory.path(), shop_parts());
    assert_eq!(told, [], "nothing is new");
    drop(store);
    // Every post has a score, and both zeros are one.
    let (mut store, told) = opened(directory.path(), with_index(1, "byScoreToo", "score"));
    let done: Vec<u64> = told.iter().map(|at| at.done).collect();
    assert!(done.len() > 2 && done.is_sorted(), "{done:?}");
    assert!(
        told.iter().all(|at| at.total == POSTS),
        "the rows of that model: {told:?}"
    );
    assert_eq!(done.last(), Some(&POSTS));
    assert_eq!(
        entries(&store, &index_prefix(&"Post".into(), "byScoreToo")),
        2_500
    );
    assert_sound(&store);
    // An entry that no row makes shows which indexes are made anew.
    let stranger = [index_prefix(&"Post".into(), "byRating").as_slice(), b"?"].concat();
    store.tamper(|transaction| {
        let mut table = transaction.open_table(INDEX).expect("it is there");
        table.insert(stranger.as_slice(), ()).expect("the disk is well");
    });
    drop(store);
    let (store, told) = opened(directory.path(), with_index(1, "byScoreToo", "title"));
    assert_eq!(
        told.last().map(|at| at.done),
        Some(POSTS),
        "another field is another index"
    );
    assert_eq!(
        entries(&store, &index_prefix(&"Post".into(), "byScoreToo")),
        2_500
    );
    assert_eq!(entries(&store, &stranger), 1);
    drop(store);
    let (store, told) = opened(directory.path(), shop_parts());
    assert_eq!(told.last().map_or(0, |at| at.total), 0, "nothing is to be built");
    assert_eq!(entries(&store, &index_prefix(&"Post".into(), "byScoreToo")), 0);
    assert_eq!(entries(&store, &stranger), 1);
}

#[test]
fn rows_are_counted_only_for_somebody_who_hears_of_them() {
    let mut heard = Migrations::default();
    Progress::of(&heard, || panic!("nobody hears of it"))
        .unwrap()
        .finish();
    heard.on_progress(std::sync::Arc::new(|at| assert_eq!((at.done, at.total), (2, 3))));
    Progress::of(&heard, || Ok(3)).unwrap().step(2);
}
