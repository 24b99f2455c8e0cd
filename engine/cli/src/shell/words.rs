//! What people type, as JSON commands.
//!
//! Owns the commands of the interactive shell. Everything typed ends as the same JSON that the line protocol takes. Words
//! are told apart in `words/split.rs`, conditions read in `words/condition.rs`, values in `words/typed.rs`.

mod condition;
mod split;
mod typed;

use landfall::{ModelDef, Schema};
use landfall_core::KeyKind;
use serde_json::{Map, Value as Json, json};

use super::values::Fault;
use split::{Word, split, split_condition};

/// What can be typed, for `help`.
pub(crate) const HELP: &str = "\
  save MODEL field=value ... [if COND]           make a record
  update MODEL ID field=value ... [if COND]      change a record
  delete MODEL ID [if COND] | delete MODEL where COND | delete MODEL all
  get MODEL ID                                   show a record
  query MODEL [where COND] [sort FIELD [desc]] [limit N] [page N]
  count MODEL [where COND]
  explain MODEL [where COND] [sort FIELD]        how a query finds its records
  observe MODEL [where COND], observed           keep changes from here on; show them
  observeQuery MODEL [where COND] [sort FIELD], snapshots
                                                 keep results from here on; show them
  waitFor MODEL ID [field=value ... | gone] [within MS]
  waitHub EVENT [DATA] [within MS]               wait for a record, or for an event
  start, stop, clear yes                         sync; end syncing; remove all local data
  online on|off                                  plug the network in or out
  configure NAME=VALUE ... | configure sync MODEL where COND
                                                 conflict=remote|local, syncPageSize, maxRecordsToSync,
                                                 fullSyncInterval (minutes); which records are synced
  outbox, hub, errors, conflicts                 what waits; what happened
  metrics, metrics all                           what was counted since the store was opened; all of it
  retry MODEL ID | retry all                     send again what the server refused
  edit MODEL ID field=value ...                  correct what the server refused, and send it again
  discard MODEL ID yes                           give it up; the server's record is back
  time                                           milliseconds since the shell began
  help [COMMAND], exit, quit
