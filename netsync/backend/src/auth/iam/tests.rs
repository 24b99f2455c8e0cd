//! Signatures: a published example, and every way to break one.

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;
const BODY: &[u8] = br#"{"query":"{ a }"}"#;

fn credential() -> IamCredential {
    IamCredential::new("AKID", "secret", IamRole::Authenticated)
}

fn settings() -> IamSettings {
    IamSettings {
        region: Some("eu-west-1".to_owned()),
        credentials: vec![credential()],
        access_everywhere: false,
    }
}

fn post(body: &[u8]) -> Signed<'_> {
    Signed {
        method: "POST",
        path: "/graphql",
        query: None,
        body,
    }
}

fn headers() -> Vec<(String, String)> {
    IamSigner::new(credential(), "eu-west-1").headers(NOW_MS, "api.test", "/graphql", BODY)
}

fn check(signed: &Signed<'_>, headers: &[(String, String)], now_ms: i64) -> Result<IamRole, AuthRefused> {
    let authorization = headers
        .iter()
        .find(|(name, _)| name == "authorization")
        .map_or("", |(_, value)| value.as_str());
    verify(authorization, signed, headers, &settings(), now_ms).map(|user| user.role)
}

/// The example of AWS's documentation and test suite (`get-vanilla-query-order-key-case`), whose service is not ours.
#[test]
fn the_published_example_has_the_published_signature() {
    let headers = [
        ("host".to_owned(), "example.amazonaws.com".to_owned()),
        ("x-amz-date".to_owned(), "20150830T123600Z".to_owned()),
    ];
    let signed = Signed {
        method: "GET",
        path: "/",
        query: Some("Param2=value2&Param1=value1"),
        body: b"",
    };
    let names = BTreeSet::from(["host", "x-amz-date"]);
    let request = canonical_request(&signed, &headers, &names).unwrap();
    assert_eq!(
        hex_sha256(request.as_bytes()),
        "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0"
    );
    let signature = signature(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        &request,
        "20150830T123600Z",
        "20150830/us-east-1/service/aws4_request",
    );
    assert_eq!(
        signature,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
    );
}

#[test]
fn a_signature_is_good_for_what_it_is_over_and_for_five_minutes() {
    assert_eq!(check(&post(BODY), &headers(), NOW_MS), Ok(IamRole::Authenticated));
    let within = (SKEW_S - 1) * 1_000;
    assert!(check(&post(BODY), &headers(), NOW_MS + within).is_ok());
    assert!(check(&post(BODY), &headers(), NOW_MS - within).is_ok());
    let beyond = (SKEW_S + 1) * 1_000;
    for now_ms in [NOW_MS + beyond, NOW_MS - beyond] {
        assert_eq!(
            check(&post(BODY), &headers(), now_ms),
            Err(AuthRefused::StaleSignature)
        );
    }
    let bad = Err(AuthRefused::BadSignature);
    assert_eq!(check(&post(b"{}"), &headers(), NOW_MS), bad);
    for signed in [
        Signed {
            method: "GET",
            ..post(BODY)
        },
        Signed {
            path: "/graphql/connect",
            ..post(BODY)
        },
        Signed {
            query: Some("a=b"),
            ..post(BODY)
        },
    ] {
        assert_eq!(check(&signed, &headers(), NOW_MS), bad);
    }
}

