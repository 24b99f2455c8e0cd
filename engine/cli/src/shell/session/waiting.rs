//! `waitFor` and `waitHub`: what a script waits for.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::super::values::{self, Fault};
use super::{Operations, Session, flag, text};

/// How long is waited by default, in milliseconds.
const WAIT_MS_DEFAULT: u64 = 10_000;

/// Longest wait, in milliseconds: a day.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// What a record answers with beside the fields of its model.
const SYNC_FIELDS: [&str; 3] = ["_version", "_lastChangedAt", "_deleted"];

impl Session {
    pub(super) async fn wait_hub(&mut self, command: &Json) -> Result<Json, Fault> {
        let name = command
            .get("event")
            .and_then(Json::as_str)
            .ok_or("`waitHub` needs `event`")?;
        let data = command.get("data").filter(|data| !data.is_null());
        let deadline = deadline(command)?;
        let mut seen = Vec::new();
        loop {
            self.ears.catch_up();
            while let Some(event) = self.ears.next_event() {
                let event = self.operations.event(&event);
                if event["event"] == name && data.is_none_or(|data| values::same(&event["data"], data)) {
                    return Ok(event);
                }
                note(&mut seen, event["event"].as_str().unwrap_or_default());
            }
            if !self.ears.is_open() {
                return Err("the store is closed".to_owned());
            }
            if tokio::time::timeout_at(deadline, self.ears.hear()).await.is_err() {
                return Err(format!("no {name} in time; seen were: {}", listed(&seen)));
            }
        }
    }
}

impl Operations {
    pub(super) async fn wait_for(&self, command: &Json) -> Result<Json, Fault> {
        let key = self.key(command)?;
        let gone = flag(command, "gone")?;
        let wanted = match command.get("fields") {
            None | Some(Json::Null) => None,
            Some(Json::Object(wanted)) => Some(wanted),
            Some(_) => return Err("`fields` is an object of field to value".to_owned()),
        };
        let def = self.model(command)?;
        let is_odd = |name: &&String| def.field(name).is_none() && !SYNC_FIELDS.contains(&name.as_str());
        if let Some(odd) = wanted.and_then(|wanted| wanted.keys().find(is_odd)) {
            return Err(format!(
                "`{}` has no field `{odd}`, so that it never comes to be so",
                def.name
            ));
        }
        let deadline = deadline(command)?;
        // Observed before it is looked at, so that no change falls in between.
        let mut changes = self
            .store
            .records()
            .observe(&key.model, landfall::Predicate::All)
            .await
            .map_err(text)?;
        loop {
            let found = self.store.records().get(&key.model, &key.id).map_err(text)?;
            let json = found.as_ref().map(|record| self.json(record));
            match &json {
                None if gone => return Ok(Json::Null),
                Some(json) if !gone && wanted.is_none_or(|wanted| holds(json, wanted)) => {
                    return Ok(json.clone());
                }
                _ => {}
            }
            match tokio::time::timeout_at(deadline, changes.next()).await {
                Ok(Some(_)) => {}
                Ok(None) => return Err("the store was cleared or closed".to_owned()),
                Err(_) => {
                    return Err(format!(
                        "not so in time; last seen was {}",
                        json.unwrap_or(Json::Null)
                    ));
                }
            }
        }
    }
}

/// Events of one name in a row are one entry, with their number.
fn note(seen: &mut Vec<(String, usize)>, event: &str) {
    match seen.last_mut() {
        Some((last, times)) if last == event => *times += 1,
        _ => seen.push((event.to_owned(), 1)),
    }
}

/// What was seen, in words.
fn listed(seen: &[(String, usize)]) -> String {
    if seen.is_empty() {
        return "none".to_owned();
    }
    let words = seen.iter().map(|(event, times)| match times {
        1 => event.clone(),
        times => format!("{event} ({times} times)"),
    });
    words.collect::<Vec<_>>().join(", ")
}

fn holds(record: &Json, wanted: &Map<String, Json>) -> bool {
    wanted
        .iter()
        .all(|(name, value)| values::same(record.get(name).unwrap_or(&Json::Null), value))
}

fn deadline(command: &Json) -> Result<tokio::time::Instant, Fault> {
    let ms = match command.get("ms") {
        None | Some(Json::Null) => Some(WAIT_MS_DEFAULT),
        Some(ms) => ms.as_u64().filter(|ms| *ms <= WAIT_MS_MAX),
    };
    let ms = ms.ok_or_else(|| format!("`ms` is a whole number of milliseconds, {WAIT_MS_MAX} at most"))?;
    Ok(tokio::time::Instant::now() + Duration::from_millis(ms))
}