COND is FIELD OP VALUE; OP is eq ne lt le gt ge between beginsWith contains notContains in. Join several by and, or,
not and parentheses. FIELD may be one of a related record, such as blog.name.
VALUE is text where the field takes text, else JSON (5, true, null, [\"a\"], {\"lat\":1}). Quote texts with blanks.
A related record is set by its id: save Comment content=hi post=POST_ID
A line that begins with { is taken as a JSON command of the line protocol.";

/// How the notes behind the list of commands begin.
const NOTES: &str = "COND is";

/// What can be typed after one command.
///
/// # Errors
/// If there is no such command.
pub(crate) fn help(command: &str) -> Result<String, Fault> {
    let (commands, notes) = HELP.split_at(HELP.find(NOTES).unwrap_or(HELP.len()));
    let (mut told, mut is_meant) = (String::new(), false);
    for line in commands.lines() {
        // A line that is further in goes on with the one before it.
        if !line.starts_with("   ") {
            let form = line.trim_start().split("  ").next().unwrap_or_default();
            is_meant = form.split([' ', ',', '|']).any(|word| word == command);
        }
        if is_meant {
            told += line;
            told.push('\n');
        }
    }
    if told.is_empty() {
        return Err(format!("there is no command `{command}`; type `help`"));
    }
    let has_notes = ["COND", "VALUE", "value"].iter().any(|word| told.contains(word));
    Ok(told.trim_end().to_owned() + if has_notes { "\n" } else { "" } + if has_notes { notes } else { "" })
}

/// Commands of one word.
const SINGLE: [&str; 12] = [
    "start",
    "stop",
    "clear",
    "observed",
    "snapshots",
    "outbox",
    "metrics",
    "hub",
    "errors",
    "conflicts",
    "time",
    "exit",
];

/// Turns a typed line into a command; `None` for an empty line.
///
/// # Errors
/// What cannot be understood, and what could be typed.
pub(crate) fn command(line: &str, schema: &Schema) -> Result<Option<Json>, Fault> {
    let line = line.trim();
    if line.starts_with('{') {
        return serde_json::from_str(line)
            .map(Some)
            .map_err(|error| format!("no JSON: {error}"));
    }
    let words = split(line)?;
    let Some((op, rest)) = words.split_first() else {
        return Ok(None);
    };
    let typed = Typed { schema };
    let command = match (op.text(), rest) {
        ("save", rest) => typed.save(rest),
        ("update", rest) => typed.update(rest),
        ("get", [model, id]) => Ok(json!({ "op": "get", "model": model.text(), "id": typed.id(model, id) })),
        ("get", _) => Err("get what? get MODEL ID".to_owned()),
        ("delete", rest) => typed.delete(rest),
        ("query" | "count" | "explain" | "observe" | "observeQuery", rest) => typed.query(op.text(), rest),
        ("waitFor", rest) => typed.wait_for(rest),
        ("waitHub", rest) => wait_hub(rest),
        ("configure", rest) => typed.configure(rest),
        ("online", [on]) if on.is("on") => Ok(json!({ "op": "online", "value": true })),
        ("online", [off]) if off.is("off") => Ok(json!({ "op": "online", "value": false })),
        ("online", _) => Err("online on, or online off".to_owned()),
        ("retry", [all]) if all.is("all") => Ok(json!({ "op": "retry", "all": true })),
        ("retry", [model, id]) => {
            Ok(json!({ "op": "retry", "model": model.text(), "id": typed.id(model, id) }))
        }
        ("retry", _) => {
            Err("retry what? retry MODEL ID, or retry all; `outbox` lists what was refused".to_owned())
        }
        ("edit", rest) => typed.edit(rest),
        ("discard", [model, id, yes]) if yes.is("yes") => {
            Ok(json!({ "op": "discard", "model": model.text(), "id": typed.id(model, id) }))
        }
        ("discard", [model, id]) => Err(format!(
            "this gives the change up for good; type `discard {} {} yes`",
            model.text(),
            id.text()
        )),
        ("discard", _) => Err("discard what? discard MODEL ID yes".to_owned()),
        // Who reads it wants to know why, too.
        ("outbox", []) => Ok(json!({ "op": "outbox", "details": true })),
        ("metrics", [all]) if all.is("all") => Ok(json!({ "op": "metrics", "all": true })),
        ("metrics", [_, ..]) => Err("metrics, or metrics all".to_owned()),
        ("quit", []) => Ok(json!({ "op": "exit" })),
        (single, []) if SINGLE.contains(&single) => Ok(json!({ "op": single })),
        (single, [word, ..]) if SINGLE.contains(&single) => {
            Err(format!("`{single}` stands alone, without `{}`", word.text()))
        }
        (other, _) => Err(format!("there is no command `{other}`; type `help`")),
    };
    command.map(Some)
}

/// A condition by itself: comparisons joined by `and` and `or`, or JSON.
pub(super) fn condition(text: &str) -> Result<Json, Fault> {
    let text = text.trim();
    if text.starts_with(['[', '{']) {
        return serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"));
    }
    condition::predicate(&split_condition(text)?, None)
}

/// The words before the first of these keywords, and each keyword with the words after it.
fn clauses<'a>(words: &'a [Word], keywords: &[&'a str]) -> (&'a [Word], Vec<(&'a str, &'a [Word])>) {
    let keyword_of = |word: &Word| keywords.iter().copied().find(|keyword| word.is(keyword));
    let next = |words: &[Word]| {
        let is_keyword = |word: &Word| keyword_of(word).is_some();
        words.iter().position(is_keyword).unwrap_or(words.len())
    };
    let (head, mut rest) = words.split_at(next(words));
    let mut clauses = Vec::new();
    while let Some((word, after)) = rest.split_first() {
        let (operands, next) = after.split_at(next(after));
        clauses.extend(keyword_of(word).map(|keyword| (keyword, operands)));
        rest = next;
    }
    (head, clauses)
}

/// Reads the commands that are about models.
struct Typed<'a> {
    schema: &'a Schema,
}

impl Typed<'_> {
    /// A model that is not there is found out by the session, which knows what to say.
    fn model(&self, model: &Word) -> Option<&ModelDef> {
        self.schema.model(model.text()).map(AsRef::as_ref)
    }

    fn id(&self, model: &Word, id: &Word) -> Json {
        typed::id(id, self.model(model))
    }

    fn predicate(&self, model: &Word, words: &[Word]) -> Result<Json, Fault> {
        condition::predicate(words, self.model(model).map(|def| (def, self.schema)))
    }

    /// The words before `if`; what comes after it becomes the command's condition.
    fn conditional<'a>(&self, rest: &'a [Word], command: &mut Json) -> Result<&'a [Word], Fault> {
        let (head, clauses) = clauses(rest, &["if"]);
        match (clauses.as_slice(), head.first()) {
            ([], _) => {}
            ([(_, words)], Some(model)) => command["where"] = self.predicate(model, words)?,
            _ => return Err("one `if` with one condition will do; join several by `and`".to_owned()),
        }
        Ok(head)
    }

    fn save(&self, rest: &[Word]) -> Result<Json, Fault> {
        let mut command = json!({ "op": "save" });
        let head = self.conditional(rest, &mut command)?;
        let (model, pairs) = head
            .split_first()
            .ok_or("save what? save MODEL field=value ...")?;
        command["model"] = model.text().into();
        command["fields"] = typed::fields(pairs, self.model(model), self.schema)?;
        if let Some(def) = self.model(model)
            && def.key.kind == KeyKind::Managed
            && command["fields"].get("id").is_some()
        {
            return Err(format!(
                "the store makes the identifier of a {}; leave `id` out, or write `id: ID! @primaryKey` in the schema \
                 to choose it",
                def.name
            ));
        }
        Ok(command)
    }

    fn update(&self, rest: &[Word]) -> Result<Json, Fault> {
        let mut command = json!({ "op": "update" });
        match self.conditional(rest, &mut command)? {
            [model, id, pairs @ ..] if !pairs.is_empty() => {
                command["model"] = model.text().into();
                command["id"] = self.id(model, id);
                command["fields"] = typed::fields(pairs, self.model(model), self.schema)?;
                Ok(command)
            }
            _ => Err("update what? update MODEL ID field=value ...".to_owned()),
        }
    }

    fn edit(&self, rest: &[Word]) -> Result<Json, Fault> {
        match rest {
            [model, id, pairs @ ..] if !pairs.is_empty() => Ok(json!({
                "op": "edit",
                "model": model.text(),
                "id": self.id(model, id),
                "fields": typed::fields(pairs, self.model(model), self.schema)?,
            })),
            _ => Err("edit what? edit MODEL ID field=value ...".to_owned()),
        }
    }

    fn delete(&self, rest: &[Word]) -> Result<Json, Fault> {
        let mut command = json!({ "op": "delete" });
        match self.conditional(rest, &mut command)? {
            [model, keyword, words @ ..] if keyword.is("where") && command.get("where").is_none() => {
                command["model"] = model.text().into();
                command["where"] = self.predicate(model, words)?;
            }
            [model, all] if all.is("all") && command.get("where").is_none() => {
                command["model"] = model.text().into();
                command["all"] = true.into();
            }
            [model, id] if !id.is("all") => {
                command["model"] = model.text().into();
                command["id"] = self.id(model, id);
            }
            _ => {
                let fault = "delete what? delete MODEL ID, delete MODEL where COND or delete MODEL all";
                return Err(fault.to_owned());
            }
        }
        Ok(command)
    }

    fn query(&self, op: &str, rest: &[Word]) -> Result<Json, Fault> {
        let keywords: &[&str] = match op {
            "query" => &["where", "sort", "limit", "page"],
            "explain" | "observeQuery" => &["where", "sort"],
            _ => &["where"],
        };
        let (head, clauses) = clauses(rest, keywords);
        let model = head.first().ok_or_else(|| format!("{op} what? {op} MODEL"))?;
        let odd = |word: &str| {
            Err(format!(
                "`{word}` is not understood here; {op} MODEL takes {}",
                keywords.join(", ")
            ))
        };
        if let Some(word) = head.get(1) {
            return odd(word.text());
        }
        let mut command = json!({ "op": op, "model": model.text() });
        for (clause, operands) in clauses {
            match (clause, operands) {
                ("where", condition) => command["where"] = self.predicate(model, condition)?,
                ("sort", [field]) => command["sort"] = json!([[field.text(), "ASCENDING"]]),
                ("sort", [field, way]) if way.is("asc") => {
                    command["sort"] = json!([[field.text(), "ASCENDING"]]);
                }
                ("sort", [field, way]) if way.is("desc") => {
                    command["sort"] = json!([[field.text(), "DESCENDING"]]);
                }
                ("limit" | "page", [number]) => command[clause] = typed::value(number),
                (other, _) => return odd(other),
            }
        }
        Ok(command)
    }

    fn wait_for(&self, rest: &[Word]) -> Result<Json, Fault> {
        let (head, within) = within(rest)?;
        let [model, id, wanted @ ..] = head else {
            return Err("wait for what? waitFor MODEL ID [field=value ... | gone] [within MS]".to_owned());
        };
        let mut command = json!({ "op": "waitFor", "model": model.text(), "id": self.id(model, id) });
        match wanted {
            [] => {}
            [gone] if gone.is("gone") => command["gone"] = true.into(),
            pairs => command["fields"] = self.shown(model, pairs)?,
        }
        Ok(timed(command, within))
    }

    /// Fields as a record shows them: a related record as its id.
    fn shown(&self, model: &Word, pairs: &[Word]) -> Result<Json, Fault> {
        let mut fields = typed::fields(pairs, self.model(model), self.schema)?;
        for value in fields.as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some([_, id]) = value.get("$ref").and_then(Json::as_array).map(Vec::as_slice) {
                *value = id.clone();
            }
        }
        Ok(fields)
    }

    fn configure(&self, rest: &[Word]) -> Result<Json, Fault> {
        match rest {
            [] => {
                Err("configure what? configure NAME=VALUE ..., or configure sync MODEL where COND".to_owned())
            }
            [sync, model, keyword, words @ ..] if sync.is("sync") && keyword.is("where") => {
                let condition = self.predicate(model, words)?;
                Ok(json!({ "op": "configure", "syncExpressions": [[model.text(), condition]] }))
            }
            pairs => {
                let mut command = json!({ "op": "configure" });
                let names = ["conflict", "syncPageSize", "maxRecordsToSync", "fullSyncInterval"];
                for pair in pairs {
                    match pair.pair() {
                        Some((name, word)) if names.contains(&name) => command[name] = typed::value(&word),
                        _ => {
                            return Err(format!(
                                "`{}` is no setting; the settings are {}",
                                pair.text(),
                                names.join(", ")
                            ));
                        }
                    }
                }
                Ok(command)
            }
        }
    }
}

fn wait_hub(rest: &[Word]) -> Result<Json, Fault> {
    let (head, within) = within(rest)?;
    let command = match head {
        [event] => json!({ "op": "waitHub", "event": event.text() }),
        [event, data] => json!({ "op": "waitHub", "event": event.text(), "data": typed::value(data) }),
        _ => return Err("wait for what? waitHub EVENT [DATA] [within MS]".to_owned()),
    };
    Ok(timed(command, within))
}

/// The words before `within`, and the time after it.
fn within(rest: &[Word]) -> Result<(&[Word], Option<Json>), Fault> {
    let (head, clauses) = clauses(rest, &["within"]);
    match clauses.as_slice() {
        [] => Ok((head, None)),
        [(_, [ms])] => Ok((head, Some(typed::value(ms)))),
        _ => Err("`within` takes one number of milliseconds".to_owned()),
    }
}

fn timed(mut command: Json, within: Option<Json>) -> Json {
    if let Some(ms) = within {
        command["ms"] = ms;
    }
    command
}

#[cfg(test)]
mod tests;
