//! `DataStore::undo`: what the app did is taken back as a whole, or not at all.

use std::sync::Arc;

use landfall::flight::Flight;
use landfall::history::{Filter, LogChange, Write};
use landfall::{
    DataStore, Disk, Env, Error, FieldMap, Immediate, Meter, Model, MutationKind, NoTrace, Origin, RecordKey,
    Seq, TypedPredicate,
};
use landfall_sim::{Seed, SimClock, TraceLog, in_virtual_time};

landfall::inline_schema!(
    "type Blog @model { name: String! posts: [Post] @hasMany }
     type Post @model { title: String! rating: Int blog: Blog @belongsTo }
     type Label @model { text: String! post: Post @hasOne }"
);

async fn open() -> DataStore {
    DataStore::builder(schema())
        .open()
        .await
        .expect("memory is always there")
}

/// The newest entry, which has to be a write.
fn newest(store: &DataStore) -> Seq {
    let history = store.history().expect("memory");
    let (_, newest) = history.bounds();
    let entry = history.entry(newest).expect("it is there");
    assert!(matches!(entry.change, LogChange::Write(_)), "{entry:?}");
    newest
}

fn post(title: &str) -> Post {
    Post::builder().title(title).rating(1).build().expect("complete")
}

fn count<M: Model>(store: &DataStore) -> u64 {
    store.count(TypedPredicate::<M>::all()).expect("memory")
}

#[tokio::test]
async fn a_create_an_update_and_a_delete_are_taken_back() {
    let store = open().await;
    let saved = store.save(post("first")).await.expect("saved");
    let created = newest(&store);
    let edit = Post::copy_of(&saved, |post| post.title = "second".to_owned());
    let edited = store.save(edit).await.expect("saved");
    let updated = newest(&store);

    let refused = store.undo(created).await;
    assert!(
        matches!(&refused, Err(Error::CannotUndo { reason, .. }) if reason.contains("was changed since")),
        "{refused:?}"
    );
    store.undo(updated).await.expect("undone");
    let read = |id: &str| store.get::<Post>(id).expect("memory");
    assert_eq!(read(&edited.id).expect("it is there").title, "first");
    store.delete(&edited).await.expect("deleted");
    let deleted = newest(&store);
    store.undo(deleted).await.expect("undone");
    assert_eq!(read(&edited.id).expect("it is back").title, "first");
    assert!(
        store
            .history()
            .expect("memory")
            .check()
            .expect("memory")
            .is_sound()
    );
}

#[tokio::test]
async fn another_field_that_was_changed_since_keeps_its_value() {
    let store = open().await;
    let saved = store.save(post("first")).await.expect("saved");
    let title = Post::copy_of(&saved, |post| post.title = "second".to_owned());
    let saved = store.save(title).await.expect("saved");
    let updated = newest(&store);
    let rating = Post::copy_of(&saved, |post| post.rating = Some(5));
    store.save(rating).await.expect("saved");
    let left = store.undo(updated).await.expect("undone");
    assert_eq!(left.len(), 1);
    let post = store
        .get::<Post>(saved.id.as_str())
        .expect("memory")
        .expect("there");
    assert_eq!((post.title.as_str(), post.rating), ("first", Some(5)));
}

