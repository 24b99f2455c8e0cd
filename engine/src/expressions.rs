//! Sync expressions that the app computes when a sync begins.
//!
//! Owns [`Expressions`]. What an expression does is `landfall-actors`' business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use landfall_core::{ModelName, Predicate, Schema};

use crate::error::Error;

/// Computes the sync expression of one model.
pub(crate) type Provider = Arc<dyn Fn() -> BoxFuture<'static, Predicate> + Send + Sync>;

/// What computes the sync expressions of a store.
#[derive(Clone, Default)]
pub(crate) struct Expressions {
    providers: BTreeMap<ModelName, Provider>,
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.providers.keys()).finish()
    }
}

impl Expressions {
    pub(crate) fn insert(&mut self, model: ModelName, provider: Provider) {
        self.providers.insert(model, provider);
    }

    pub(crate) fn models(&self) -> impl Iterator<Item = &ModelName> {
        self.providers.keys()
    }

    /// The expressions as they are now.
    pub(crate) async fn compute(&self, schema: &Schema) -> Result<BTreeMap<ModelName, Predicate>, Error> {
        let mut computed = BTreeMap::new();
        for (model, provider) in &self.providers {
            let expression = provider().await;
            if let Some(def) = schema.model(model) {
                expression.bind(def)?;
            }
            computed.insert(model.clone(), expression);
        }
        Ok(computed)
    }
}
