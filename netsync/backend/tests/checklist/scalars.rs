//! Scalars on the server.

use serde_json::{Value as Json, json};

use crate::support::{Bench, only_error};

const SDL: &str = "type Thing @model {
    text: String  int: Int  float: Float  flag: Boolean  key: ID  date: AWSDate  time: AWSTime  at: AWSDateTime
    stamp: AWSTimestamp  json: AWSJSON  mail: AWSEmail  url: AWSURL  phone: AWSPhone  ip: AWSIPAddress  kind: Kind
    texts: [String]
} enum Kind { A B }";

/// What a field holds after a value was created in it, or the message of the refusal.
fn create(field: &str, value: &Json) -> Result<Json, String> {
    let bench = Bench::of(SDL);
    let query = format!("mutation($i: CreateThingInput!) {{ createThing(input: $i) {{ {field} }} }}");
    let mut body = bench.ask(&query, json!({"i": {field: value}}));
    match body.get("errors") {
        None => Ok(body["data"]["createThing"][field].take()),
        Some(_) => Err(only_error(&body).1),
    }
}

#[track_caller]
fn accepts(field: &str, values: &[Json]) {
    for value in values {
        assert_eq!(create(field, value).as_ref(), Ok(value), "{field}");
    }
}

#[track_caller]
fn refuses(field: &str, values: &[Json]) {
    for value in values {
        assert!(create(field, value).is_err(), "{field} took {value}");
    }
}

#[test]
fn id_takes_strings_and_integers_and_gives_strings() {
    accepts("key", &[json!("a"), json!("")]);
    assert_eq!(create("key", &json!(7)), Ok(json!("7")));
    refuses("key", &[json!(1.5), json!(true), json!(["a"])]);
}

#[test]
fn int_has_thirty_two_bits() {
    accepts(
        "int",
        &[json!(2_147_483_647), json!(-2_147_483_648_i64), json!(0)],
    );
    refuses("int", &[json!(2_147_483_648_i64), json!(1.5), json!("1")]);
}

#[test]
fn float_takes_every_number() {
    assert_eq!(create("float", &json!(3)), Ok(json!(3.0)));
    accepts("float", &[json!(0.1), json!(-1e300)]);
    refuses("float", &[json!("1"), json!(true)]);
}

#[test]
fn aws_date_takes_an_offset() {
    accepts(
        "date",
        &[
            json!("2023-11-14"),
            json!("2023-11-14Z"),
            json!("2023-11-14+02:00"),
        ],
    );
    refuses(
        "date",
        &[
            json!("2023-13-14"),
            json!("14.11.2023"),
            json!("2023-11-14T00:00"),
        ],
    );
}

#[test]
fn aws_time_takes_fractions_and_offsets() {
    accepts(
        "time",
        &[json!("12:30"), json!("12:30:24.500"), json!("12:30:24.500+05:30")],
    );
    refuses("time", &[json!("25:00"), json!("noon")]);
}

#[test]
fn aws_date_time_needs_an_offset_and_comes_back_as_stored() {
    accepts(
        "at",
        &[
            json!("2023-11-14T22:13:20.123Z"),
            json!("2023-11-14T22:13:20+01:00"),
            json!("2023-11-14T22:13Z"),
        ],
    );
    refuses("at", &[json!("2023-11-14T22:13:20"), json!("2023-11-14")]);
    let message = create("at", &json!("nope")).unwrap_err();
    assert_eq!(
        message,
        "Variable 'i' has an invalid value. Unable to parse `nope` as a valid DateTime Object."
    );
}

#[test]
fn aws_timestamp_has_sixty_four_bits() {
    accepts("stamp", &[json!(1_700_000_000_000_i64), json!(-1)]);
    refuses("stamp", &[json!("1"), json!(1.5)]);
}

#[test]
fn aws_json_is_a_string_that_holds_json() {
    assert_eq!(
        create("json", &json!("{\"a\": [1, null]}")),
        Ok(json!("{\"a\":[1,null]}"))
    );
    // Encoded twice it is one text.
    assert_eq!(create("json", &json!("\"{}\"")), Ok(json!("\"{}\"")));
    refuses("json", &[json!({"a": 1}), json!("{a}")]);
}

#[test]
fn the_textual_scalars_are_checked() {
    accepts("mail", &[json!("a@b.example")]);
    refuses("mail", &[json!("a.example")]);
    accepts("url", &[json!("https://a.example/b?c=d")]);
    refuses("url", &[json!("not a url")]);
    accepts("phone", &[json!("+1 555 010 9999")]);
    refuses("phone", &[json!("call me")]);
    accepts("ip", &[json!("127.0.0.1"), json!("::1"), json!("10.0.0.0/8")]);
    refuses("ip", &[json!("999.0.0.1"), json!("localhost")]);
}

#[test]
fn an_enum_outside_its_list_is_a_wrong_type() {
    accepts("kind", &[json!("A")]);
    assert!(
        create("kind", &json!("C"))
            .unwrap_err()
            .contains("No value found for name 'C'")
    );
    let bench = Bench::of(SDL);
    let body = bench.ask("mutation { createThing(input: {kind: C}) { id } }", Json::Null);
    assert!(
        only_error(&body)
            .1
            .starts_with("Validation error of type WrongType"),
        "{body}"
    );
}

#[test]
fn null_for_a_required_input_is_a_coerced_null_value() {
    let bench = Bench::of(SDL);
    let query = "mutation($i: DeleteThingInput!) { deleteThing(input: $i) { id } }";
    let message = |variables: Json| only_error(&bench.ask(query, variables)).1;
    let expected = "Variable 'i' has coerced Null value for NonNull type";
    assert!(message(json!({"i": null})).starts_with(expected));
    assert!(message(json!({"i": {"id": null}})).starts_with(expected));
    assert!(message(Json::Null).starts_with(expected));
}

#[test]
fn a_single_value_stands_for_a_list_of_one() {
    assert_eq!(create("texts", &json!("a")), Ok(json!(["a"])));
    assert_eq!(create("texts", &json!(["a", null])), Ok(json!(["a", null])));
}

#[test]
fn automatic_timestamps_are_utc_with_three_digits_of_fraction() {
    let bench = Bench::of(SDL);
    let created = bench.data(
        "mutation { createThing(input: {}) { createdAt updatedAt _lastChangedAt } }",
        Json::Null,
    )["createThing"]
        .take();
    assert_eq!(
        created,
        json!({"createdAt": "2023-11-14T22:13:20.001Z", "updatedAt": "2023-11-14T22:13:20.001Z",
            "_lastChangedAt": 1_700_000_000_001_i64})
    );
}
