//! Letting calls, connections and subscriptions in.
//!
//! Owns what the gate is shown of each of them: which credentials, and what a signature has to be over.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Backend;
use crate::auth::{
    AuthRefused, AuthorizerContext, Caller, Credentials, Judgement, Presented, Provider, Signed,
};
use crate::http::{GraphqlRequest, HttpCall};
use crate::realtime::Incoming;

/// Path of the endpoint, as signatures have it.
const PATH: &str = "/graphql";
/// Path that the signature of a realtime handshake is over.
const CONNECT_PATH: &str = "/graphql/connect";
/// What the signature of a realtime handshake is over.
const CONNECT_BODY: &[u8] = b"{}";
/// The account that authorizers are told of.
const ACCOUNT: &str = "000000000000";
/// The API that authorizers are told of.
const API: &str = "landfall";

impl Backend {
    /// Whether a call with these headers has to wait for an authorizer, so that it is better handled away from an event
    /// loop. Others are judged on the spot: keys, tokens of known issuers, signatures, and what the authorizer has answered.
    pub(crate) fn call_may_block(&self, now_ms: i64, headers: &[(String, String)]) -> bool {
        let may = self.config.auth.authorizer.is_some();
        may && self.gate.needs_asking(now_ms, &Credentials::of_headers(headers))
    }

    /// The same of the handshake of a realtime connection.
    pub(crate) fn handshake_may_block(
        &self,
        now_ms: i64,
        headers: &[(String, String)],
        query: Option<&str>,
    ) -> bool {
        let may = self.config.auth.authorizer.is_some();
        may && self
            .gate
            .needs_asking(now_ms, &Credentials::of_handshake(headers, query))
    }

    /// The same of a message of a realtime client.
    pub(crate) fn start_may_block(&self, now_ms: i64, incoming: &Incoming) -> bool {
        match incoming {
            Incoming::Start { authorization, .. } if self.config.auth.authorizer.is_some() => self
                .gate
                .needs_asking(now_ms, &Credentials::of_json(authorization)),
            _ => false,
        }
    }

    /// Judges the sender of a call before its body is there.
    pub(crate) fn judge_head(&self, now_ms: i64, headers: &[(String, String)]) -> Judgement {
        self.gate.judge_head(now_ms, &Credentials::of_headers(headers))
    }

    /// The models that nobody can reach, each with what its rules need and the settings lack, as a sentence.
    pub fn unreachable_models(&self) -> Vec<String> {
        let (config, auth) = (&self.config, &self.config.auth);
        let is_on = |provider: &Provider| match provider {
            Provider::ApiKey => !config.api_keys.is_empty(),
            Provider::Iam => !auth.iam.credentials.is_empty(),
            Provider::UserPools | Provider::Oidc => {
                auth.issuers.iter().any(|issuer| issuer.provider() == *provider)
            }
            Provider::Function => auth.authorizer.is_some(),
        };
        let mut sentences = Vec::new();
        for plan in self.compiled.plans() {
            let providers = plan.rules.as_ref().unwrap_or(&self.implied).providers();
            if !providers.iter().any(is_on) {
                let needed: Vec<&str> = providers.iter().map(|provider| provider.name()).collect();
                sentences.push(format!(
                    "nobody can reach `{}`: its rules are for {}, and nothing of that kind is set up",
                    plan.name(),
                    needed.join(" and ")
                ));
            }
        }
        sentences
    }

    /// Judges who sends an HTTP call.
    pub(super) fn admit_call(
        &self,
        now_ms: i64,
        call: &HttpCall,
        request_id: &str,
    ) -> Result<Arc<Caller>, AuthRefused> {
        let body_bytes_max = self.config.limits.body_bytes_max;
        let context = || context(GraphqlRequest::of_call(call, body_bytes_max).ok(), request_id);
        let presented = Presented {
            credentials: &Credentials::of_headers(&call.headers),
            signed: Signed {
                method: if call.get { "GET" } else { "POST" },
                path: PATH,
                query: call.query.as_deref(),
                body: &call.body,
            },
            context: &context,
        };
        self.gate.admit(now_ms, &presented)
    }

    /// Judges who opens a realtime connection.
    pub(super) fn admit_connection(
        &self,
        now_ms: i64,
        headers: &[(String, String)],
        query: Option<&str>,
    ) -> Result<(), AuthRefused> {
        let presented = Presented {
            credentials: &Credentials::of_handshake(headers, query),
            signed: signed_post(CONNECT_PATH, CONNECT_BODY),
            context: &|| context(None, &self.uuid()),
        };
        self.gate.admit(now_ms, &presented).map(drop)
    }

    /// Judges who starts a subscription.
    pub(super) fn admit_start(
        &self,
        now_ms: i64,
        data: &str,
        authorization: &Json,
    ) -> Result<Arc<Caller>, AuthRefused> {
        let presented = Presented {
            credentials: &Credentials::of_json(authorization),
            signed: signed_post(PATH, data.as_bytes()),
            context: &|| context(GraphqlRequest::of_json(data.as_bytes()).ok(), &self.uuid()),
        };
        self.gate.admit(now_ms, &presented)
    }
}

fn signed_post<'a>(path: &'a str, body: &'a [u8]) -> Signed<'a> {
    Signed {
        method: "POST",
        path,
        query: None,
        body,
    }
}

fn context(request: Option<GraphqlRequest>, request_id: &str) -> AuthorizerContext {
    let (query_string, operation_name, variables) = match request {
        Some(request) => {
            let variables = serde_json::to_value(&request.variables).unwrap_or_default();
            (request.query, request.operation_name, variables)
        }
        None => (String::new(), None, Json::Object(serde_json::Map::new())),
    };
    AuthorizerContext {
        api_id: API.to_owned(),
        account_id: ACCOUNT.to_owned(),
        request_id: request_id.to_owned(),
        query_string,
        operation_name,
        variables,
    }
}
