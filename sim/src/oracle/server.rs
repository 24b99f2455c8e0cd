//! What the server did, seen from the wire.
//!
//! Owns [`ServerWatch`]: every version that the server ever made of a record, read from its replies (also from those
//! that get lost afterwards), and the checks that need nothing else: at most once, in order, parents first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use landfall::{ModelDef, RecordId, RecordKey, Schema, SyncMetadata};
use landfall_backend::{Backend, HttpReply};
use serde_json::{Map, Value as Json};

use super::Fault;
use super::causal::Causality;

/// A version of a record, as the server made it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    pub(crate) version: u64,
    pub(crate) changed_at_ms: i64,
    pub(crate) deleted: bool,
    pub(crate) fields: Map<String, Json>,
    /// Whose call made it.
    pub(crate) by: String,
}

/// What a call was to do.
struct Call<'a> {
    verb: &'static str,
    model: &'a str,
    def: &'a ModelDef,
}

/// A record that was made before one that it refers to.
struct Dangling {
    by: String,
    key: RecordKey,
    mark: Option<u64>,
}

/// Statuses that say nothing of what was asked: credentials, timeouts, too many requests.
const PASSING_STATUS: [u16; 4] = [401, 403, 408, 429];

/// AppSync's errors, without the data source before the colon, after which the same request may succeed.
const PASSING_ERRORS: [&str; 24] = [
    "ThrottlingException",
    "Throttling",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededError",
    "LimitExceededException",
    "TransactionConflictException",
    "MaxConflicts",
    "ConflictError",
    "DeltaSyncWriteError",
    "InternalFailure",
    "InternalFailureException",
    "InternalServerError",
    "InternalServerErrorException",
    "ServiceUnavailable",
    "ServiceUnavailableException",
    "ProvisionedThroughputExceededException",
    "ExecutionTimeout",
    "UnauthorizedException",
    "NotAuthorizedException",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "InvalidSignatureException",
];

/// Every version that the server made.
pub struct ServerWatch {
    schema: Arc<Schema>,
    backend: Arc<Backend>,
    history: BTreeMap<RecordKey, Vec<Version>>,
    /// Marks that the server has applied, by client and record; see [`mark`].
    applied: BTreeMap<(String, RecordKey), Vec<u64>>,
    /// Models whose records belong to one client each and carry marks.
    exclusive: Vec<String>,
    /// Records that their client writes in transactions with another one, which comes first.
    seconds: BTreeMap<RecordKey, RecordKey>,
    /// Records that a client has deleted along with the one to which they belong, and not yet called about.
    cascades: BTreeMap<(String, RecordKey), BTreeSet<RecordKey>>,
    /// Records that a client has called about, whatever came of it.
    asked: BTreeSet<(String, RecordKey)>,
    /// Records that were made while the server did not have this one, to which they refer.
    dangling: BTreeMap<RecordKey, Vec<Dangling>>,
    causality: Causality,
    faults: Vec<Fault>,
    merges: u64,
    /// How often each client was told that something of a record is refused for good.
    refusals: BTreeMap<(String, RecordKey), u64>,
    /// Whether what is seen now is a request that the network has doubled.
    doubled: bool,
}

impl std::fmt::Debug for ServerWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerWatch({} records)", self.history.len())
    }
}

/// A mark in a text field: `anna#17` is the 17th write of anna. Each write has one of its own.
pub(crate) fn mark(text: &str) -> Option<u64> {
    text.rsplit_once('#')?.1.parse().ok()
}

impl ServerWatch {
    pub(crate) fn new(schema: Arc<Schema>, backend: Arc<Backend>) -> Self {
        Self {
            schema,
            backend,
            history: BTreeMap::new(),
            applied: BTreeMap::new(),
            exclusive: Vec::new(),
            seconds: BTreeMap::new(),
            cascades: BTreeMap::new(),
            asked: BTreeSet::new(),
            dangling: BTreeMap::new(),
            causality: Causality::default(),
            faults: Vec::new(),
            merges: 0,
            refusals: BTreeMap::new(),
            doubled: false,
        }
    }

