//! Relations that must be there: a required has-one behind an optional has-many, and two that require each other.
//!
//! What is required is the foreign key, when a record is built and when it is saved; the record that it names may be missing,
//! as it may in any relation.

use std::slice::from_ref;
use std::sync::Arc;

use landfall::{DataStore, FieldMap, ModelQuery, Record, TypedPredicate};
use landfall_backend::{Backend, BackendConfig, ServerHandle, os_entropy, serve};
use landfall_storage::kv::KvStore;

use super::open;

landfall::inline_schema!(
    "type A @model { name: String bs: [B] @hasMany }
     type B @model { name: String c: C! @hasOne }
     type C @model { name: String }
     type X @model { id: ID! @primaryKey y: Y! @hasOne }
     type Y @model { id: ID! @primaryKey x: X! @belongsTo }"
);

fn with_a_c(name: &str) -> TypedPredicate<A> {
    A::bs().any(B::c().any(C::name().eq(name)))
}

async fn store_and_a() -> (DataStore, A) {
    let store = open(schema()).await;
    let a = store.save(A::builder().name("a").build().unwrap()).await.unwrap();
    (store, a)
}

#[tokio::test]
async fn a_has_many_of_nothing_leads_nowhere_and_asks_for_nothing() {
    let (store, a) = store_and_a().await;
    assert_eq!(store.children(&a, A::bs()).unwrap(), []);
    assert_eq!(store.query(with_a_c("c")).unwrap(), []);
    assert_eq!(store.query(A::bs().exists()).unwrap(), []);
    assert_eq!(store.query(!A::bs().exists()).unwrap(), from_ref(&a));
    assert_eq!(store.query(!with_a_c("c")).unwrap(), from_ref(&a));
    let all = || ModelQuery::<A>::all();
    assert_eq!(
        store.query_with_children(all(), A::bs()).unwrap(),
        [(a.clone(), vec![])]
    );
    let bs = ModelQuery::<B>::all().sort(B::c().by(C::name().asc()));
    assert_eq!(store.query_with_child(bs, B::c()).unwrap(), []);
    assert_eq!(store.delete(&a).await.unwrap(), Some(a));
    assert_eq!(store.outbox().len().unwrap(), 0, "the server never heard of it");
}

#[tokio::test]
async fn the_key_of_a_required_has_one_is_required_when_built_and_when_saved() {
    let (store, _) = store_and_a().await;
    let built = B::builder().name("b").build().unwrap_err();
    assert_eq!(built.to_string(), "`B` cannot be built: `bCId` is required");
    let empty = Record::from_fields(Arc::clone(schema().model("B").unwrap()), &FieldMap::new());
    let saved = store.records().save(empty).await.unwrap_err().to_string();
    assert!(saved.contains("`bCId` is required"), "{saved}");
}

#[tokio::test]
async fn a_required_has_one_that_is_missing_is_seen_and_stands_in_nobody_s_way() {
    let (store, a) = store_and_a().await;
    let c = store.save(C::builder().name("c").build().unwrap()).await.unwrap();
    let whole = B::builder().name("whole").c(&c).a_bs_id(&a.id).build().unwrap();
    let whole = store.save(whole).await.unwrap();
    let dangling = B::builder().name("dangling").b_c_id("nobody").a_bs_id(&a.id);
    let dangling = store.save(dangling.build().unwrap()).await.unwrap();

    assert_eq!(store.query(with_a_c("c")).unwrap(), from_ref(&a));
    assert_eq!(store.query(with_a_c("d")).unwrap(), []);
    assert_eq!(store.query(B::c().exists()).unwrap(), from_ref(&whole));
    assert_eq!(store.query(!B::c().exists()).unwrap(), from_ref(&dangling));
    assert_eq!(store.child(&dangling, B::c()).unwrap(), None);
    let by_c = ModelQuery::<B>::all().sort(B::c().by(C::name().asc()));
    assert_eq!(
        store.query_with_child(by_c, B::c()).unwrap(),
        [(dangling.clone(), None), (whole.clone(), Some(c.clone()))],
        "what is missing comes first"
    );
    let mut bs = store.children(&a, A::bs()).unwrap();
    bs.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(bs, [dangling, whole.clone()]);

    // What a record refers to by its own key is no part of it: the other way round it would be.
    store.delete(&c).await.unwrap();
    assert_eq!(store.child(&whole, B::c()).unwrap(), None);
    let whole = B::copy_of(&whole, |whole| whole.name = Some("alone".to_owned()));
    store.save(whole).await.expect("the key is there as before");
    store.save(c.clone()).await.unwrap_err();
    store.delete(&a).await.unwrap();
    assert_eq!(store.count(TypedPredicate::<B>::all()).unwrap(), 0);
}

/// Two records that require each other, and that have the same identifier, each in its model.
async fn save_a_pair(store: &DataStore) -> (X, Y) {
    let x = X::builder().id("1").x_y_id("1").build().unwrap();
    let x = store.save(x).await.expect("what it requires may come later");
    let y = store
        .save(Y::builder().id("1").x(&x).build().unwrap())
        .await
        .unwrap();
    (x, y)
}

#[tokio::test]
async fn records_that_require_each_other_are_saved_found_and_deleted() {
    let store = open(schema()).await;
    let (x, y) = save_a_pair(&store).await;
    assert_eq!(store.child(&x, X::y()).unwrap(), Some(y.clone()));
    assert_eq!(store.parent(&y, Y::x()).unwrap(), Some(x.clone()));
    let round = X::y().any(Y::x().any(X::y().any(Y::id().eq("1"))));
    assert_eq!(store.query(round).unwrap(), from_ref(&x));
    store.delete(&x).await.unwrap();
    assert_eq!(store.parent(&y, Y::x()).unwrap(), None);
    assert_eq!(
        store.count(TypedPredicate::<Y>::all()).unwrap(),
        1,
        "it has lost its other half"
    );
    store.delete(&y).await.unwrap();
    assert!(store.outbox().is_empty().unwrap());
}

async fn served() -> ServerHandle {
    let config = BackendConfig::with_api_key("da2-key");
    let kept = KvStore::in_memory().unwrap();
    let backend = Backend::new(schema().clone(), config, kept, os_entropy()).unwrap();
    serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .unwrap()
}

#[tokio::test]
async fn what_requires_each_other_or_nobody_reaches_the_server_and_other_stores() {
    let server = served().await;
    let syncing = || {
        DataStore::builder(schema())
            .endpoint(server.endpoint(), "da2-key")
            .open()
    };
    let store = syncing().await.unwrap();
    let (x, y) = save_a_pair(&store).await;
    let dangling = B::builder().name("dangling").b_c_id("nobody").build().unwrap();
    store.save(dangling).await.unwrap();
    store.start().await.unwrap();
    store.outbox().drained().await.unwrap();

    let other = syncing().await.unwrap();
    other.start().await.unwrap();
    other.ready().await.unwrap();
    let found = other.get::<X>("1").unwrap().expect("it was synced");
    assert_eq!(
        other.child(&found, X::y()).unwrap().map(|found| found.id),
        Some(y.id)
    );
    assert_eq!(found.x_y_id, x.x_y_id);
    assert_eq!(other.count(!B::c().exists()).unwrap(), 1);
    other.close().await;
    store.close().await;
    server.shutdown().await;
}
