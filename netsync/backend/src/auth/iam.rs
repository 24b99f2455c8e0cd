//! Signed requests: AWS Signature Version 4 for the service `appsync`.
//!
//! Owns [`IamCredential`], the check of signatures, and [`IamSigner`], which makes them for tests and tools. The time
//! comes from outside.
//!
//! Invariants: 1. host and time are part of what is signed; 2. the body that is executed is the body that was signed;
//! 3. a signature is good for five minutes around its time, as with AWS.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ring::{digest, hmac};

use super::gate::Signed;
use super::identity::{IamRole, IamUser};
use super::refusal::AuthRefused;
use super::settings::IamSettings;
use crate::hash::constant_time_eq;

/// What an `Authorization` header of this mode begins with.
pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that signatures name.
const SERVICE: &str = "appsync";
/// How far the time of a signature may be from now, in seconds.
const SKEW_S: i64 = 5 * 60;
/// Longest `Authorization` header that is looked at, in bytes; real ones have some three hundred.
const AUTHORIZATION_BYTES_MAX: usize = 8 * 1024;

/// Somebody who may sign requests.
#[derive(Clone)]
pub struct IamCredential {
    access_key_id: String,
    secret: String,
    session_token: Option<String>,
    role: IamRole,
    account_id: String,
    user_name: String,
}

impl std::fmt::Debug for IamCredential {
    /// Leaves the secrets out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IamCredential")
            .field("access_key_id", &self.access_key_id)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl IamCredential {
    /// A pair of access key and secret, and what it is to the rules.
    pub fn new(access_key_id: impl Into<String>, secret: impl Into<String>, role: IamRole) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret: secret.into(),
            session_token: None,
            role,
            account_id: "000000000000".to_owned(),
            user_name: String::new(),
        }
    }

    /// Accepts it only together with this session token, as temporary credentials have one.
    #[must_use]
    pub fn with_session_token(mut self, token: impl Into<String>) -> Self {
        self.session_token = Some(token.into());
        self
    }

    /// The account and the user's name, for whoever looks at the identity.
    #[must_use]
    pub fn with_identity(mut self, account_id: impl Into<String>, user_name: impl Into<String>) -> Self {
        self.account_id = account_id.into();
        self.user_name = user_name.into();
        self
    }

    fn user(&self, settings: &IamSettings) -> IamUser {
        IamUser {
            role: self.role,
            everywhere: settings.access_everywhere && self.role == IamRole::Service,
            account_id: self.account_id.clone(),
            user_arn: format!("arn:aws:iam::{}:user/{}", self.account_id, self.user_name),
            user_name: self.user_name.clone(),
        }
    }
}

/// What an `Authorization` header of this mode says.
struct Claimed<'a> {
    access_key_id: &'a str,
    /// Day, region, service and end, as signed.
    scope: &'a str,
    day: &'a str,
    region: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

/// A credential that is known, and what a request says that was signed with it.
pub(super) struct Signer<'a> {
    credential: &'a IamCredential,
    claimed: Claimed<'a>,
}

impl<'a> Claimed<'a> {
    fn read(authorization: &'a str) -> Option<Self> {
        let rest = authorization.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let part = |name: &str| {
            rest.split(',')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let (access_key_id, scope) = part("Credential")?.split_once('/')?;
        let parts: Vec<&str> = scope.split('/').collect();
        let [day, region, SERVICE, "aws4_request"] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            access_key_id,
            scope,
            day,
            region,
            signed_headers: part("SignedHeaders")?,
            signature: part("Signature")?,
        })
    }
}

/// Who a request says signed it, as far as its head tells: a credential that is known, and what it says of the signature.
pub(super) fn signer<'a>(
    authorization: &'a str,
    headers: &[(String, String)],
    settings: &'a IamSettings,
) -> Result<Signer<'a>, AuthRefused> {
    if authorization.len() > AUTHORIZATION_BYTES_MAX {
        return Err(AuthRefused::BadSignature);
    }
    let claimed = Claimed::read(authorization).ok_or(AuthRefused::BadSignature)?;
    let credential = settings
        .credentials
        .iter()
        .find(|known| known.access_key_id == claimed.access_key_id)
        .ok_or(AuthRefused::UnknownSigner)?;
    if let Some(token) = &credential.session_token {
        let given = header(headers, "x-amz-security-token").unwrap_or_default();
        if !constant_time_eq(token.as_bytes(), given.as_bytes()) {
            return Err(AuthRefused::UnknownSigner);
        }
    }
    if settings
        .region
        .as_deref()
        .is_some_and(|region| region != claimed.region)
    {
        return Err(AuthRefused::BadSignature);
    }
    Ok(Signer { credential, claimed })
}

