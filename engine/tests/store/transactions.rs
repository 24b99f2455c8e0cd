//! Transactions: all or nothing, one group, one change set, and reads that nobody overtook.

use std::collections::BTreeSet;

use landfall::{DataStore, Error, LogEntry, RecordKey, Seq, Transaction, TypedPredicate};

use crate::{Account, Blog, Post, account, in_memory};

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
