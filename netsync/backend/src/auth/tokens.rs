//! JSON web tokens: whose they are, and whether they are good.
//!
//! Owns [`TokenIssuer`] and [`TokenKeys`]. The time comes from outside. The header and the key sets are read with
//! `jsonwebtoken`, signatures are checked with `ring`: its own check asks the system's clock and a provider that is
//! global to the process.
//!
//! Invariants: 1. the key decides the algorithm, never the token; 2. nothing of a token is believed before its signature
//! was checked, but the issuer whose keys are to check it; 3. a token without an end is refused.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, Header};
use ring::{hmac, signature};
use serde_json::{Map, Value as Json};

use super::identity::{Provider, User};

/// Longest token, in bytes; those of Amazon Cognito have some two thousand, and web servers end headers at 8 to 64 KB.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Shortest secret for `HS256`, in bytes: as long as the hash, as its standard demands.
const SECRET_BYTES_MIN: usize = 32;

/// Shortest RSA key, in bits: shorter ones verify nothing, so they are no keys to us.
const RSA_BITS_MIN: usize = 2_048;

/// Most keys of one issuer; those in use have two to four.
const KEYS_MAX: usize = 64;

/// Keys that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The secret is too short.
    #[error("the secret has {given} bytes, it needs at least {SECRET_BYTES_MIN}; take a random one")]
    ShortSecret {
        /// Its length.
        given: usize,
    },
    /// The text is no set of keys.
    #[error(
        "this is no JSON web key set (an object with a list `keys`); fetch the issuer's `jwks.json` again"
    )]
    NoKeySet,
    /// There is no key in the set that could sign a token.
    #[error(
        "the key set has no RSA key (of 2048 bits or more) and no secret for RS256 or HS256; use another issuer or key"
    )]
    NoUsableKey,
    /// There are more keys than any issuer has.
    #[error("the key set has more than {KEYS_MAX} keys; leave the old ones out")]
    TooManyKeys,
}

/// The keys that an issuer signs with: `RS256` and `HS256`.
#[derive(Clone)]
pub struct TokenKeys {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Secret(hmac::Key),
}

impl std::fmt::Debug for TokenKeys {
    /// Says how many keys there are, and nothing of them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys")
            .field("keys", &self.keys.len())
            .finish()
    }
}

impl TokenKeys {
    /// One secret that issuer and backend share (`HS256`).
    ///
    /// # Errors
    /// [`KeyFault::ShortSecret`] below 32 bytes.
    pub fn secret(secret: &[u8]) -> Result<Self, KeyFault> {
        Ok(Self {
            keys: vec![Key {
                id: None,
                material: Material::secret(secret)?,
            }],
        })
    }

    /// The keys of a JSON web key set, as issuers publish it at `/.well-known/jwks.json`; keys of other kinds and for
    /// other algorithms are passed over.
    ///
    /// # Errors
    /// [`KeyFault`] if there is no key to use.
    pub fn from_jwks(text: &str) -> Result<Self, KeyFault> {
        let set: JwkSet = serde_json::from_str(text).map_err(|_| KeyFault::NoKeySet)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyFault::TooManyKeys);
        }
        let mut keys = Vec::new();
        for jwk in &set.keys {
            keys.extend(Key::of_jwk(jwk)?);
        }
        if keys.is_empty() {
            return Err(KeyFault::NoUsableKey);
        }
        Ok(Self { keys })
    }

    /// The key that a token names; one that names none must come from an issuer with a single key.
    fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, self.keys.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            // A secret that was configured without a name serves whatever the token calls it.
            (Some(_), [only]) if only.id.is_none() => Some(only),
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }
}

impl Material {
    fn secret(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyFault::ShortSecret { given: secret.len() });
        }
        Ok(Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }
}

/// Length of an RSA modulus in bits; leading zeros do not count.
fn rsa_bits(modulus: &[u8]) -> usize {
    let first = modulus
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(modulus.len());
    let zeros = modulus.get(first).map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() - first) * 8 - zeros
}

impl Key {
    fn of_jwk(jwk: &Jwk) -> Result<Option<Self>, KeyFault> {
        let common = &jwk.common;
        let for_this = |name: &str| {
            common
                .key_algorithm
                .is_none_or(|algorithm| algorithm.to_string() == name)
        };
        let signs = common
            .public_key_use
            .as_ref()
            .is_none_or(|used| *used == jsonwebtoken::jwk::PublicKeyUse::Signature);
        let material = match &jwk.algorithm {
            AlgorithmParameters::RSA(rsa) if signs && for_this("RS256") => {
                let (Some(n), Some(e)) = (decode(&rsa.n), decode(&rsa.e)) else {
                    return Err(KeyFault::NoKeySet);
                };
                if rsa_bits(&n) < RSA_BITS_MIN {
                    return Ok(None);
                }
                Material::Rsa { n, e }
            }
            AlgorithmParameters::OctetKey(secret) if signs && for_this("HS256") => {
                Material::secret(&decode(&secret.value).ok_or(KeyFault::NoKeySet)?)?
            }
            _ => return Ok(None),
        };
        let id = common.key_id.clone();
        Ok(Some(Self { id, material }))
    }

