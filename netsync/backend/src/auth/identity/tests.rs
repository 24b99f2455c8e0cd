//! Names and groups out of claims.

use serde_json::json;

use super::*;

fn user(claims: &Json) -> User {
    User {
        provider: Provider::UserPools,
        claims: claims.as_object().unwrap().clone(),
    }
}

fn parts(claim: &str) -> Vec<String> {
    claim.split("::").map(str::to_owned).collect()
}

#[test]
fn a_user_goes_by_all_of_the_name_and_by_each_part() {
    let names = |claims: Json, claim: &str| user(&claims).names(&parts(claim));
    let default = "sub::username";
    assert_eq!(
        names(json!({"sub": "1", "username": "al"}), default),
        ["1::al", "1", "al"]
    );
    assert_eq!(
        names(json!({"sub": "1", "cognito:username": "al"}), default),
        ["1::al", "1", "al"]
    );
    assert_eq!(
        names(json!({"sub": "1", "username": "1"}), default),
        ["1::1", "1"]
    );
    assert_eq!(names(json!({"sub": "1"}), default), ["1"]);
    assert_eq!(names(json!({"email": "a@b"}), "email"), ["a@b"]);
    for nobody in [
        json!({}),
        json!({"sub": ""}),
        json!({"sub": 5, "username": null}),
        json!({"sub": ["1"]}),
    ] {
        assert_eq!(names(nobody.clone(), default), Vec::<String>::new(), "{nobody}");
    }
}

#[test]
fn groups_are_a_list_or_a_text() {
    let groups = |claim: Json| user(&json!({ "g": claim })).groups("g");
    assert_eq!(groups(json!(["a", 5, "", "b"])), ["a", "b"]);
    assert_eq!(groups(json!("a")), ["a"]);
    assert_eq!(groups(json!("[\"a\",\"b\"]")), ["a", "b"]);
    assert_eq!(groups(json!("[a")), ["[a"]);
    assert_eq!(groups(json!(null)), Vec::<String>::new());
    assert_eq!(groups(json!("")), Vec::<String>::new());
    let many: Vec<String> = (0..2 * GROUPS_MAX).map(|number| number.to_string()).collect();
    assert_eq!(groups(json!(many)).len(), GROUPS_MAX);
}

#[test]
fn debug_output_says_only_how_the_caller_came_in() {
    let caller = Caller::User(user(&json!({"sub": "hidden", "email": "hidden@x"})));
    assert_eq!(format!("{caller:?}"), "User Pool Authorization");
}
