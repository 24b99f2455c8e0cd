//! Transactions: all or nothing, one group, one change set, and reads that nobody overtook.

use std::collections::BTreeSet;

use landfall::{
    ChangeKind, DataStore, Error, LogEntry, ModelQuery, RecordKey, Seq, Transaction, TypedPredicate,
};

use crate::{Account, Blog, Post, Status, account, in_memory};

fn cents(store: &DataStore) -> Vec<i32> {
    let mut accounts = store.query(TypedPredicate::<Account>::all()).unwrap();
    accounts.sort_by(|a, b| a.id.cmp(&b.id));
    accounts.iter().map(|account| account.cents).collect()
}

fn transfer(tx: &mut Transaction<'_>, from: &str, to: &str, amount: i32) -> Result<(), Error> {
    let (Some(from), Some(to)) = (tx.get::<Account>(from)?, tx.get::<Account>(to)?) else {
        panic!("both are there");
    };
    tx.save(&Account::copy_of(&from, |account| account.cents -= amount))?;
    tx.save(&Account::copy_of(&to, |account| account.cents += amount))
}

fn log(store: &DataStore) -> Vec<LogEntry> {
    store.snapshot().unwrap().log(.., usize::MAX).unwrap()
}

#[tokio::test]
async fn a_transaction_is_one_group_of_the_log_and_of_the_outbox() {
    let store = in_memory().await;
    store
        .save_all(vec![account("a", 100), account("b", 0)])
        .await
        .unwrap();
    let before = log(&store).len();
    let mut changes = store.observe(TypedPredicate::<Account>::all()).await.unwrap();
    store.transaction(|tx| transfer(tx, "a", "b", 30)).await.unwrap();
    assert_eq!(cents(&store), [70, 30]);

    let entries = log(&store).split_off(before);
    assert_eq!(entries.len(), 2);
    let groups: BTreeSet<Option<Seq>> = store
        .outbox()
        .list(10)
        .unwrap()
        .iter()
        .map(|mutation| mutation.group)
        .collect();
    assert_eq!(groups.len(), 2, "one of the batch before, one of the transaction");
    assert!(groups.contains(&Some(entries[0].seq)));
    assert!(entries.iter().all(|entry| entry.at_ms == entries[0].at_ms));

    let set = changes.next_set().await.unwrap().unwrap();
    let seen: Vec<(String, i32)> = set
        .into_iter()
        .map(|change| (change.element.id.clone(), change.element.cents))
        .collect();
    assert_eq!(seen, [("a".to_owned(), 70), ("b".to_owned(), 30)]);
}