fn header<'h>(headers: &'h [(String, String)], wanted: &str) -> Option<&'h str> {
    let found = headers.iter().find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.as_str())
}

/// Checks a signed request.
pub(super) fn verify(
    authorization: &str,
    signed: &Signed<'_>,
    headers: &[(String, String)],
    settings: &IamSettings,
    now_ms: i64,
) -> Result<IamUser, AuthRefused> {
    let Signer { credential, claimed } = signer(authorization, headers, settings)?;
    let names: BTreeSet<&str> = claimed.signed_headers.split(';').collect();
    let time = header(headers, "x-amz-date").ok_or(AuthRefused::BadSignature)?;
    if !names.contains("host") || !names.contains("x-amz-date") || !time.starts_with(claimed.day) {
        return Err(AuthRefused::BadSignature);
    }
    let request = canonical_request(signed, headers, &names).ok_or(AuthRefused::BadSignature)?;
    let expected = signature(&credential.secret, &request, time, claimed.scope);
    if !constant_time_eq(expected.as_bytes(), claimed.signature.as_bytes()) {
        return Err(AuthRefused::BadSignature);
    }
    let signed_at_s = seconds(time).ok_or(AuthRefused::BadSignature)?;
    if (now_ms.div_euclid(1_000) - signed_at_s).abs() > SKEW_S {
        return Err(AuthRefused::StaleSignature);
    }
    Ok(credential.user(settings))
}

/// The text whose hash is signed; `None` if a header that is said to be signed is missing.
fn canonical_request(
    signed: &Signed<'_>,
    headers: &[(String, String)],
    names: &BTreeSet<&str>,
) -> Option<String> {
    let mut text = format!(
        "{}\n{}\n{}\n",
        signed.method,
        signed.path,
        canonical_query(signed.query.unwrap_or_default())
    );
    for name in names {
        let values: Vec<String> = headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        if values.is_empty() {
            return None;
        }
        writeln!(text, "{name}:{}", values.join(",")).ok()?;
    }
    let list: Vec<&str> = names.iter().copied().collect();
    write!(text, "\n{}\n{}", list.join(";"), hex_sha256(signed.body)).ok()?;
    Some(text)
}

/// A query string in the order and with the escapes that signatures are made of.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                super::credentials::percent_decode(&text.replace('+', " ")).unwrap_or_else(|| text.to_owned())
            };
            (escape(&decode(name)), escape(&decode(value)))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

fn signature(secret: &str, canonical_request: &str, time: &str, scope: &str) -> String {
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{scope}\n{}",
        hex_sha256(canonical_request.as_bytes())
    );
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.split('/').fold(first, |key, part| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        hmac::sign(&key, part.as_bytes()).as_ref().to_vec()
    });
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hex(hmac::sign(&key, to_sign.as_bytes()).as_ref())
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since 1970 of a time such as `20231114T221320Z`.
fn seconds(time: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// Signs requests to a backend as AWS's clients do, for tests and tools.
#[derive(Clone)]
pub struct IamSigner {
    credential: IamCredential,
    region: String,
}

impl std::fmt::Debug for IamSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IamSigner")
            .field("credential", &self.credential)
            .field("region", &self.region)
            .finish()
    }
}

impl IamSigner {
    /// A signer for that region.
    pub fn new(credential: IamCredential, region: impl Into<String>) -> Self {
        Self {
            credential,
            region: region.into(),
        }
    }

    /// The headers that authorize a POST of `body` to `path` (`/graphql`, or `/graphql/connect` for the handshake of a
    /// realtime connection), at a time in milliseconds since 1970.
    pub fn headers(&self, now_ms: i64, host: &str, path: &str, body: &[u8]) -> Vec<(String, String)> {
        let time = jiff::Timestamp::from_millisecond(now_ms)
            .map(|time| time.strftime("%Y%m%dT%H%M%SZ").to_string())
            .unwrap_or_default();
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{SERVICE}/aws4_request", self.region);
        let mut headers = vec![
            ("host".to_owned(), host.to_owned()),
            ("x-amz-date".to_owned(), time.clone()),
        ];
        if let Some(token) = &self.credential.session_token {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        let names: BTreeSet<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let signed = Signed {
            method: "POST",
            path,
            query: None,
            body,
        };
        let request = canonical_request(&signed, &headers, &names).unwrap_or_default();
        let signature = signature(&self.credential.secret, &request, &time, &scope);
        let list: Vec<&str> = names.iter().copied().collect();
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.credential.access_key_id,
            list.join(";")
        );
        headers.push(("authorization".to_owned(), authorization));
        headers
    }
}

#[cfg(test)]
mod tests;
