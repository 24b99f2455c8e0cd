use std::sync::Arc;

use landfall_backend::{Backend, BackendConfig, os_entropy, serve};
use landfall_core::{FieldDef, KeyDef, KeyKind, ModelParts, Record, Scalar, Schema, SchemaParts, Timestamps};
use landfall_storage::kv::KvStore;

use super::*;
use crate::{HubEvent, HubEvents};

/// A schema of notes with fields of these names.
fn notes(fields: &[&str]) -> Arc<Schema> {
    let id = FieldDef {
        required: true,
        ..FieldDef::scalar("id", Scalar::Id)
    };
    let others = fields.iter().map(|name| FieldDef::scalar(name, Scalar::Int));
    let note = ModelParts {
        name: "Note".into(),
        plural_name: "Notes".into(),
        syncable: true,
        fields: [id].into_iter().chain(others).collect(),
        key: KeyDef {
            kind: KeyKind::Managed,
            fields: vec!["id".into()],
            declared: false,
        },
        indexes: Vec::new(),
        timestamps: Timestamps::default(),
        auth: Vec::new(),
    };
    let parts = SchemaParts {
        models: vec![note],
        ..SchemaParts::default()
    };
    Arc::new(Schema::build(parts).unwrap())
}

async fn refusals(events: &mut HubEvents, mut count: usize) {
    while count > 0 {
        let event = events.next().await.expect("the store is open");
        count -= usize::from(matches!(event, HubEvent::OutboxMutationFailed { .. }));
    }
}

#[tokio::test]
async fn everything_that_was_refused_is_decided_about_once_whatever_a_page_holds() {
    const NOTES: usize = 5;
    const PAGE_LEN: usize = 2;
    let config = BackendConfig::with_api_key("da2-key");
    let kept = KvStore::in_memory().unwrap();
    // The server does not know what the notes are rated.
    let backend = Backend::new(notes(&[]), config, kept, os_entropy()).unwrap();
    let server = serve(([127, 0, 0, 1], 0).into(), Arc::new(backend))
        .await
        .unwrap();
    let schema = notes(&["rating"]);
    let store = DataStore::builder(&schema)
        .endpoint(server.endpoint(), "da2-key")
        .open()
        .await
        .unwrap();
    let mut events = store.hub().await.unwrap();
    let def = schema.model("Note").unwrap();
    for number in 0..NOTES {
        let fields = FieldMap::from([
            ("id".into(), format!("n{number}").into()),
            ("rating".into(), 3.into()),
        ]);
        let note = Record::from_fields(Arc::clone(def), &fields);
        store.records().save(note).await.unwrap();
    }
    store.start().await.unwrap();
    refusals(&mut events, NOTES).await;

    // The server refuses each again at once, which is not taken for one more to be sent.
    let outbox = store.outbox();
    let decided = outbox.decide_all(Verdict::Retry, PAGE_LEN).await.unwrap();
    assert_eq!(decided, NOTES as u64);
    refusals(&mut events, NOTES).await;
    store.stop().await.unwrap();
    assert_eq!(outbox.parked(usize::MAX).unwrap().len(), NOTES);

    let mut pages = Vec::new();
    let mut page = outbox.parked(PAGE_LEN).unwrap();
    while let Some(last) = page.last() {
        let after = last.seq;
        pages.push(page.len());
        page = outbox.parked_after(after, PAGE_LEN).unwrap();
    }
    assert_eq!(pages, [2, 2, 1]);

    let decided = outbox.decide_all(Verdict::Discard, PAGE_LEN).await.unwrap();
    assert_eq!(decided, NOTES as u64);
    assert!(outbox.is_empty().unwrap());
    store.close().await;
    server.shutdown().await;
}