#[tokio::test]
async fn one_write_that_fails_undoes_all() {
    let store = in_memory().await;
    store
        .save_all(vec![account("a", 100), account("b", 0)])
        .await
        .unwrap();
    let before = log(&store);
    let refused = store
        .transaction(|tx| {
            tx.save(&account("c", 1))?;
            let a = tx.get::<Account>("a")?.unwrap();
            tx.save_if(&Account::copy_of(&a, |a| a.cents = 0), Account::cents().lt(50))
        })
        .await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let refused = store
        .transaction(|tx| {
            tx.save(&account("c", 1))?;
            tx.delete_if(&account("a", 0), Account::cents().lt(50))
        })
        .await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let given_up: Result<(), Error> = store
        .transaction(|tx| {
            tx.save(&account("c", 1))?;
            Err(Error::Closed)
        })
        .await;
    assert!(matches!(given_up, Err(Error::Closed)));
    assert_eq!((cents(&store), log(&store)), (vec![100, 0], before));
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes() {
    let store = in_memory().await;
    let posts = store
        .transaction(|tx| {
            let blog = Blog::builder().name("Field notes").build().expect("complete");
            tx.save(&blog)?;
            let post = Post::builder()
                .title("one")
                .blog(&blog)
                .build()
                .expect("complete");
            tx.save(&post)?;
            let seen = tx.get::<Post>(post.id.as_str())?.map(|post| post.title);
            assert_eq!(seen.as_deref(), Some("one"));
            tx.save(&account("a", 1))?;
            tx.delete(&account("a", 1))?;
            assert!(tx.get::<Account>("a")?.is_none());
            Ok(1)
        })
        .await
        .unwrap();
    assert_eq!(store.count(TypedPredicate::<Post>::all()).unwrap(), posts);
    assert_eq!(store.count(TypedPredicate::<Account>::all()).unwrap(), 0);
    // Made and deleted before anybody heard of it.
    assert_eq!(store.outbox().len().unwrap(), 2);
}

/// Each record as its identifier and its cents.
fn shown(accounts: &[Account]) -> Vec<(&str, i32)> {
    accounts
        .iter()
        .map(|account| (account.id.as_str(), account.cents))
        .collect()
}

#[tokio::test]
async fn a_query_of_a_transaction_sees_its_own_writes() {
    let store = in_memory().await;
    let five = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)];
    let saved = five.map(|(id, cents)| account(id, cents)).to_vec();
    let saved = store.save_all(saved).await.unwrap();
    store
        .transaction(|tx| {
            tx.save(&Account::copy_of(&saved[0], |account| account.cents = 9))?;
            tx.delete(&saved[1])?;
            tx.save(&account("bb", 3))?;
            let all = ModelQuery::<Account>::all;
            let found = tx.query(all())?;
            assert_eq!(shown(&found), [("a", 9), ("bb", 3), ("c", 3), ("d", 4), ("e", 5)]);
            let found = tx.query(Account::cents().lt(4))?;
            assert_eq!(
                shown(&found),
                [("bb", 3), ("c", 3)],
                "one left, one came, one went"
            );
            let sorted = all().sort(Account::cents().desc());
            assert_eq!(shown(&tx.query(sorted.clone().limit(2))?), [("a", 9), ("e", 5)]);
            assert_eq!(shown(&tx.query(sorted.limit(2).page(1))?), [("d", 4), ("bb", 3)]);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_query_of_a_transaction_returned_can_be_saved_without_undoing_earlier_saves() {
    let store = in_memory().await;
    let (a, b) = (
        Post::builder().title("old a").build().unwrap(),
        Post::builder().title("old b").build().unwrap(),
    );
    let saved = store.save_all(vec![a, b]).await.unwrap();
    store
        .transaction(|tx| {
            tx.save(&Post::copy_of(&saved[0], |post| post.title = "new".into()))?;
            for post in tx.query(TypedPredicate::<Post>::all())? {
                tx.save(&Post::copy_of(&post, |post| post.rating = Some(5)))?;
            }
            // A copy from before the transaction, as well.
            tx.save(&Post::copy_of(&saved[1], |post| post.title = "newer".into()))?;
            tx.save(&Post::copy_of(&saved[0], |post| {
                post.status = Some(Status::Active);
            }))
        })
        .await
        .unwrap();
    let read = |post: &Post| store.get::<Post>(post.id.as_str()).unwrap().unwrap();
    let (a, b) = (read(&saved[0]), read(&saved[1]));
    assert_eq!(
        (a.title.as_str(), a.rating, a.status),
        ("new", Some(5), Some(Status::Active))
    );
    assert_eq!((b.title.as_str(), b.rating), ("newer", Some(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_reads_of_its_own_save_depends_on_what_was_there() {
    let store = in_memory().await;
    let read = store.save(account("a", 1)).await.unwrap();
    let mut calls = 0;
    store
        .transaction(|tx| {
            calls += 1;
            tx.save(&Account::copy_of(&read, |account| {
                account.owner = Some("Ada".into());
            }))?;
            let cents = tx.query(TypedPredicate::<Account>::all())?[0].cents;
            if calls == 1 {
                let meanwhile = store.clone();
                let other = Account::copy_of(&read, |account| account.cents = 100);
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async { meanwhile.save(other).await.unwrap() })
                });
            }
            tx.save(&account("b", cents))
        })
        .await
        .unwrap();
    assert_eq!((calls, cents(&store)), (2, vec![100, 100]));
}

#[tokio::test]
async fn a_query_through_relations_is_refused_after_a_write_that_it_could_not_see() {
    let store = in_memory().await;
    let by_blog = || Post::blog().any(Blog::name().eq("B"));
    store
        .transaction(|tx| {
            tx.save(&account("a", 1))?;
            assert!(tx.query(by_blog())?.is_empty(), "accounts have no part in it");
            tx.save(&Blog::builder().name("B").build().expect("complete"))?;
            let refused = tx.query(by_blog());
            assert!(
                matches!(&refused, Err(Error::QueryAfterWrite { model }) if model == "Blog"),
                "{refused:?}"
            );
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_last_save_of_a_transaction_counts() {
    let store = in_memory().await;
    let read = store.save(account("a", 1)).await.unwrap();
    let set = |cents| Account::copy_of(&read, |account| account.cents = cents);
    store
        .transaction(|tx| {
            let found = tx.get::<Account>("a")?.unwrap();
            tx.save(&Account::copy_of(&found, |account| account.cents = 2))?;
            tx.save(&Account::copy_of(&found, |account| account.cents = 1))
        })
        .await
        .unwrap();
    assert_eq!(cents(&store), [1]);
    // Read before the transaction, as well.
    store
        .transaction(|tx| {
            tx.save(&set(2))?;
            tx.save(&set(1))
        })
        .await
        .unwrap();
    assert_eq!(cents(&store), [1]);
}

#[tokio::test]
async fn a_delete_takes_along_what_belongs_to_it_by_then() {
    let store = in_memory().await;
    let blog = |name: &str| Blog::builder().name(name).build().unwrap();
    let (kept, gone) = (
        store.save(blog("kept")).await.unwrap(),
        store.save(blog("gone")).await.unwrap(),
    );
    let post = |title: &str, of: &Blog| Post::builder().title(title).blog(of).build().unwrap();
    let leaves = store.save(post("leaves", &gone)).await.unwrap();
    let joins = store.save(post("joins", &kept)).await.unwrap();
    store
        .transaction(|tx| {
            for (post, to) in [(&leaves, &kept), (&joins, &gone)] {
                let key = RecordKey::new("Post", post.id.as_str());
                let mut moved = tx.get_record(key)?.expect("it was saved");
                assert!(moved.set("blogPostsId", to.id.as_str().into()));
                tx.save_record(moved, None)?;
            }
            tx.delete(&gone)
        })
        .await
        .unwrap();
    let left = store.query(TypedPredicate::<Post>::all()).unwrap();
    let titles: Vec<&str> = left.iter().map(|post| post.title.as_str()).collect();
    assert_eq!(titles, ["leaves"]);
}

#[tokio::test]
async fn a_delete_finds_each_child_once_wherever_the_transaction_has_moved_it() {
    // With one look at every saved record for every deleted one this would be nine million looks.
    const CHILDREN: usize = 3_000;
    let store = in_memory().await;
    let blog = |name: &str| Blog::builder().name(name).build().unwrap();
    let (from, to) = (blog("from"), blog("to"));
    store.save_all(vec![from.clone(), to.clone()]).await.unwrap();
    let child = |n: usize| Post::builder().title(n.to_string()).blog(&from).build().unwrap();
    let children: Vec<Post> = (0..CHILDREN).map(child).collect();
    store.save_all(children.clone()).await.unwrap();
    let mut changes = store.observe(TypedPredicate::<Post>::all()).await.unwrap();
    store
        .transaction(|tx| {
            for (n, child) in children.iter().enumerate() {
                for to in [&to, &from, &to].into_iter().take(n % 4) {
                    let key = RecordKey::new("Post", child.id.as_str());
                    let mut moved = tx.get_record(key)?.expect("it was saved");
                    moved.set("blogPostsId", to.id.as_str().into());
                    tx.save_record(moved, None)?;
                }
            }
            tx.delete(&from)
        })
        .await
        .unwrap();
    let left = store.query(TypedPredicate::<Post>::all()).unwrap();
    assert_eq!(
        left.len(),
        CHILDREN / 2,
        "those that were moved an odd number of times"
    );
    let set = changes.next_set().await.unwrap().unwrap();
    let deleted = set.iter().filter(|change| change.kind == ChangeKind::Delete);
    assert_eq!(deleted.count(), CHILDREN / 2);
}

/// What was read in the transaction is newer than the copy that is saved.
#[tokio::test]
async fn a_second_save_of_an_old_copy_leaves_what_others_changed() {
    let store = in_memory().await;
    let blog = store
        .save(Blog::builder().name("B").build().unwrap())
        .await
        .unwrap();
    let old = Post::builder().title("old").blog(&blog).build().unwrap();
    // What a save returns knows what it was read from as well.
    let old = store.save(old).await.unwrap();
    let newer = Post::copy_of(&old, |post| post.rating = Some(4));
    store.save(newer).await.unwrap();
    store
        .transaction(|tx| {
            assert_eq!(
                tx.get::<Post>(old.id.as_str())?.and_then(|post| post.rating),
                Some(4)
            );
            tx.save(&Post::copy_of(&old, |post| post.title = "once".into()))?;
            tx.save(&Post::copy_of(&old, |post| post.title = "twice".into()))
        })
        .await
        .unwrap();
    let post = store.get::<Post>(old.id.as_str()).unwrap().unwrap();
    assert_eq!((post.title.as_str(), post.rating), ("twice", Some(4)));
}

#[tokio::test]
async fn deletes_of_a_transaction_take_children_along_before_their_parents() {
    let store = in_memory().await;
    let blog = store
        .save(Blog::builder().name("B").build().unwrap())
        .await
        .unwrap();
    let post = Post::builder().title("T").blog(&blog).build().unwrap();
    store.save(post).await.unwrap();
    store.save(account("a", 1)).await.unwrap();
    let before = log(&store).len();
    store
        .transaction(|tx| {
            tx.delete(&blog)?;
            tx.delete(&account("a", 1))
        })
        .await
        .unwrap();
    let deleted: Vec<String> = log(&store)
        .split_off(before)
        .iter()
        .filter_map(|entry| Some(entry.change.key()?.model.to_string()))
        .collect();
    assert_eq!(deleted, ["Post", "Blog", "Account"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_whose_reads_were_overtaken_is_done_again() {
    let store = in_memory().await;
    store
        .save_all(vec![account("a", 100), account("b", 0)])
        .await
        .unwrap();
    let mut calls = 0;
    store
        .transaction(|tx| {
            calls += 1;
            transfer(tx, "a", "b", 30)?;
            if calls == 1 {
                let meanwhile = store.clone();
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current().block_on(async {
                        let a = meanwhile.get::<Account>("a").unwrap().unwrap();
                        meanwhile
                            .save(Account::copy_of(&a, |a| a.cents = 1_000))
                            .await
                            .unwrap();
                    });
                });
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!((calls, cents(&store)), (2, vec![970, 30]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_there_when_it_was_read_must_still_not_be() {
    let store = in_memory().await;
    let mut calls = 0;
    store
        .transaction(|tx| {
            calls += 1;
            let cents = tx.get::<Account>("a")?.map_or(0, |account| account.cents);
            let meanwhile = store.clone();
            if calls == 1 {
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current()
                        .block_on(async { meanwhile.save(account("a", 5)).await.unwrap() })
                });
            }
            tx.save(&account("b", cents + 1))
        })
        .await
        .unwrap();
    assert_eq!((calls, cents(&store)), (2, vec![5, 6]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transactions_lose_nothing() {
    const TRANSFERS: i32 = 40;
    let store = in_memory().await;
    store
        .save_all(vec![
            account("a", 1_000),
            account("b", 1_000),
            account("c", 1_000),
        ])
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..TRANSFERS {
                store.transaction(|tx| transfer(tx, from, to, 7)).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(cents(&store), [1_000, 1_000, 1_000]);
    store.transaction(|tx| transfer(tx, "a", "b", 1)).await.unwrap();
    assert_eq!(cents(&store), [999, 1_001, 1_000]);
    assert_eq!(
        store.snapshot().unwrap().verify().unwrap().differences,
        [] as [String; 0]
    );
}

#[tokio::test]
async fn batches_come_back_in_order_and_are_all_or_none() {
    let store = in_memory().await;
    let saved = store
        .save_all(vec![account("b", 2), account("a", 1)])
        .await
        .unwrap();
    let ids: Vec<&str> = saved.iter().map(|account| account.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    // Stored again as it was read, so that only what changed is sent.
    assert!(store.save_all(saved).await.is_ok());
    assert_eq!(store.outbox().len().unwrap(), 2);
    let gone = account("c", 1);
    let deleted = store.delete_all(&[account("a", 0), gone]).await.unwrap();
    assert_eq!(deleted.len(), 1);
    assert!(store.save_all(Vec::<Account>::new()).await.unwrap().is_empty());
    let bad = Account::copy_of(&account("y", 1), |account| account.id = String::new());
    let nothing_of = store
        .save_all(vec![
            account("z", 1),
            Account {
                id: String::new(),
                ..bad
            },
        ])
        .await;
    assert!(matches!(nothing_of, Err(Error::Refused(_))), "{nothing_of:?}");
    assert!(store.get::<Account>("z").unwrap().is_none());
}
