//! AWS Signature Version 4, as far as AppSync needs it: a POST with a body that is at hand.
//!
//! Owns [`sign`]. Pure: the time is handed in. Source: the signing process of the AWS General Reference.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};
use ring::hmac;
use url::Url;

use crate::authorization::Secret;

/// What signs, with the name of what it signs for.
pub(crate) struct Signer<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a Secret,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// What is signed.
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a Url,
    /// Headers with names in lower case, in the order of their names; `host` and `x-amz-date` among them.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
    /// The time in the form `20150830T123600Z`, as in `x-amz-date`.
    pub(crate) time: &'a str,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The value of the header `Authorization`.
pub(crate) fn sign(signer: &Signer<'_>, signed: &Signed<'_>) -> String {
    let date = signed.time.split('T').next().unwrap_or_default();
    let scope = format!("{date}/{}/{}/aws4_request", signer.region, signer.service);
    let names: Vec<&str> = signed.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let request = hex(digest(&SHA256, canonical(signed, &names).as_bytes()).as_ref());
    let to_sign = format!("{ALGORITHM}\n{}\n{scope}\n{request}", signed.time);
    let secret = format!("AWS4{}", signer.secret_access_key.expose());
    let key = [date, signer.region, signer.service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &to_sign));
    format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        signer.access_key_id
    )
}

/// The request in the one form in which both sides see it.
fn canonical(signed: &Signed<'_>, names: &str) -> String {
    let path = match signed.url.path() {
        "" => "/".to_owned(),
        path => encode(path, b"/"),
    };
    let mut query: Vec<(String, String)> = signed
        .url
        .query_pairs()
        .map(|(name, value)| (encode(&name, b""), encode(&value, b"")))
        .collect();
    query.sort();
    let query: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = String::new();
    for (name, value) in signed.headers {
        let value: Vec<&str> = value.split_whitespace().collect();
        writeln!(headers, "{name}:{}", value.join(" ")).expect("writing to memory cannot fail");
    }
    let body = hex(digest(&SHA256, signed.body).as_ref());
    format!(
        "{}\n{path}\n{}\n{headers}\n{names}\n{body}",
        signed.method,
        query.join("&")
    )
}

/// Percent-encodes everything but unreserved characters and those that are kept.
fn encode(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to memory cannot fail");
        }
    }
    out
}

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, data.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to memory cannot fail");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signs with the credentials of AWS's published test suite.
    fn signature(method: &str, url: &str, more: &[(&str, &str)], body: &str) -> String {
        let time = "20150830T123600Z";
        let url: Url = url.parse().expect("a URL");
        let mut headers = vec![("host", "example.amazonaws.com"), ("x-amz-date", time)];
        headers.extend(more);
        headers.sort_unstable();
        let signer = Signer {
            access_key_id: "AKIDEXAMPLE",
            secret_access_key: &Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1",
            service: "service",
        };
        let signed = Signed {
            method,
            url: &url,
            headers: &headers,
            body: body.as_bytes(),
            time,
        };
        let header = sign(&signer, &signed);
        let (_, signature) = header.split_once("Signature=").expect("a signature");
        signature.to_owned()
    }

    #[test]
    fn the_published_test_suite_is_signed_as_published() {
        assert_eq!(
            signature("GET", "https://example.amazonaws.com/", &[], ""),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            signature("POST", "https://example.amazonaws.com/", &[], ""),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(
            signature(
                "GET",
                "https://example.amazonaws.com/?Param2=value2&Param1=value1",
                &[],
                ""
            ),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        assert_eq!(
            signature(
                "POST",
                "https://example.amazonaws.com/",
                &[("content-type", "application/x-www-form-urlencoded")],
                "Param1=value1"
            ),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
        );
    }

    #[test]
    fn the_header_names_key_scope_and_headers_but_not_the_secret() {
        let url: Url = "https://example.amazonaws.com/graphql".parse().expect("a URL");
        let signer = Signer {
            access_key_id: "AKID",
            secret_access_key: &Secret::new("hidden"),
            region: "eu-west-1",
            service: "appsync",
        };
        let signed = Signed {
            method: "POST",
            url: &url,
            headers: &[
                ("host", "example.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"{}",
            time: "20150830T123600Z",
        };
        let header = sign(&signer, &signed);
        let expected = "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-west-1/appsync/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=";
        assert!(header.starts_with(expected), "{header}");
        assert!(!header.contains("hidden"));
    }
}
