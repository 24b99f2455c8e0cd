//! `outbox`: what waits for the server.
//!
//! Read a page at a time, so that a long outbox is never in memory with all that its changes set, unless that is asked for.

use landfall::{Mutation, Seq, Stage};
use serde_json::{Value as Json, json};

use super::super::values::{self, Fault};
use super::{Operations, flag, text};

/// Waiting changes that one answer lists; with more of them it would be a line of hundreds of megabytes.
const LISTED_MAX: usize = 1_000_000;

/// Changes that are read at a time.
const PAGE: usize = 1_000;

impl Operations {
    /// What waits, and with `details` also what each change sets and why it was refused.
    pub(super) fn outbox(&self, command: &Json) -> Result<Json, Fault> {
        self.listed(flag(command, "details")?, LISTED_MAX)
    }

    /// All that waits, oldest first, if it is no more than so many.
    fn listed(&self, with_details: bool, max: usize) -> Result<Json, Fault> {
        let outbox = self.store.outbox();
        let (mut list, mut after) = (Vec::new(), Seq::ZERO);
        loop {
            let page = outbox.list_after(after, PAGE).map_err(text)?;
            let Some(last) = page.last() else {
                return Ok(list.into());
            };
            after = last.seq;
            if list.len() + page.len() > max {
                return Err(format!(
                    "{} changes wait, and `outbox` lists {max} at most; `metrics` counts them",
                    outbox.len().map_err(text)?
                ));
            }
            list.extend(page.iter().map(|mutation| self.waiting(mutation, with_details)));
        }
    }

    fn waiting(&self, mutation: &Mutation, with_details: bool) -> Json {
        let (stage, refusal) = match &mutation.stage {
            Stage::Queued => ("queued", None),
            Stage::InFlight => ("inFlight", None),
            Stage::Unknown => ("unknown", None),
            Stage::Parked(refusal) => ("parked", Some(refusal)),
        };
        let id = match self.store.schema().model(mutation.model()) {
            Some(def) => values::id_json(def, &mutation.key.id),
            None => values::id_json_of(&mutation.key.id),
        };
        let mut change = json!({
            "model": mutation.model(),
            "id": id,
            "op": mutation.kind.verb(),
            "stage": stage,
            "attempts": mutation.attempts,
        });
        if with_details {
            change["fields"] = json!(mutation.patch);
            change["errorType"] = json!(refusal.and_then(|refusal| refusal.error_type.as_deref()));
            change["reason"] = json!(refusal.map(|refusal| refusal.message.as_str()));
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use landfall::DataStore;

    use super::super::super::recorder::Recorder;
    use super::super::super::values::Form;
    use super::super::{Reply, Session};
    use super::*;

    #[tokio::test]
    async fn all_that_waits_is_listed_in_order_or_it_is_said_that_it_is_too_much() {
        const CHANGES: usize = 10_500;
        let sdl = "type Post @model { id: ID! @primaryKey title: String }";
        let schema = Arc::new(landfall_codegen::parse_sdl("s.graphql", sdl).unwrap());
        let store = DataStore::builder(&schema).open().await.unwrap();
        let form = Form::new(&schema, std::collections::BTreeMap::new());
        let mut session = Session::open(store, Recorder::default(), form).await.unwrap();
        for index in 0..CHANGES {
            let id = format!("{index:05}");
            let save = json!({"op": "save", "model": "Post", "fields": {"id": id, "title": "t"}});
            session.carry_out(&save).await.unwrap();
        }
        let Ok(Reply::Answer(outbox)) = session.carry_out(&json!({"op": "outbox"})).await else {
            panic!("it is answered");
        };
        let ids: Vec<&str> = outbox
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), CHANGES);
        assert!(ids.is_sorted(), "{ids:?}");

        let operations = &session.operations;
        assert!(operations.listed(false, CHANGES).is_ok());
        let fault = operations.listed(false, CHANGES - 1).unwrap_err();
        assert!(
            fault.starts_with("10500 changes wait, and `outbox` lists 10499 at most"),
            "{fault}"
        );
    }
}