    /// Says that each record of a model is written by one client only, with a mark in a text field.
    pub(crate) fn exclusive(&mut self, model: &str) {
        self.exclusive.push(model.to_owned());
    }

    /// Says that a client makes two records in one transaction, in this order.
    pub(crate) fn pair(&mut self, one: RecordKey, other: RecordKey) {
        self.seconds.insert(other, one);
    }

    /// Says that a client has deleted a record, and with it these, which belong to it: their deletes have to come first.
    pub(crate) fn cascaded(&mut self, client: &str, parent: RecordKey, children: BTreeSet<RecordKey>) {
        self.cascades.insert((client.to_owned(), parent), children);
    }

    /// Says that a client has given up the delete of a record, so that nothing has to wait for it.
    pub(crate) fn keeps(&mut self, client: &str, key: &RecordKey) {
        for ((by, _), children) in &mut self.cascades {
            if by == client {
                children.remove(key);
            }
        }
    }

    /// The server answered a call that the network has doubled: no client has sent it twice, but what came of it is a version
    /// as any other.
    pub(crate) fn saw_again(&mut self, client: &str, operation: &str, body: &str, reply: &HttpReply) {
        self.doubled = true;
        self.saw(client, operation, body, reply);
        self.doubled = false;
    }

    /// The server answered a call.
    pub(crate) fn saw(&mut self, client: &str, operation: &str, body: &str, reply: &HttpReply) {
        let Some((verb, model)) = ["Create", "Update", "Delete"]
            .iter()
            .find_map(|verb| Some((*verb, operation.strip_prefix(verb)?)))
        else {
            return;
        };
        let schema = Arc::clone(&self.schema);
        let Some(def) = schema.model(model) else { return };
        let Ok(request) = serde_json::from_str::<Json>(body) else {
            return;
        };
        let Ok(answer) = serde_json::from_slice::<Json>(&reply.body) else {
            return;
        };
        let call = Call { verb, model, def };
        if let Some(input) = request.pointer("/variables/input").and_then(Json::as_object) {
            return self.saw_one(client, &call, input, &answer, None);
        }
        // Several in one request, in their order, each under an alias.
        for number in 0.. {
            let input = request.pointer(&format!("/variables/input{number}"));
            let Some(input) = input.and_then(Json::as_object) else {
                return;
            };
            let alias = format!("m{number}");
            self.saw_one(client, &call, input, &answer, Some(&alias));
        }
    }

    /// A client was told this. Counts what it refuses for good, of a mutation or of a record that was asked for.
    pub(crate) fn told(&mut self, client: &str, operation: &str, body: &str, status: u16, reply: &[u8]) {
        if !(200..500).contains(&status) || PASSING_STATUS.contains(&status) {
            return;
        }
        let model = ["Create", "Update", "Delete", "Get"]
            .iter()
            .find_map(|verb| operation.strip_prefix(verb));
        let schema = Arc::clone(&self.schema);
        let Some(model) = model else { return };
        // The server may not have the model; then its records have the key that models have by themselves.
        let def = schema.model(model);
        let (Ok(request), Ok(answer)) = (
            serde_json::from_str::<Json>(body),
            serde_json::from_slice::<Json>(reply),
        ) else {
            return;
        };
        let errors = answer.get("errors").and_then(Json::as_array);
        let refusing: Vec<&Json> = errors
            .into_iter()
            .flatten()
            .filter(|error| is_final(error))
            .collect();
        let variables = request.get("variables").and_then(Json::as_object);
        for (name, value) in variables.into_iter().flatten() {
            // One mutation has `input`, several have `input0`, `input1`, of which the answers are `m0`, `m1`; a record is
            // asked for by the fields of its key.
            let (fields, alias) = match (name.strip_prefix("input"), value.as_object()) {
                (Some(""), Some(input)) => (input, None),
                (Some(number), Some(input)) => (input, Some(format!("m{number}"))),
                _ => match variables {
                    Some(variables) => (variables, None),
                    None => continue,
                },
            };
            let concerns = |error: &&&Json| {
                let first = error["path"].get(0).and_then(Json::as_str);
                alias.is_none() || first.is_none() || first == alias.as_deref()
            };
            let count = refusing.iter().filter(concerns).count() as u64;
            let id = match def {
                Some(def) => id_of(def, fields),
                None => fields.get("id").and_then(Json::as_str).map(RecordId::text),
            };
            if let Some(id) = id.filter(|_| count > 0) {
                let key = RecordKey::new(model, id);
                *self.refusals.entry((client.to_owned(), key)).or_default() += count;
            }
        }
    }

