//! The AppSync protocol as values: documents, variables, filters, replies, realtime frames and the realtime session.
//!
//! Nothing here opens a socket, reads a clock or draws a random number. `landfall-netsync` carries these values over a
//! real network, `landfall-sim` over a simulated one, and `landfall-backend` is the other end of both.
//!
//! A request is made of a [`Document`] and variables, goes through a [`Transport`], and its reply is read by one of
//! [`read_sync_page`], [`read_mutation`] and [`read_get`] with the model's [`RecordReader`]. A realtime connection is
//! a [`Session`] fed with what its socket delivers.

mod backoff;
mod batch;
mod document;
mod error;
mod failure;
mod filter;
mod frame;
mod handshake;
mod input;
mod record;
mod reply;
mod response;
mod selection;
mod server_error;
mod session;
#[cfg(test)]
mod testing;
mod transport;

pub use backoff::{Backoff, BackoffPolicy, RETRY_AFTER_MS_MAX};
pub use batch::{BATCH_MAX, BatchReply, batch_request, is_batch_alias, read_batch};
pub use document::{Document, ModelDocuments, SubscriptionKind, Variables};
pub use error::WireError;
pub use failure::{Failure, FailureCause, FailureClass};
pub use filter::{
    FILTER_COMBINATIONS_MAX, FILTER_FIELDS_MAX, FILTER_IN_MAX, condition, subscription_filter, sync_filter,
};
pub use frame::{FRAME_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX, Frame, SubscriptionId};
pub use graphql_client::{Location, PathFragment};
pub use handshake::{
    REALTIME_PROTOCOL, credentials_of_query, credentials_of_subprotocols, realtime_url, subprotocols,
};
pub use input::{SyncArguments, get_variables, mutation_variables, owner_argument, subscription_variables};
pub use record::{BAD_RECORD_JSON_BYTES_MAX, BadRecord, BadRecordFault, RecordReader};
pub use reply::{
    GetReply, MutationReply, SubscriptionData, SyncPage, read_get, read_mutation, read_subscription,
    read_sync_page,
};
pub use response::{HTML_TITLE_BYTES_MAX, read_data, web_page};
pub use selection::{NON_MODEL_REPEATS_MAX, SELECTION_FIELDS_MAX};
pub use server_error::{ERRORS_MAX, MESSAGE_CHARS_MAX, ServerError};
pub use session::{
    CONNECTION_ACK_TIMEOUT_MS, FrameText, KEEP_ALIVE_TIMEOUT_MS, KEEP_ALIVE_TIMEOUT_MS_MAX,
    KEEP_ALIVE_TIMEOUT_MS_MIN, LossReason, QUIET_AFTER_MS, START_ACK_TIMEOUT_MS, SUBSCRIPTIONS_MAX, Session,
    SessionEffect, SessionInput, SubscriptionFailure,
};
pub use transport::{
    Access, Credentials, Delivery, HttpRequest, HttpResponse, OperationName, Socket, SocketSink,
    SocketStream, Subject, Transport, TransportError,
};