    /// Whether this key made the signature, by the one algorithm that it is for.
    fn signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Rsa { n, e }, Algorithm::RS256) => {
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (Material::Secret(key), Algorithm::HS256) => hmac::verify(key, message, signature).is_ok(),
            _ => false,
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

/// Somebody whose tokens are accepted.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    provider: Provider,
    issuer: String,
    audiences: BTreeSet<String>,
    keys: TokenKeys,
}

impl TokenIssuer {
    /// An Amazon Cognito user pool; `issuer` is what its tokens have as `iss`, such as
    /// `https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc`.
    pub fn user_pool(issuer: impl Into<String>, keys: TokenKeys) -> Self {
        Self::new(Provider::UserPools, issuer.into(), keys)
    }

    /// An OpenID Connect provider; `issuer` is what its tokens have as `iss`.
    pub fn oidc(issuer: impl Into<String>, keys: TokenKeys) -> Self {
        Self::new(Provider::Oidc, issuer.into(), keys)
    }

    fn new(provider: Provider, issuer: String, keys: TokenKeys) -> Self {
        Self {
            provider,
            issuer,
            audiences: BTreeSet::new(),
            keys,
        }
    }

    /// Accepts only tokens for this audience or others so named: `aud`, or the client in `client_id` or `azp`. Without
    /// any, tokens for every audience are accepted, as on AppSync without a client pattern.
    #[must_use]
    pub fn for_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.insert(audience.into());
        self
    }

    /// What rules call those whom this issuer vouches for.
    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }
}

/// A token whose form was read, and nothing more.
pub(super) struct Unverified<'a> {
    header: Header,
    claims: Map<String, Json>,
    message: &'a str,
    signature: &'a str,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFault {
    /// It is over.
    Expired,
    /// It is forged, for somebody else, or not good yet.
    Refused,
}

impl<'a> Unverified<'a> {
    /// Reads the form of a token; `None` if it has none.
    pub(super) fn read(token: &'a str) -> Option<Self> {
        if token.len() > TOKEN_BYTES_MAX || token.split('.').count() != 3 {
            return None;
        }
        let (message, signature) = token.rsplit_once('.')?;
        let (_, claims) = message.split_once('.')?;
        Some(Self {
            header: jsonwebtoken::decode_header(token).ok()?,
            claims: serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?,
            message,
            signature,
        })
    }

    /// The issuer that the token names, if it is a known one.
    pub(super) fn issuer<'i>(&self, issuers: &'i [TokenIssuer]) -> Option<&'i TokenIssuer> {
        let named = self.claims.get("iss")?.as_str()?;
        issuers.iter().find(|issuer| issuer.issuer == named)
    }

    /// The user, if the token is the issuer's and good now.
    pub(super) fn verify(self, issuer: &TokenIssuer, now_ms: i64) -> Result<User, TokenFault> {
        // Parts of the header that must be understood are none that are understood here.
        if self.header.crit.is_some() {
            return Err(TokenFault::Refused);
        }
        let signature = URL_SAFE_NO_PAD
            .decode(self.signature)
            .map_err(|_| TokenFault::Refused)?;
        let key = issuer.keys.find(self.header.kid.as_deref());
        let genuine = key.is_some_and(|key| key.signed(self.header.alg, self.message.as_bytes(), &signature));
        if !genuine {
            return Err(TokenFault::Refused);
        }
        let now_s = now_ms.div_euclid(1_000);
        if time(&self.claims, "exp").ok_or(TokenFault::Refused)? <= now_s {
            return Err(TokenFault::Expired);
        }
        let too_early = match self.claims.get("nbf") {
            None => false,
            Some(_) => time(&self.claims, "nbf").is_none_or(|nbf| nbf > now_s),
        };
        if too_early || !self.is_for(issuer) || !self.is_of_use(issuer) {
            return Err(TokenFault::Refused);
        }
        Ok(User {
            provider: issuer.provider,
            claims: self.claims,
        })
    }

    fn is_for(&self, issuer: &TokenIssuer) -> bool {
        let known = |value: &Json| value.as_str().is_some_and(|text| issuer.audiences.contains(text));
        let client = match issuer.provider {
            Provider::UserPools => "client_id",
            _ => "azp",
        };
        issuer.audiences.is_empty()
            || self.claims.get("aud").is_some_and(|aud| match aud {
                Json::Array(items) => items.iter().any(known),
                one => known(one),
            })
            || self.claims.get(client).is_some_and(known)
    }

    /// User pools say what a token is for; only two kinds are for calling.
    fn is_of_use(&self, issuer: &TokenIssuer) -> bool {
        issuer.provider != Provider::UserPools
            || self
                .claims
                .get("token_use")
                .is_none_or(|used| matches!(used.as_str(), Some("id" | "access")))
    }
}

/// A claim that is a time in seconds since 1970; fractions are cut off.
fn time(claims: &Map<String, Json>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    #[allow(clippy::cast_possible_truncation)]
    // Out of range saturates, which is the end or the beginning of time.
    value.as_i64().or_else(|| Some(value.as_f64()?.floor() as i64))
}

#[cfg(test)]
mod tests;
