//! `configure`: how the session syncs.
//!
//! Invariant: a command with anything wrong in it changes nothing.

use std::time::Duration;

use serde_json::Value as Json;

use super::super::values::{self, Fault};
use super::{Operations, text};

impl Operations {
    pub(super) fn configure(&self, command: &Json) -> Result<Json, Fault> {
        let keep_local = match command.get("conflict") {
            None | Some(Json::Null) => None,
            Some(Json::String(side)) if side == "remote" => Some(false),
            Some(Json::String(side)) if side == "local" => Some(true),
            Some(_) => return Err("`conflict` is \"remote\" or \"local\"".to_owned()),
        };
        let number = |key: &str| match command.get(key) {
            None | Some(Json::Null) => Ok(None),
            Some(json) => match json.as_u64() {
                Some(number) if number > 0 => Ok(Some(number)),
                _ => Err(format!("`{key}` is a positive whole number")),
            },
        };
        let page_size = number("syncPageSize")?;
        let records_max = number("maxRecordsToSync")?;
        let interval = number("fullSyncInterval")?;
        let expressions = match command.get("syncExpressions") {
            None | Some(Json::Null) => None,
            Some(Json::Array(list)) => Some(
                list.iter()
                    .map(|item| self.expression(item))
                    .collect::<Result<_, _>>()?,
            ),
            Some(_) => return Err("`syncExpressions` is a list of [model, predicate]".to_owned()),
        };
        // Nothing is set before everything was found to be sound.
        if let Some(keep_local) = keep_local {
            self.recorder.keep_local(keep_local);
        }
        self.store.configure(|settings| {
            if let Some(page_size) = page_size {
                settings.page_size = u32::try_from(page_size).unwrap_or(u32::MAX);
            }
            settings.records_max = records_max.unwrap_or(settings.records_max);
            if let Some(minutes) = interval {
                settings.full_sync_interval = Duration::from_secs(minutes.saturating_mul(60));
            }
            if let Some(expressions) = expressions {
                settings.expressions = expressions;
            }
        });
        Ok(true.into())
    }

    fn expression(&self, item: &Json) -> Result<(landfall::ModelName, landfall::Predicate), Fault> {
        match item.as_array().map(Vec::as_slice) {
            Some([Json::String(model), predicate]) => {
                let def = self.store.records().def(model).map_err(text)?;
                let predicate = values::predicate(predicate)?;
                predicate.bind(&def).map_err(|error| error.to_string())?;
                Ok((def.name.clone(), predicate))
            }
            _ => Err("a sync expression is [model, predicate]".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::recorder::Recorder;
    use super::super::super::values::Form;
    use super::super::Session;

    #[tokio::test]
    async fn a_configuration_with_a_fault_changes_nothing() {
        let schema = landfall_codegen::parse_sdl("s.graphql", "type Post @model { title: String }").unwrap();
        let schema = std::sync::Arc::new(schema);
        let store = landfall::DataStore::builder(&schema).open().await.unwrap();
        let recorder = Recorder::default();
        let form = Form::new(&schema, std::collections::BTreeMap::new());
        let mut session = Session::open(store, recorder.clone(), form).await.unwrap();
        for fault in [
            json!({"syncPageSize": 0}),
            json!({"maxRecordsToSync": "10"}),
            json!({"fullSyncInterval": 1.5}),
            json!({"syncExpressions": [["Post", ["title", "eq", 5]]]}),
            json!({"syncExpressions": {}}),
        ] {
            let mut command = fault.clone();
            command["op"] = "configure".into();
            command["conflict"] = "local".into();
            assert!(session.carry_out(&command).await.is_err(), "{fault}");
            assert!(!recorder.keeps_local(), "{fault}");
        }
        for (conflict, keeps_local) in [
            (json!("local"), true),
            (json!(null), true),
            (json!("remote"), false),
        ] {
            let command = json!({"op": "configure", "conflict": conflict});
            assert!(session.carry_out(&command).await.is_ok());
            assert_eq!(recorder.keeps_local(), keeps_local);
        }
    }
}
