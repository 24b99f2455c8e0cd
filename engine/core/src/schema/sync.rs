//! Which way the changes of a model travel.
//!
//! Owns [`ModelSync`] and its effect on a schema. Who sends and who fetches reads it there.

use std::sync::Arc;

use super::{ModelDef, Schema, build, topology};
use crate::names::ModelName;

/// Which way the changes of a model travel. Ours; Amplify syncs every model both ways.
///
/// ```
/// use landfall_core::ModelSync;
///
/// assert_eq!(ModelSync::default(), ModelSync::Both);
/// assert!(ModelSync::Pull.pulls() && !ModelSync::Pull.pushes());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ModelSync {
    /// Neither way: its records stay where they were made. What waited for the server before this was said is sent.
    None,
    /// Only from the server. The app reads and observes; its own writes are refused, since nothing would carry them on
    /// and the next sync would undo them.
    Pull,
    /// Only to the server. Neither sync queries nor subscriptions ask for it: what others write stays unseen, what this
    /// store writes is sent, and the server's answers to that are taken in.
    Push,
    /// Both ways.
    #[default]
    Both,
}

impl ModelSync {
    /// The default of a model that takes part in sync, or does not.
    pub(crate) fn of_syncable(syncable: bool) -> Self {
        if syncable { Self::Both } else { Self::None }
    }

    /// Whether records come from the server.
    pub fn pulls(self) -> bool {
        matches!(self, Self::Pull | Self::Both)
    }

    /// Whether changes of the app go to the server.
    pub fn pushes(self) -> bool {
        matches!(self, Self::Push | Self::Both)
    }
}

impl ModelDef {
    /// Whether the app may write its records: not if they are only pulled.
    pub fn is_writable(&self) -> bool {
        self.sync != ModelSync::Pull
    }
}

impl Schema {
    /// The same schema with the changes of these models travelling so; what is said last of a model counts. A model that
    /// the schema itself keeps local stays local: the server does not have it.
    ///
    /// # Errors
    /// The first name that is no model.
    pub fn with_model_sync<'m>(
        &self,
        models: impl IntoIterator<Item = (&'m ModelName, ModelSync)>,
    ) -> Result<Self, ModelName> {
        let mut schema = self.clone();
        for (name, sync) in models {
            let is_synced = self.model(name).ok_or_else(|| name.clone())?.on_server;
            if let Some(def) = schema.models.get_mut(name).filter(|_| is_synced) {
                let def = Arc::make_mut(def);
                def.sync = sync;
                def.syncable = sync != ModelSync::None;
            }
        }
        schema.levels = topology::levels(&schema.models, &schema.belongings);
        schema.hash = build::hash(&schema);
        Ok(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::blog;

    fn with(model: &str, sync: ModelSync) -> Schema {
        let name = ModelName::from(model);
        blog().with_model_sync([(&name, sync)]).expect("a model")
    }

    #[test]
    fn models_that_stay_local_are_not_synced() {
        let schema = blog();
        let local = with("Comment", ModelSync::None);
        let def = local.model("Comment").expect("there");
        assert_eq!((def.syncable, def.on_server), (false, true));
        let mut synced = local.topological_levels().iter().flatten();
        assert!(!synced.any(|name| name == "Comment"));
        assert_ne!(local.hash(), schema.hash());
    }

    #[test]
    fn a_direction_is_no_change_of_the_schema() {
        let schema = blog();
        for sync in [ModelSync::Pull, ModelSync::Push, ModelSync::Both] {
            let directed = with("Comment", sync);
            assert_eq!(directed.hash(), schema.hash(), "{sync:?}");
            assert_eq!(directed.topological_levels(), schema.topological_levels());
            let def = directed.model("Comment").expect("there");
            assert_eq!((def.sync, def.syncable), (sync, true));
            assert_eq!(def.is_writable(), sync != ModelSync::Pull);
        }
    }

    #[test]
    fn what_is_said_last_counts() {
        let name = ModelName::from("Comment");
        let said = [(&name, ModelSync::None), (&name, ModelSync::Push)];
        let schema = blog().with_model_sync(said).expect("a model");
        let def = schema.model("Comment").expect("there");
        assert_eq!((def.sync, def.syncable), (ModelSync::Push, true));
        assert_eq!(schema.hash(), blog().hash());
    }

    #[test]
    fn what_the_schema_keeps_local_stays_so() {
        assert!(!blog().model("Setting").expect("there").syncable);
        let def = with("Setting", ModelSync::Both);
        let def = def.model("Setting").expect("there");
        assert_eq!((def.sync, def.on_server), (ModelSync::None, false));
        assert!(!def.syncable);
        let nobody = ModelName::from("Nobody");
        let refused = blog().with_model_sync([(&nobody, ModelSync::Pull)]);
        assert_eq!(refused.map(drop), Err(nobody));
    }
}