    /// How often a client was told that something of a record is refused for good.
    pub(crate) fn refusals(&self, client: &str, key: &RecordKey) -> u64 {
        let of_client = self.refusals.get(&(client.to_owned(), key.clone()));
        of_client.copied().unwrap_or(0)
    }

    /// Whether a record was ever deleted on the server.
    pub(crate) fn was_deleted(&self, key: &RecordKey) -> bool {
        let versions = self.history.get(key).into_iter().flatten();
        versions.into_iter().any(|version| version.deleted)
    }

    fn saw_one(
        &mut self,
        client: &str,
        call: &Call<'_>,
        input: &Map<String, Json>,
        answer: &Json,
        alias: Option<&str>,
    ) {
        let data = answer.get("data").and_then(Json::as_object);
        let record = data.and_then(|data| match alias {
            Some(alias) => data.get(alias),
            None => data.values().next(),
        });
        let record = record.and_then(Json::as_object).cloned();
        let concerns = |error: &Json| {
            let first = error["path"].get(0).and_then(Json::as_str);
            alias.is_none() || first.is_none() || first == alias
        };
        let errors = answer.get("errors").and_then(Json::as_array);
        let errors = errors.is_some_and(|errors| errors.iter().any(concerns));
        let key = |fields: &Map<String, Json>| Some(RecordKey::new(call.model, id_of(call.def, fields)?));
        if let Some(key) = key(input) {
            self.check_group(client, call.verb, &key);
            self.check_children(client, call.verb, &key);
            self.asked.insert((client.to_owned(), key));
        }
        match record {
            Some(record) if !errors => {
                if let Some(key) = key(&record) {
                    let schema = Arc::clone(&self.schema);
                    self.applied(client, call.verb, &schema, key, input, record);
                }
            }
            _ => self.reread(client, call.model, key(input), input),
        }
    }

    /// After an error the record may have been written all the same; then it is looked up.
    fn reread(&mut self, client: &str, model: &str, key: Option<RecordKey>, input: &Map<String, Json>) {
        let Some(key) = key else { return };
        let known = self.newest(&key).map_or(0, |version| version.version);
        let stored = self.backend.records(model).unwrap_or_default();
        if let Some(record) = stored.into_iter().find(|record| record.id == key.id)
            && record.sync.version.0 != known
        {
            let fields = record
                .fields
                .iter()
                .map(|(name, value)| (name.to_string(), Json::from(value)))
                .collect();
            if !self.doubled && is_in(input, &fields) {
                self.check_marks(client, &key, input);
            }
            self.history.entry(key).or_default().push(Version {
                version: record.sync.version.0,
                changed_at_ms: record.sync.last_changed_at_ms,
                deleted: record.sync.deleted,
                fields,
                by: client.to_owned(),
            });
        }
    }