#[test]
fn every_changed_header_breaks_a_signature() {
    let honest = headers();
    for (changed, value) in [
        ("host", "evil.test"),
        ("x-amz-date", "20231114T221321Z"),
        ("x-amz-date", "20231115T221320Z"),
    ] {
        let mut headers = honest.clone();
        for (name, old) in &mut headers {
            if name == changed {
                value.clone_into(old);
            }
        }
        assert_eq!(
            check(&post(BODY), &headers, NOW_MS),
            Err(AuthRefused::BadSignature),
            "{changed}"
        );
    }
    let mut without_date = honest.clone();
    without_date.retain(|(name, _)| name != "x-amz-date");
    assert_eq!(
        check(&post(BODY), &without_date, NOW_MS),
        Err(AuthRefused::BadSignature)
    );
    let with_authorization = |from: &str, to: &str| {
        let mut headers = honest.clone();
        for (name, value) in &mut headers {
            if name == "authorization" {
                assert!(value.contains(from), "{value}");
                *value = value.replace(from, to);
            }
        }
        check(&post(BODY), &headers, NOW_MS)
    };
    for (from, to, expected) in [
        ("AKID", "AKIE", AuthRefused::UnknownSigner),
        ("eu-west-1", "us-east-1", AuthRefused::BadSignature),
        ("/appsync/", "/s3/", AuthRefused::BadSignature),
        ("host;x-amz-date", "x-amz-date", AuthRefused::BadSignature),
        ("host;x-amz-date", "host", AuthRefused::BadSignature),
        (
            "host;x-amz-date",
            "host;missing;x-amz-date",
            AuthRefused::BadSignature,
        ),
        ("Signature=", "Signature=0", AuthRefused::BadSignature),
        ("Signature=", "Sig=", AuthRefused::BadSignature),
        ("Credential=", "", AuthRefused::BadSignature),
        ("20231114/", "20231115/", AuthRefused::BadSignature),
    ] {
        assert_eq!(with_authorization(from, to), Err(expected), "{from} -> {to}");
    }
    let long = format!("{ALGORITHM} {}", "x".repeat(AUTHORIZATION_BYTES_MAX));
    assert_eq!(
        verify(&long, &post(BODY), &honest, &settings(), NOW_MS).map(|user| user.role),
        Err(AuthRefused::BadSignature)
    );
}

#[test]
fn another_secret_or_session_signs_nothing() {
    let stranger = IamCredential::new("AKID", "guess", IamRole::Authenticated);
    let forged = IamSigner::new(stranger, "eu-west-1").headers(NOW_MS, "api.test", "/graphql", BODY);
    assert_eq!(
        check(&post(BODY), &forged, NOW_MS),
        Err(AuthRefused::BadSignature)
    );

    let temporary = credential().with_session_token("session");
    let settings = IamSettings {
        credentials: vec![temporary.clone()],
        ..settings()
    };
    let judge = |credential: IamCredential| {
        let headers = IamSigner::new(credential, "eu-west-1").headers(NOW_MS, "api.test", "/graphql", BODY);
        let authorization = headers.last().unwrap().1.clone();
        verify(&authorization, &post(BODY), &headers, &settings, NOW_MS).map(|user| user.role)
    };
    assert_eq!(judge(temporary), Ok(IamRole::Authenticated));
    assert_eq!(judge(credential()), Err(AuthRefused::UnknownSigner));
    assert_eq!(
        judge(credential().with_session_token("other")),
        Err(AuthRefused::UnknownSigner)
    );
}

#[test]
fn a_signature_for_another_region_is_refused_where_one_is_set() {
    let elsewhere = IamSigner::new(credential(), "us-east-1").headers(NOW_MS, "api.test", "/graphql", BODY);
    assert_eq!(
        check(&post(BODY), &elsewhere, NOW_MS),
        Err(AuthRefused::BadSignature)
    );
    let anywhere = IamSettings {
        region: None,
        ..settings()
    };
    let authorization = &elsewhere.last().unwrap().1;
    assert!(verify(authorization, &post(BODY), &elsewhere, &anywhere, NOW_MS).is_ok());
}

#[test]
fn only_identities_outside_of_pools_may_be_let_in_everywhere() {
    let settings = IamSettings {
        access_everywhere: true,
        ..settings()
    };
    for (role, everywhere) in [
        (IamRole::Authenticated, false),
        (IamRole::Unauthenticated, false),
        (IamRole::Service, true),
    ] {
        let user = IamCredential::new("A", "s", role).user(&settings);
        assert_eq!(user.everywhere, everywhere, "{role:?}");
    }
    let closed = IamSettings::default();
    assert!(
        !IamCredential::new("A", "s", IamRole::Service)
            .user(&closed)
            .everywhere
    );
}

#[test]
fn debug_output_shows_no_secret() {
    let credential = IamCredential::new("AKID", "hidden", IamRole::Service).with_session_token("hidden");
    let signer = IamSigner::new(credential.clone(), "eu-west-1");
    assert!(!format!("{credential:?} {signer:?} {:?}", settings()).contains("hidden"));
}
