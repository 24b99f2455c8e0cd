use super::*;
use crate::test_support::{append, arrived, in_memory, post, put, save, sent, snapshot};

#[test]
fn a_transaction_with_half_an_entry_is_not_committed() {
    let mut store = in_memory();
    let head = store.head();
    let refused = store.write(5, |txn| {
        put(txn, "Post", "id=p1 title=a")?;
        txn.torn = true;
        Ok(())
    });
    assert!(matches!(refused, Err(StorageError::Io { .. })), "{refused:?}");
    assert_eq!((store.head(), snapshot(&store).pending_len().unwrap()), (head, 0));
}

#[test]
fn outbox_changes_are_told_in_order_and_only_if_they_are_some() {
    let mut store = in_memory();
    let created = save(&mut store, "Post", "id=p1 title=a").seq;
    append(&mut store, sent(&post("p1"), created)).unwrap();
    let updated = save(&mut store, "Post", "id=p1 title=b");
    let [OutboxChange::Put(mutation)] = updated.outbox.as_slice() else {
        panic!("{:?}", updated.outbox)
    };
    assert_eq!(mutation.seq, updated.seq, "the one on its way has not changed");
    let acknowledged = landfall_core::Acknowledged {
        key: post("p1"),
        mutation: created,
        remote: crate::test_support::remote(&post("p1"), 1, "id=p1 title=a"),
    };
    let applied = append(&mut store, Change::Acknowledged(acknowledged)).unwrap();
    let [OutboxChange::Removed(gone), OutboxChange::Put(next)] = applied.outbox.as_slice() else {
        panic!("{:?}", applied.outbox)
    };
    assert_eq!((gone.seq, next.seq), (created, updated.seq));
    assert!(next.base_version.is_some(), "it was handed the version");
}

#[test]
fn a_record_of_the_server_that_is_no_news_changes_nothing_visible() {
    let mut store = in_memory();
    assert!(
        append(&mut store, arrived(&post("p1"), 3, "id=p1 title=a"))
            .unwrap()
            .visible
            .is_some()
    );
    assert!(
        append(&mut store, arrived(&post("p1"), 2, "id=p1 title=old"))
            .unwrap()
            .visible
            .is_none()
    );
    let newer = append(&mut store, arrived(&post("p1"), 4, "id=p1 title=a"))
        .unwrap()
        .visible
        .expect("its version");
    assert_eq!(newer.kind, ChangeKind::Update);
    let gone = append(&mut store, arrived(&post("p1"), 5, "deleted"))
        .unwrap()
        .visible
        .expect("it went");
    assert_eq!(gone.kind, ChangeKind::Delete);
}

#[test]
fn reads_of_a_transaction_see_what_it_wrote() {
    let mut store = in_memory();
    store
        .write(5, |txn| {
            put(txn, "Post", "id=p1 title=a blogId=b1")?;
            put(txn, "Order", "customer=c number=1")?;
            assert_eq!(txn.ids(&"Post".into())?, ["p1".into()]);
            assert_eq!(txn.ids(&"Order".into())?.len(), 1);
            assert_eq!(txn.ids(&"Blog".into())?, []);
            let mutation = txn.state(&post("p1"))?.pending.remove(0);
            assert_eq!(txn.mutation(mutation.seq)?, Some(mutation));
            assert_eq!(txn.mutation(Seq(99))?, None);
            assert_eq!(txn.cursor(&"Post".into())?, SyncCursor::default());
            assert!(matches!(
                txn.state(&RecordKey::new("Nothing", "x")),
                Err(StorageError::UnknownModel { .. })
            ));
            Ok(())
        })
        .unwrap();
}
