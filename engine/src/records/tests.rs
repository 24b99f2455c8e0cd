use landfall_core::{
    FieldDef, FieldMap, KeyDef, KeyKind, ModelParts, Op, Scalar, Schema, SchemaParts, Timestamps,
};

use super::*;

fn notes() -> Arc<Schema> {
    let note = ModelParts {
        name: "Note".into(),
        plural_name: "Notes".into(),
        syncable: true,
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("rating", Scalar::Int),
        ],
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

#[tokio::test]
async fn more_records_than_one_transaction_may_delete_are_refused_and_stay() {
    let schema = notes();
    let store = DataStore::builder(&schema).open().await.unwrap();
    let records = store.records();
    let def = records.def("Note").unwrap();
    for number in 0..6_i64 {
        let fields = FieldMap::from([
            ("id".into(), format!("n{number}").into()),
            ("rating".into(), (number % 2).into()),
        ]);
        let note = Record::from_fields(Arc::clone(&def), &fields);
        records.save(note).await.unwrap();
    }
    let even = || Predicate::field("rating", Op::Eq(0.into()));
    let count = || {
        store
            .snapshot()
            .unwrap()
            .query(&Query::all("Note"))
            .unwrap()
            .len()
    };
    let refused = records.delete_at_most(2, "Note", even()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::TooManyToDelete { model, max: 2 } if model == "Note"),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("narrower predicate") && text.contains("nothing was deleted"),
        "{text}"
    );
    assert_eq!(count(), 6);
    assert_eq!(records.delete_at_most(3, "Note", even()).await.unwrap().len(), 3);
    assert_eq!(count(), 3);
    store.close().await;
}
