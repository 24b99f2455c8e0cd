//! What the backend itself holds, asked over its API without a store in between.

use std::sync::Arc;

use landfall::{Record, Schema};
use landfall_netsync::{Authorization, Endpoint, HttpTransport};
use landfall_wire::{ModelDocuments, RecordReader, SyncArguments, Transport as _, read_sync_page};

use super::report;

/// Records of a model that are asked for; the story has fewer.
const RECORDS_MAX: u32 = 100;

/// The backend as its API shows it.
pub(super) struct Server {
    schema: Arc<Schema>,
    transport: HttpTransport,
}

impl Server {
    /// The backend at that endpoint.
    pub(super) fn new(schema: Arc<Schema>, url: &str, api_key: &str) -> miette::Result<Self> {
        let endpoint = Endpoint::new(url, Authorization::api_key(api_key)).map_err(report)?;
        let transport = HttpTransport::new(endpoint).map_err(report)?;
        Ok(Self { schema, transport })
    }

    /// Every record that is not deleted, with its version, by model and identifier.
    pub(super) async fn everything(&self) -> miette::Result<Vec<Record>> {
        let mut all = Vec::new();
        for def in self.schema.models() {
            let documents = ModelDocuments::build(&self.schema, &def.name).map_err(report)?;
            let reader = RecordReader::new(&self.schema, &def.name).map_err(report)?;
            let arguments = SyncArguments {
                filter: None,
                limit: RECORDS_MAX,
                next_token: None,
                last_sync_ms: None,
            };
            let request = documents.sync.request(&arguments.to_variables());
            let response = self.transport.execute(request).await.map_err(report)?;
            let page = read_sync_page(&reader, &documents.sync, &response)
                .map_err(|failure| miette::miette!("the server does not say what it holds: {failure:?}"))?;
            let there = page.items.into_iter().filter(|remote| !remote.sync.deleted);
            let mut records: Vec<Record> = there
                .map(|remote| {
                    Record::from_fields(Arc::clone(def), &remote.fields).with_sync(Some(remote.sync))
                })
                .collect();
            records.sort_by_key(Record::id);
            all.extend(records);
        }
        Ok(all)
    }
}