    fn applied(
        &mut self,
        client: &str,
        verb: &str,
        schema: &Schema,
        key: RecordKey,
        input: &Map<String, Json>,
        record: Map<String, Json>,
    ) {
        let version = record.get("_version").and_then(Json::as_u64).unwrap_or(0);
        let base = input.get("_version").and_then(Json::as_u64);
        if verb == "Update" && base.is_some_and(|base| base + 1 != version) {
            self.merges += 1;
        }
        if !self.doubled {
            let unread = self
                .causality
                .applied(client, &key, input, self.history.get(&key));
            self.faults.extend(unread);
        }
        if !self.doubled {
            self.check_marks(client, &key, input);
        }
        if verb == "Create" {
            self.check_parents(client, schema, &key, &record);
        }
        self.history.entry(key).or_default().push(Version {
            version,
            changed_at_ms: record.get("_lastChangedAt").and_then(Json::as_i64).unwrap_or(0),
            deleted: record.get("_deleted").and_then(Json::as_bool).unwrap_or(false),
            fields: record,
            by: client.to_owned(),
        });
    }

    /// The parts of a transaction come in their order. Only what makes the records is looked at: later changes may be folded
    /// into what waits, and then go with it.
    fn check_group(&mut self, client: &str, verb: &str, key: &RecordKey) {
        let Some(one) = self.seconds.get(key).filter(|_| verb == "Create") else {
            return;
        };
        if !self.asked.contains(&(client.to_owned(), one.clone())) {
            let what = format!("{client} sent {key} before {one}, which comes first in their transaction");
            self.faults.push(Fault::new("I4", key, what));
        }
    }

    /// What belongs to a record is deleted before it. What the server does not have needs no delete.
    fn check_children(&mut self, client: &str, verb: &str, key: &RecordKey) {
        if verb != "Delete" {
            return;
        }
        self.keeps(client, key);
        let children = self.cascades.remove(&(client.to_owned(), key.clone()));
        let is_there = |child: &RecordKey| self.newest(child).is_some_and(|newest| !newest.deleted);
        if let Some(child) = children.into_iter().flatten().find(is_there) {
            let what =
                format!("{client} sent the delete of {key} before that of {child}, which belongs to it");
            self.faults.push(Fault::new("I4", &child, what));
        }
    }

    /// Each write at most once, unless a conflict was decided so; and those of a record that belongs to one client in their
    /// order.
    fn check_marks(&mut self, client: &str, key: &RecordKey, input: &Map<String, Json>) {
        let texts = input.values().filter_map(Json::as_str);
        let Some((mark, text)) = texts.filter_map(|text| Some((mark(text)?, text))).next() else {
            return;
        };
        let is_shared = !self.exclusive.iter().any(|model| *model == *key.model);
        if is_shared && self.causality.was_decided(text) {
            return;
        }
        let applied = self.applied.entry((client.to_owned(), key.clone())).or_default();
        if applied.contains(&mark) {
            self.faults.push(Fault::new(
                "I2",
                key,
                format!("write {mark} of {client} was applied to {key} a second time"),
            ));
        } else if let Some(later) = applied.iter().find(|later| **later > mark && !is_shared) {
            let what = format!("write {mark} of {client} was applied to {key} after its write {later}");
            self.faults.push(Fault::new("I4", key, what));
        }
        applied.push(mark);
    }

    /// A record that refers to another one is made after it, unless the app has made the other one later: it may refer to
    /// what it deletes before it was sent, and make it again.
    fn check_parents(&mut self, client: &str, schema: &Schema, key: &RecordKey, record: &Map<String, Json>) {
        let Some(def) = schema.model(&key.model) else {
            return;
        };
        let made = record.values().filter_map(Json::as_str).find_map(mark);
        for (field, association) in def.relations() {
            let landfall_core::FieldType::Model(other) = &field.ty else {
                continue;
            };
            let [target] = association.targets() else { continue };
            let Some(id) = record.get(target.as_str()).and_then(Json::as_str) else {
                continue;
            };
            let parent = RecordKey::new(other.clone(), RecordId::text(id));
            if !self.history.contains_key(&parent) {
                self.dangling.entry(parent).or_default().push(Dangling {
                    by: client.to_owned(),
                    key: key.clone(),
                    mark: made,
                });
            }
        }
        for child in self.dangling.remove(key).unwrap_or_default() {
            let is_later = made.zip(child.mark).is_some_and(|(made, child)| made > child);
            if child.by == client && !is_later {
                let what = format!("{client} made {} before the {key} that it refers to", child.key);
                self.faults.push(Fault::new("I4", &child.key, what));
            }
        }
    }