#[tokio::test]
async fn the_writes_of_a_transaction_go_together() {
    let store = open().await;
    let blog = store
        .save(Blog::builder().name("notes").build().expect("complete"))
        .await
        .expect("saved");
    for title in ["one", "two"] {
        let post = Post::builder()
            .title(title)
            .blog(&blog)
            .build()
            .expect("complete");
        store.save(post).await.expect("saved");
    }
    // A delete takes along what belongs to the record, in one transaction.
    store.delete(&blog).await.expect("deleted");
    let deleted = newest(&store);
    assert_eq!(count::<Post>(&store), 0);
    let left = store.undo(deleted).await.expect("undone");
    assert_eq!(left.len(), 3);
    assert_eq!(count::<Post>(&store), 2);
    assert_eq!(count::<Blog>(&store), 1);
    let again = Filter {
        first: Some(deleted.next()),
        ..Filter::default()
    };
    let listing = store
        .history()
        .expect("memory")
        .list(&again, 100)
        .expect("memory");
    let mut groups = Vec::new();
    for (_, entry) in listing.entries {
        match entry.expect("readable").change {
            LogChange::Write(write) => {
                assert_eq!(write.kind, MutationKind::Create);
                groups.push(write.group);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(groups.len(), 3);
    assert!(
        groups[0].is_some() && groups.iter().all(|group| *group == groups[0]),
        "{groups:?}"
    );
}

#[tokio::test]
async fn what_is_no_write_cannot_be_undone() {
    let store = open().await;
    let refused = store.undo(Seq(1)).await;
    assert!(
        matches!(&refused, Err(Error::CannotUndo { reason, .. }) if reason.contains("schema changed")),
        "{refused:?}"
    );
    assert!(matches!(store.undo(Seq(9)).await, Err(Error::Storage(_))));
}

/// What the entry at a position says led to it.
fn cause(store: &DataStore, seq: Seq) -> Option<Seq> {
    let history = store.history().expect("memory");
    history.entry(seq).expect("it is there").cause
}

#[tokio::test]
async fn an_undo_is_an_entry_that_names_what_it_takes_back() {
    let store = open().await;
    let saved = store.save(post("first")).await.expect("saved");
    let edit = Post::copy_of(&saved, |post| post.title = "second".to_owned());
    let edited = store.save(edit).await.expect("saved");
    let updated = newest(&store);
    store.undo(updated).await.expect("undone");
    let undo = newest(&store);
    assert_eq!(
        (cause(&store, updated), cause(&store, undo)),
        (None, Some(updated))
    );
    let history = store.history().expect("memory");
    let led_to = history.led_to(updated).expect("memory");
    assert_eq!(led_to.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [undo]);
    let why = store
        .history_of::<Post>(edited.id.as_str())
        .expect("memory")
        .why(Some("title"));
    assert_eq!(
        why.verdict[0],
        format!("It comes from this store: the app took {updated} back in {undo}. It was \"second\" before.")
    );
    let last = &why.lines.last().expect("it has a story").text;
    assert!(
        last.starts_with(&format!(
            "To take {updated} back, the app changed title from \"second\" to \"first\""
        )),
        "{last}"
    );
    // What was taken back can be had again; that is a third entry.
    store.undo(undo).await.expect("undone");
    assert_eq!(cause(&store, newest(&store)), Some(undo));
}

#[tokio::test]
async fn the_undo_of_a_transaction_names_its_first_entry() {
    let store = open().await;
    store
        .transaction(|tx| {
            tx.save(&post("one"))?;
            tx.save(&post("two"))
        })
        .await
        .expect("saved");
    let first = Seq(newest(&store).0 - 1);
    store.undo(newest(&store)).await.expect("undone");
    let last = newest(&store);
    assert_eq!(last, Seq(first.0 + 3));
    for undo in [Seq(last.0 - 1), last] {
        assert_eq!(cause(&store, undo), Some(first));
    }
    assert!(
        store
            .history()
            .expect("memory")
            .check()
            .expect("memory")
            .is_sound()
    );
}

fn head(store: &DataStore) -> Seq {
    store.history().expect("memory").bounds().1
}

async fn blog(store: &DataStore, name: &str) -> Blog {
    let blog = Blog::builder().name(name).build().expect("complete");
    store.save(blog).await.expect("saved")
}

async fn post_of(store: &DataStore, blog: &Blog) -> Post {
    let post = Post::builder().title("post").blog(blog).build();
    store.save(post.expect("complete")).await.expect("saved")
}

/// Undoes an entry, which must be refused for this reason and change nothing.
async fn refused(store: &DataStore, entry: Seq, reason: &str) {
    let before = head(store);
    match store.undo(entry).await {
        Err(Error::CannotUndo { seq, reason: told }) => {
            assert_eq!(seq, entry);
            assert!(told.contains(reason), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(head(store), before);
}

#[tokio::test]
async fn a_create_is_not_taken_back_while_others_refer_to_it() {
    let store = open().await;
    let notes = blog(&store, "notes").await;
    let made_blog = newest(&store);
    let post = post_of(&store, &notes).await;
    let made_post = newest(&store);
    refused(&store, made_blog, &format!("`Post/{}` refers to", post.id)).await;
    // A delete would leave this one without its post: it holds the key, and does not go along.
    let label = Label::builder().text("new").post(&post).build();
    let label = store.save(label.expect("complete")).await.expect("saved");
    let made_label = newest(&store);
    refused(&store, made_post, &format!("`Label/{}` refers to", label.id)).await;
    for made in [made_label, made_post, made_blog] {
        store.undo(made).await.expect("nothing refers to it");
    }
    assert_eq!(
        (
            count::<Blog>(&store),
            count::<Post>(&store),
            count::<Label>(&store)
        ),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn what_came_after_a_transaction_keeps_all_of_it() {
    let store = open().await;
    let notes = blog(&store, "notes").await;
    let post = post_of(&store, &notes).await;
    let other = Blog::builder().name("other").build().expect("complete");
    // The post refers to the blog before that is made.
    store
        .transaction(|tx| {
            tx.save(&Post::copy_of(&post, |post| {
                post.blog_posts_id = Some(other.id.clone());
            }))?;
            tx.save(&other)
        })
        .await
        .expect("saved");
    let moved = newest(&store);
    let late = post_of(&store, &other).await;
    refused(&store, moved, &format!("`Post/{}` refers to", late.id)).await;
    store.delete(&late).await.expect("deleted");
    store.undo(moved).await.expect("undone");
    let back = store
        .get::<Post>(post.id.as_str())
        .expect("memory")
        .expect("it stays");
    assert_eq!(back.blog_posts_id, Some(notes.id));
    assert_eq!(count::<Blog>(&store), 1);
}

#[tokio::test]
async fn what_was_deleted_does_not_come_back_without_its_parent() {
    let store = open().await;
    let notes = blog(&store, "notes").await;
    let post = post_of(&store, &notes).await;
    store.delete(&post).await.expect("deleted");
    let deleted_post = newest(&store);
    store.delete(&notes).await.expect("deleted");
    let deleted_blog = newest(&store);
    refused(
        &store,
        deleted_post,
        &format!("bring `Blog/{}` back first", notes.id),
    )
    .await;
    store.undo(deleted_blog).await.expect("undone");
    store.undo(deleted_post).await.expect("undone");
    assert_eq!((count::<Blog>(&store), count::<Post>(&store)), (1, 1));
}

fn at_ms(store: &DataStore, seq: Seq) -> i64 {
    let history = store.history().expect("memory");
    history.entry(seq).expect("it is there").at_ms
}

/// The clock of a simulation stands still while nobody waits, so all of this is of one millisecond.
#[test]
fn deletes_of_one_millisecond_go_back_each_by_itself() {
    in_virtual_time(&TraceLog::default(), async {
        let env = Env {
            clock: Arc::new(SimClock::start()),
            entropy: Arc::new(Seed(4).stream("undo")),
            transport: None,
            trace: Arc::new(NoTrace),
            schedule: Arc::new(Immediate),
            flight: Flight::default(),
            meter: Meter::default(),
        };
        let builder = DataStore::builder(schema()).disk(Disk::Memory).local_only();
        let store = builder.open_in(env).expect("memory is always there");
        let notes = blog(&store, "notes").await;
        let kept = post_of(&store, &notes).await;
        let post = post_of(&store, &notes).await;
        let held = || (count::<Blog>(&store), count::<Post>(&store));

        // One is deleted by itself, then the blog with the other.
        store.delete(&post).await.expect("deleted");
        let deleted_post = newest(&store);
        store.delete(&notes).await.expect("deleted");
        let deleted_blog = newest(&store);
        assert_eq!(deleted_blog.0, deleted_post.0 + 2, "the blog took a post along");
        assert_eq!(at_ms(&store, deleted_blog), at_ms(&store, deleted_post));
        assert_eq!(held(), (0, 0));

        let back = store.undo(deleted_blog).await.expect("undone");
        assert_eq!((back.len(), held()), (2, (1, 1)));
        assert!(store.get::<Post>(kept.id.as_str()).expect("memory").is_some());
        store.undo(deleted_post).await.expect("undone");
        assert_eq!(held(), (1, 2));
        store.close().await;
    });
}

/// What older versions wrote does not say how much a delete took along.
#[tokio::test]
async fn a_cascade_of_an_older_log_goes_back_as_a_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let disk = Disk::Directory(folder.path().to_owned());
    let mut log = landfall_storage::Store::open(landfall_storage::StoreOptions {
        disk: disk.clone(),
        schema: Arc::clone(schema()),
        cache_bytes: 1024 * 1024,
        incompatible: landfall_storage::OnIncompatible::Refuse,
        now_ms: 1,
    })
    .expect("there is room");
    let (blog, post) = (RecordKey::new("Blog", "b1"), RecordKey::new("Post", "p1"));
    let of_blog = [("name".into(), "notes".into())].into();
    let of_post = [
        ("title".into(), "first".into()),
        ("blogPostsId".into(), "b1".into()),
    ]
    .into();
    let steps: [(&RecordKey, MutationKind, FieldMap); 4] = [
        (&blog, MutationKind::Create, of_blog),
        (&post, MutationKind::Create, of_post),
        (&post, MutationKind::Delete, FieldMap::new()),
        (&blog, MutationKind::Delete, FieldMap::new()),
    ];
    for (key, kind, mut patch) in steps {
        if kind == MutationKind::Create {
            patch.insert("id".into(), key.id.to_string().into());
        }
        let write = Write {
            key: key.clone(),
            kind,
            patch,
            condition: None,
            base_version: None,
            queued: false,
            parents: Vec::from_iter((*key == post).then(|| blog.clone())),
            group: None,
            at_end: kind == MutationKind::Delete,
            took_along: None,
        };
        log.write(5, |txn| txn.append(Origin::App, None, LogChange::Write(write)))
            .expect("there is room");
    }
    drop(log);
    let builder = DataStore::builder(schema()).disk(disk).local_only();
    let store = builder.open().await.expect("it is a store");
    store.undo(newest(&store)).await.expect("undone");
    assert_eq!((count::<Blog>(&store), count::<Post>(&store)), (1, 1));
}

#[tokio::test]
async fn what_referred_to_nothing_may_do_so_again() {
    let store = open().await;
    let never_saved = Blog::builder().name("elsewhere").build().expect("complete");
    let post = post_of(&store, &never_saved).await;
    store.delete(&post).await.expect("deleted");
    store.undo(newest(&store)).await.expect("undone");
    assert_eq!(count::<Post>(&store), 1);
}

/// Rounds of two calls at once; a few of them overtake each other.
const ROUNDS: usize = 200;

#[tokio::test]
async fn what_is_written_during_an_undo_is_not_overwritten() {
    let store = open().await;
    for _ in 0..ROUNDS {
        let saved = store.save(post("first")).await.expect("saved");
        let second = Post::copy_of(&saved, |post| post.title = "second".to_owned());
        let second = store.save(second).await.expect("saved");
        let updated = newest(&store);
        let third = Post::copy_of(&second, |post| post.title = "third".to_owned());
        let (saved, undone) = tokio::join!(store.save(third), store.undo(updated));
        let saved = saved.expect("it is never refused");
        let now = store
            .get::<Post>(saved.id.as_str())
            .expect("memory")
            .expect("it stays");
        assert_eq!(now.title, "third", "{undone:?}");
    }
}

#[tokio::test]
async fn what_comes_to_refer_to_a_record_during_an_undo_stays() {
    let store = open().await;
    for _ in 0..ROUNDS {
        let notes = blog(&store, "notes").await;
        let made = newest(&store);
        let (post, undone) = tokio::join!(post_of(&store, &notes), store.undo(made));
        assert!(
            store.get::<Post>(post.id.as_str()).expect("memory").is_some(),
            "{undone:?}"
        );
    }
}
