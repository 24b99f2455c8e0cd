//! What must be true in every state of the small world.
//!
//! Owns the comparisons; the world and its steps are `exhaust.rs`.

use landfall_core::{MutationKind, Value};

use super::{CLIENTS, Rules, World, slot};

impl World {
    /// What must be true in every state.
    pub(super) fn check(&self, rules: &Rules) -> Result<(), String> {
        for (index, title) in self.applied.iter().enumerate() {
            if self.applied[..index].contains(title) && !self.decided.contains(title) {
                return Err(format!(
                    "{title} was applied twice, and no conflict was decided so"
                ));
            }
        }
        for client in 0..CLIENTS {
            self.check_order(client)?;
            self.check_client(rules, client)?;
        }
        let quiet = self.requests.is_empty() && self.replies.is_empty();
        if quiet && self.clients.iter().all(|client| client.state.pending.is_empty()) {
            return self.check_agreement(rules);
        }
        Ok(())
    }

    fn check_order(&self, client: usize) -> Result<(), String> {
        let prefix = format!("{client}#");
        let own: Vec<&String> = self
            .applied
            .iter()
            .filter(|title| title.starts_with(&prefix))
            .collect();
        if own.is_sorted() {
            Ok(())
        } else {
            Err(format!("changes of {client} were applied as {own:?}"))
        }
    }

    fn check_client(&self, rules: &Rules, client: usize) -> Result<(), String> {
        let state = &self.clients[client].state;
        let shown = |row: &Vec<Value>| row[slot(rules, "title")].as_str().map(str::to_owned);
        if let Some(newest) = state.pending.last() {
            let wanted = newest.patch.get("title").and_then(Value::as_str);
            match (&state.row, newest.kind) {
                (Some(_), MutationKind::Delete) => return Err(format!("{client} shows what it deleted")),
                (None, MutationKind::Create) => return Err(format!("{client} does not show what it made")),
                (Some(row), _) if shown(row).as_deref() != wanted => {
                    return Err(format!("{client} shows {:?} and wrote {wanted:?}", shown(row)));
                }
                _ => {}
            }
        }
        let Some(sync) = state.sync else { return Ok(()) };
        let made = usize::try_from(sync.version.0)
            .ok()
            .and_then(|version| self.made.get(version.checked_sub(1)?));
        let Some(made) = made else {
            return Err(format!(
                "{client} holds version {}, which was never made",
                sync.version.0
            ));
        };
        let held = if state.pending.is_empty() {
            &state.row
        } else {
            &state.shadow
        };
        let held = held.as_ref().filter(|_| !sync.deleted);
        if made.deleted != sync.deleted || held.is_some_and(|row| shown(row) != made.title) {
            return Err(format!(
                "{client} holds version {} as {held:?}, it was {made:?}",
                sync.version.0
            ));
        }
        Ok(())
    }

    /// Once nothing waits and everybody has synced, all hold what the server holds.
    fn check_agreement(&self, rules: &Rules) -> Result<(), String> {
        let mut synced = self.clone();
        let newest = synced.made.len();
        for client in 0..CLIENTS {
            if newest > 0 {
                synced.learn(rules, client, newest)?;
            }
            let row = synced.clients[client].state.row.as_ref();
            let shown = row.and_then(|row| row[slot(rules, "title")].as_str());
            let wanted = synced
                .made
                .last()
                .filter(|made| !made.deleted)
                .and_then(|made| made.title.as_deref());
            if shown != wanted {
                return Err(format!(
                    "{client} ends with {shown:?}, the server with {wanted:?}"
                ));
            }
        }
        Ok(())
    }
}
