//! What must be true in the end, when everything is repaired.
//!
//! Owns the comparison of clients and backend, of indexes with scans, and of the backend with what was promised.

use std::collections::BTreeMap;

use landfall::{
    DataStore, FieldMap, FieldName, ModelDef, Op, Predicate, Query, Record, RecordKey, Stage, Value,
};
use landfall_backend::Backend;

use super::Fault;
use crate::client::SimClient;

/// How a client differs from the backend, and what it has still to send.
pub(crate) fn differences(client: &SimClient, backend: &Backend) -> Vec<String> {
    let Some(store) = client.running() else {
        return vec![format!("{} is off", client.name())];
    };
    let mut found = waiting(client.name(), &store);
    if !found.is_empty() {
        // Comparing rows is dear, and says nothing while something is still to be sent.
        return found;
    }
    let models: Vec<String> = store.schema().models().map(|def| def.name.to_string()).collect();
    for model in models {
        let server = match backend.records(&model) {
            Ok(records) => records,
            Err(error) => return vec![error.to_string()],
        };
        let server: BTreeMap<_, (u64, FieldMap)> = server
            .into_iter()
            .filter(|record| !record.sync.deleted)
            .map(|record| (record.id, (record.sync.version.0, without_nulls(record.fields))))
            .collect();
        let local = match store.records().query(&Query::all(model.as_str())) {
            Ok(local) => local,
            Err(error) => {
                found.push(format!("{model} of {} cannot be read: {error}", client.name()));
                continue;
            }
        };
        let local: BTreeMap<_, (u64, FieldMap)> = local
            .into_iter()
            .filter_map(|record| {
                let version = record.sync().map_or(0, |sync| sync.version.0);
                Some((record.id()?, (version, without_nulls(record.to_fields()))))
            })
            .collect();
        for (id, theirs) in &server {
            match local.get(id) {
                None => found.push(format!("{} lacks {model}/{id}", client.name())),
                Some(ours) if ours != theirs => found.push(format!(
                    "{} holds {model}/{id} as {ours:?}, the server as {theirs:?}",
                    client.name()
                )),
                Some(_) => {}
            }
        }
        let extra = local.keys().filter(|id| !server.contains_key(id));
        found.extend(extra.map(|id| format!("{} still has {model}/{id}", client.name())));
    }
    found
}

fn waiting(name: &str, store: &DataStore) -> Vec<String> {
    let pending = match store.outbox().list(usize::MAX) {
        Ok(pending) => pending,
        Err(error) => return vec![format!("the outbox of {name} cannot be read: {error}")],
    };
    pending
        .into_iter()
        .map(|mutation| {
            let why = match &mutation.stage {
                Stage::Parked(refusal) => format!(" ({:?}: {})", refusal.error_type, refusal.message),
                _ => String::new(),
            };
            format!(
                "{name} still holds {} {}{why}",
                mutation.stage.name(),
                mutation.key
            )
        })
        .collect()
}

fn without_nulls(fields: FieldMap) -> FieldMap {
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// Whether the backend holds what the clients' apps were promised.
pub(crate) fn check_promises(client: &SimClient, backend: &Backend) -> Vec<Fault> {
    let mut stored: BTreeMap<RecordKey, _> = BTreeMap::new();
    let mut faults = Vec::new();
    let keys = client.judge().ledger(|ledger| ledger.keys());
    for key in keys {
        if !stored.contains_key(&key) {
            for record in backend.records(&key.model).unwrap_or_default() {
                stored.insert(RecordKey::new(key.model.clone(), record.id.clone()), record);
            }
        }
        let record = stored.get(&key);
        let live = record.filter(|record| !record.sync.deleted);
        let text = live.map(|record| record.fields.get("text").cloned().unwrap_or(Value::Null));
        let (objection, attempts) = client
            .judge()
            .ledger(|ledger| (ledger.objection(&key, text.as_ref()), ledger.attempts(&key)));
        if let Some(objection) = objection {
            faults.push(Fault::new("E3", &key, format!("on the server {objection}")));
        }
        if let Some(record) = record
            && record.sync.version.0 > attempts
        {
            let times = record.sync.version.0;
            let what = format!("{key} was written {attempts} times and applied {times} times");
            faults.push(Fault::new("I2", &key, what));
        }
    }
    faults
}

/// Whether every index finds what a scan finds.
pub(crate) fn check_indexes(client: &SimClient) -> Vec<Fault> {
    let Some(store) = client.running() else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    let schema = std::sync::Arc::clone(store.schema());
    for def in schema.models() {
        let records = match store.records().query(&Query::all(def.name.clone())) {
            Ok(records) => records,
            Err(error) => {
                faults.push(Fault {
                    invariant: "I17",
                    key: None,
                    what: format!("{} cannot be scanned: {error}", def.name),
                });
                continue;
            }
        };
        let referring = def
            .relations()
            .filter_map(|(_, association)| association.targets().first().cloned());
        for field in referring {
            // Of those that no record refers to any more the index must have nothing left.
            let former = client.judge().references();
            check_index(&store, def, &records, &field, former, &mut faults);
        }
        let indexed = def.indexes.iter().filter_map(|index| index.fields.first());
        for field in indexed {
            check_index(&store, def, &records, field, Vec::new(), &mut faults);
        }
    }
    faults
}

/// Asks by each value that a field has or had, and compares with the records that were scanned.
fn check_index(
    store: &DataStore,
    def: &ModelDef,
    records: &[Record],
    field: &FieldName,
    former: Vec<Value>,
    faults: &mut Vec<Fault>,
) {
    let mut counts: BTreeMap<String, (Value, usize)> = former
        .into_iter()
        .map(|value| (value.to_string(), (value, 0)))
        .collect();
    let values = records.iter().filter_map(|record| record.get(field));
    for value in values.filter(|value| !value.is_null()) {
        counts
            .entry(value.to_string())
            .or_insert_with(|| (value.clone(), 0))
            .1 += 1;
    }
    for (value, count) in counts.into_values() {
        let query = Query {
            predicate: Predicate::Field(field.clone(), Op::Eq(value.clone())),
            ..Query::all(def.name.clone())
        };
        let what = match store.records().query(&query) {
            Ok(found) if found.len() == count => continue,
            Ok(found) => format!("the index finds {}, a scan {count}", found.len()),
            Err(error) => format!("the index cannot be asked: {error}"),
        };
        faults.push(Fault {
            invariant: "I17",
            key: None,
            what: format!("{}.{field} = {value}: {what}", def.name),
        });
    }
}
