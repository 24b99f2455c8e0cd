use landfall_core::{
    Association, FieldDef, KeyDef, KeyKind, ModelParts, Origin, Scalar, SchemaParts, Timestamps,
};
use landfall_storage::{CACHE_BYTES_DEFAULT, Disk, OnIncompatible, Store, StoreOptions};

use super::*;

/// Nodes that belong to each other.
fn nodes() -> Schema {
    let children = FieldDef {
        ty: FieldType::Model("Node".into()),
        association: Some(Association::HasMany {
            associated_with: vec!["parent".into()],
        }),
        ..FieldDef::scalar("children", Scalar::String)
    };
    let node = ModelParts {
        name: "Node".into(),
        plural_name: "Nodes".into(),
        syncable: true,
        fields: vec![
            FieldDef {
                required: true,
                ..FieldDef::scalar("id", Scalar::Id)
            },
            FieldDef::scalar("parent", Scalar::Id),
            children,
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
    Schema::build(SchemaParts {
        models: vec![node],
        ..SchemaParts::default()
    })
    .expect("the schema is sound")
}

fn key(id: &str) -> RecordKey {
    RecordKey::new("Node", id)
}

/// A store of nodes, each named with its parent.
fn family(members: &[(&str, Option<&str>)]) -> Store {
    let options = StoreOptions {
        disk: Disk::Memory,
        schema: Arc::new(nodes()),
        cache_bytes: CACHE_BYTES_DEFAULT,
        incompatible: OnIncompatible::Refuse,
        now_ms: 0,
    };
    let mut store = Store::open(options).unwrap();
    let schema = store.schema();
    let def = schema.model("Node").unwrap();
    let save = |(id, parent): &(&str, Option<&str>)| {
        let mut values = vec![Value::Null; def.stored_len()];
        values[def.slot("id").unwrap().index()] = (*id).into();
        values[def.slot("parent").unwrap().index()] = (*parent).map_or(Value::Null, Value::from);
        WriteOp::Save {
            model: "Node".into(),
            values,
            base: Base::NONE,
            seen: None,
            condition: None,
        }
    };
    carry_out(&mut store, CASCADE_MAX, members.iter().map(save).collect()).expect("nothing is in the way");
    store
}

fn deletes(ids: &[&str]) -> Vec<WriteOp> {
    let delete = |id: &&str| WriteOp::Delete {
        key: key(id),
        condition: None,
        guard: None,
    };
    ids.iter().map(delete).collect()
}

/// Carries out the operations of one command whose deletes may take so many records along.
fn carry_out(store: &mut Store, max: usize, ops: Vec<WriteOp>) -> Result<(), WriteError> {
    let mut plan = Plan::new(None, &ops, true);
    plan.taken_along_max = max;
    carry_out_as(plan, store, ops)
}

fn carry_out_as(mut plan: Plan, store: &mut Store, ops: Vec<WriteOp>) -> Result<(), WriteError> {
    let written = store.write(5, |txn| {
        let mut writes = Vec::new();
        for op in ops {
            match plan.decide(txn, op) {
                Ok(Step::Unchanged(_)) => {}
                Ok(Step::Write(write)) => writes.push(write.0),
                Ok(Step::Writes(more)) => writes.extend(more),
                Err(Stop::Refused(refused)) => return Ok(Err(refused)),
                Err(Stop::Failed(error)) => return Err(error),
            }
        }
        for write in writes {
            txn.append(Origin::App, None, Change::Write(write))?;
        }
        Ok(Ok(()))
    });
    written.expect("memory is always there").value
}

fn left(store: &Store) -> Vec<String> {
    let snapshot = store.reader().snapshot().unwrap();
    let found = snapshot.query(&landfall_storage::Query::all("Node")).unwrap();
    let ids = found.iter().filter_map(Record::id);
    ids.map(|id| id.to_string()).collect()
}

#[test]
fn a_cascade_beyond_the_bound_is_refused_and_deletes_nothing() {
    let members = [
        ("root", None),
        ("a", Some("root")),
        ("a1", Some("a")),
        ("a2", Some("a")),
        ("b", Some("root")),
    ];
    let mut store = family(&members);
    let (before, head) = (left(&store), store.head());
    let refused = carry_out(&mut store, 3, deletes(&["root"])).unwrap_err();
    assert!(
        matches!(&refused, WriteError::CascadeTooLarge { key: at, max: 3 } if *at == key("root")),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("in parts") && text.contains("nothing was deleted"),
        "{text}"
    );
    assert_eq!((left(&store), store.head()), (before, head));
    carry_out(&mut store, 4, deletes(&["root"])).unwrap();
    assert_eq!(left(&store), Vec::<String>::new());
}

#[test]
fn what_all_deletes_of_a_command_take_along_counts() {
    let members = [
        ("p", None),
        ("p1", Some("p")),
        ("p2", Some("p")),
        ("q", None),
        ("q1", Some("q")),
        ("q2", Some("q")),
    ];
    let mut store = family(&members);
    let refused = carry_out(&mut store, 3, deletes(&["p", "q"])).unwrap_err();
    assert!(
        matches!(&refused, WriteError::CascadeTooLarge { key: at, max: 3 } if *at == key("q")),
        "{refused:?}"
    );
    assert_eq!(left(&store).len(), members.len());
    // Those that were asked for do not count.
    carry_out(&mut store, 0, deletes(&["p1", "p2", "q1"])).unwrap();
    carry_out(&mut store, 1, deletes(&["p", "q"])).unwrap();
    assert_eq!(left(&store), Vec::<String>::new());
}

#[test]
fn what_is_taken_back_takes_nothing_along_that_is_not_named() {
    let mut store = family(&[("root", None), ("a", Some("root")), ("late", Some("a"))]);
    let take_back = |store: &mut Store, ids: &[&str]| {
        let ops = deletes(ids);
        carry_out_as(Plan::taking_back(None, &ops, true), store, ops)
    };
    for (ids, needed) in [(&["root"][..], ("root", "a")), (&["root", "a"], ("a", "late"))] {
        let refused = take_back(&mut store, ids).unwrap_err();
        assert!(
            matches!(&refused, WriteError::StillNeeded { key: at, by } if (at, by) == (&key(needed.0), &key(needed.1))),
            "{refused:?}"
        );
        assert_eq!(left(&store).len(), 3);
    }
    // In whichever order they are named.
    take_back(&mut store, &["root", "late", "a"]).unwrap();
    assert_eq!(left(&store), Vec::<String>::new());
}