    /// What authors had read.
    pub(crate) fn causality(&mut self) -> &mut Causality {
        &mut self.causality
    }

    /// The newest version of a record.
    pub(crate) fn newest(&self, key: &RecordKey) -> Option<&Version> {
        self.history.get(key)?.last()
    }

    /// The version of a record that a client says it holds.
    pub(crate) fn version(&self, key: &RecordKey, sync: SyncMetadata) -> Option<&Version> {
        self.history.get(key)?.iter().rev().find(|version| {
            version.version == sync.version.0 && version.changed_at_ms == sync.last_changed_at_ms
        })
    }

    /// For each record of a model, its newest version from before a time of the server's clock.
    pub(crate) fn before(&self, model: &str, server_ms: i64) -> Vec<(&RecordKey, &Version)> {
        self.history
            .iter()
            .filter(|(key, _)| key.model.as_str() == model)
            .filter_map(|(key, versions)| {
                let newest = versions
                    .iter()
                    .filter(|version| version.changed_at_ms < server_ms)
                    .max_by_key(|version| (version.changed_at_ms, version.version))?;
                Some((key, newest))
            })
            .collect()
    }

    /// Every version of a record, for reports.
    pub(crate) fn story(&self, key: &RecordKey) -> Vec<String> {
        let versions = self.history.get(key).into_iter().flatten();
        versions
            .map(|version| {
                let state = if version.deleted { " deleted" } else { "" };
                let fields: Map<String, Json> = version
                    .fields
                    .iter()
                    .filter(|(name, value)| !name.starts_with('_') && !value.is_null())
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                format!(
                    "version {} at {}{state}: {}",
                    version.version,
                    version.changed_at_ms,
                    Json::Object(fields)
                )
            })
            .collect()
    }

    /// What was found wrong since it was last asked.
    pub(crate) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// Versions that the server made so far.
    pub(crate) fn versions(&self) -> u64 {
        self.history.values().map(|versions| versions.len() as u64).sum()
    }

    /// Stale changes that the server merged so far.
    pub(crate) fn merges(&self) -> u64 {
        self.merges
    }
}

/// Whether a record says what an input with a mark says.
fn is_in(input: &Map<String, Json>, fields: &Map<String, Json>) -> bool {
    let marked = |value: &Json| value.as_str().and_then(mark).is_some();
    let mut marked = input.iter().filter(|(_, value)| marked(value)).peekable();
    marked.peek().is_some() && marked.all(|(name, value)| fields.get(name) == Some(value))
}

/// Whether an error will be the same next time: none of those that say that the server is busy, has failed, or does not
/// know the credentials.
fn is_final(error: &Json) -> bool {
    let error_type = error.get("errorType").and_then(Json::as_str);
    let name = error_type.map(|name| name.rsplit_once(':').map_or(name, |(_, name)| name));
    match name {
        Some(name) => !PASSING_ERRORS.contains(&name),
        None => {
            let message = error.get("message").and_then(Json::as_str).unwrap_or("");
            !message.starts_with("Execution timed out")
        }
    }
}

fn id_of(def: &landfall::ModelDef, fields: &Map<String, Json>) -> Option<RecordId> {
    let fields = fields
        .iter()
        .map(|(name, value)| (landfall::FieldName::from(name.as_str()), value.into()))
        .collect();
    RecordId::of_fields(def, &fields)
}
