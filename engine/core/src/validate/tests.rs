//! Tests of validation: what fits, every fault of every type, and that all faults come at once.

use serde_json::json;

use super::*;
use crate::record::FieldMap;
use crate::test_support::{blog, blog_parts, lay_over, model, object, row, sdl, typed};

/// A schema with a model that has a field of every type, and of lists of them.
fn sample() -> Schema {
    let mut parts = blog_parts();
    let mut fields = sdl(
        "id: ID!, text: String!, int: Int, float: Float, flag: Boolean, date: AWSDate, time: AWSTime, moment: AWSDateTime, stamp: AWSTimestamp, email: AWSEmail, url: AWSURL, phone: AWSPhone, ip: AWSIPAddress, json: AWSJSON, loose: [Int], strict: [Int!]!, emails: [AWSEmail!]",
    );
    fields.push(typed("status: PostStatus", FieldType::Enum("PostStatus".into())));
    fields.push(typed(
        "statuses: [PostStatus]",
        FieldType::Enum("PostStatus".into()),
    ));
    fields.push(typed("place: Place", FieldType::NonModel("Place".into())));
    fields.push(typed("places: [Place!]", FieldType::NonModel("Place".into())));
    fields.push(FieldDef {
        read_only: true,
        ..crate::test_support::field("updatedAt: AWSDateTime!")
    });
    parts.models.push(model("Sample", fields));
    Schema::build(parts).expect("a sound schema")
}

/// Faults of a `Sample` with the given fields on top of the required ones, one a line.
fn faults_of(fields: &FieldMap) -> Vec<String> {
    let schema = sample();
    let def = schema.model("Sample").expect("just added");
    let mut values = row(def, "id=s1 text=x strict=[1]");
    lay_over(def, &mut values, fields);
    match validate(&schema, def, &mut values) {
        Ok(()) => Vec::new(),
        Err(invalid) => invalid
            .faults
            .iter()
            .map(|fault| format!("{} {}", fault.path, fault.message))
            .collect(),
    }
}

fn one(name: &str, value: Value) -> FieldMap {
    FieldMap::from([(FieldName::from(name), value)])
}

fn json(value: serde_json::Value) -> Value {
    Value::from(value)
}

#[test]
fn a_record_that_fits_is_accepted() {
    let good = [
        ("text", json!("")),
        ("int", json!(-5)),
        ("float", json!(2.5)),
        ("float", json!(2)),
        ("flag", json!(false)),
        ("date", json!("2026-11-21")),
        ("time", json!("10:15")),
        ("moment", json!("2026-11-21T10:15:00Z")),
        ("stamp", json!(1_700_000_000)),
        ("email", json!("a@example.com")),
        ("url", json!("https://example.com/")),
        ("phone", json!("+1 555-0100")),
        ("ip", json!("::1")),
        ("json", json!({"a": [1, null, {"b": true}]})),
        ("json", json!("text")),
        ("loose", json!([1, null])),
        ("loose", json!([])),
        ("strict", json!([])),
        ("emails", json!(["a@b"])),
        ("status", json!("LIVE")),
        ("statuses", json!(["LIVE", null, "DRAFT"])),
        ("place", json!({"city": "Rome"})),
        (
            "place",
            json!({"city": "Rome", "lat": null, "next": {"city": "Bonn", "next": null}}),
        ),
        ("places", json!([{"city": "Rome"}, {"city": "Bonn", "lat": 1}])),
        ("updatedAt", json!("2026-11-21T10:15:00Z")),
    ];
    for (name, value) in good {
        assert_eq!(
            faults_of(&one(name, json(value.clone()))),
            [] as [String; 0],
            "{name} = {value}"
        );
    }
    for name in sample()
        .model("Sample")
        .expect("just added")
        .stored_fields()
        .filter(|field| !field.required)
    {
        assert_eq!(
            faults_of(&one(&name.name, Value::Null)),
            [] as [String; 0],
            "{} = null",
            name.name
        );
    }
    assert_eq!(
        faults_of(&one("updatedAt", Value::Null)),
        [] as [String; 0],
        "only the server writes it"
    );
}

/// Checks a table of `field value | fault`; values are JSON.
fn check_faults(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (assignment, expected) = line.split_once(" | ").expect("an assignment and a fault");
        let (name, value) = assignment.split_once(' ').expect("a field and a value");
        let value = serde_json::from_str(value).expect("JSON");
        assert_eq!(faults_of(&one(name, value)), [expected], "{assignment}");
    }
}

#[test]
fn every_scalar_says_what_it_takes() {
    check_faults(
        r#"
        text null          | text is required
        text 1             | text takes a string, not an integer (1)
        int 1.5            | int takes an integer between -2147483648 and 2147483647, not a float (1.5)
        int 2147483648     | int takes an integer between -2147483648 and 2147483647, not an integer (2147483648)
        int "1"            | int takes an integer between -2147483648 and 2147483647, not a string ("1")
        float "1"          | float takes a finite number, not a string ("1")
        flag 1             | flag takes true or false, not an integer (1)
        date "2026-02-30"  | date takes a date such as 2026-11-21, 2026-11-21Z or 2026-11-21+01:00, not a string ("2026-02-30")
        time "25:00"       | time takes a time such as 10:15, 10:15:30.123 or 10:15:30Z, not a string ("25:00")
        moment "10:15"     | moment takes a date and time with an offset, such as 2026-11-21T10:15:30.123Z, not a string ("10:15")
        stamp "now"        | stamp takes a whole number of seconds since 1970, not a string ("now")
        email "a"          | email takes an address such as name@example.com, not a string ("a")
        url "/x"           | url takes an absolute URL such as https://example.com/, not a string ("/x")
        phone "x"          | phone takes digits, spaces and hyphens, with an optional leading +, not a string ("x")
        ip "1.2.3"         | ip takes an IPv4 or IPv6 address, with an optional prefix length such as /24, not a string ("1.2.3")
        id null            | id is required
        id ""              | id is part of the identifier and must not be empty
        updatedAt "now"    | updatedAt takes a date and time with an offset, such as 2026-11-21T10:15:30.123Z, not a string ("now")
        "#,
    );
}

/// The JavaScript client takes any text for an enum.
#[test]
fn an_enum_takes_its_values_only() {
    check_faults(
        r#"
        status "OPEN"              | status takes one of DRAFT, LIVE, not "OPEN"
        status "live"              | status takes one of DRAFT, LIVE, not "live"
        status 1                   | status takes one of DRAFT, LIVE, not 1
        statuses ["LIVE", "OPEN"]  | statuses[1] takes one of DRAFT, LIVE, not "OPEN"
        "#,
    );
}

#[test]
fn lists_and_objects_name_the_element_and_the_member() {
    check_faults(
        r#"
        loose 1                                 | loose takes a list, not an integer (1)
        loose {"a": 1}                          | loose takes a list, not an object ({"a":1})
        strict null                             | strict is required
        strict [1, null]                        | strict[1] must not be null
        emails ["a@b", "c"]                     | emails[1] takes an address such as name@example.com, not a string ("c")
        place "Rome"                            | place takes an object of type `Place`, not a string
        place {}                                | place.city is required
        place {"city": null}                    | place.city is required
        place {"city": "Rome", "next": {}}      | place.next.city is required
        place {"city": "Rome", "lat": "1"}      | place.lat takes a finite number, not a string ("1")
        place {"city": "Rome", "size": 1}       | place has no member `size`; `Place` has city, lat, next
        places [{"city": "Rome"}, null]         | places[1] must not be null
        places [{"city": 1}]                    | places[0].city takes a string, not an integer (1)
        "#,
    );
}

#[test]
fn numbers_are_finite_wherever_they_are() {
    let none = [
        (f64::NAN, "NaN"),
        (f64::INFINITY, "an infinite one"),
        (f64::NEG_INFINITY, "an infinite one"),
    ];
    for (number, found) in none {
        assert_eq!(
            faults_of(&one("float", number.into())),
            [format!("float takes a finite number, not {found}")]
        );
        let root = faults_of(&one("json", number.into()));
        assert_eq!(root, ["json takes JSON, which has no NaN or infinity"]);
        let nested = Value::Object([("a".to_owned(), Value::List(vec![number.into()]))].into());
        assert_eq!(
            faults_of(&one("json", nested)),
            ["json takes JSON, which has no NaN or infinity"]
        );
    }
}

#[test]
fn all_faults_of_a_record_come_at_once_in_field_order() {
    let fields =
        crate::test_support::fields("text=null int=x flag=1 loose=[a,2,b] strict=[null] status=OPEN email=a");
    let faults = faults_of(&fields);
    let paths: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(' ').next())
        .collect();
    assert_eq!(
        paths,
        [
            "text",
            "int",
            "flag",
            "email",
            "loose[0]",
            "loose[2]",
            "strict[0]",
            "status"
        ]
    );
    let place = json(json!({"lat": "x", "next": {"lat": "y"}, "size": 1}));
    assert_eq!(faults_of(&one("place", place)).len(), 5);
}

#[test]
fn an_invalid_record_names_the_model_and_every_fault() {
    let schema = blog();
    let def = schema.model("Post").expect("a model of the blog schema");
    let mut values = row(def, "id=p1 rating=x");
    let invalid = validate(&schema, def, &mut values).expect_err("no title");
    assert_eq!(invalid.model.as_str(), "Post");
    assert_eq!(
        invalid.to_string(),
        "`Post` cannot be saved: `title` is required; `rating` takes an integer between -2147483648 and 2147483647, \
         not a string (\"x\")"
    );
}

#[test]
fn numbers_take_the_form_that_rows_hold() {
    let mut parts = blog_parts();
    parts.models.push(model(
        "Sample",
        sdl("id: ID!, float: Float, floats: [Float], json: AWSJSON"),
    ));
    let place = typed("place: Place", FieldType::NonModel("Place".into()));
    parts.models.last_mut().expect("just added").fields.push(place);
    let schema = Schema::build(parts).expect("a sound schema");
    let def = schema.model("Sample").expect("just added");
    let mut values = row(def, "id=s1 float=2 floats=[1,2.5] json=3");
    let slot = def.slot("place").expect("a stored field").index();
    values[slot] = json(json!({"city": "Rome", "lat": 7}));
    validate(&schema, def, &mut values).expect("it fits");
    assert_eq!(values[1], Value::Float(2.0));
    assert_eq!(values[2], Value::List(vec![Value::Float(1.0), Value::Float(2.5)]));
    assert_eq!(values[3], Value::Int(3), "JSON stays as it is");
    assert_eq!(values[slot], json(json!({"city": "Rome", "lat": 7.0})));
}

#[test]
fn every_part_of_a_composite_identifier_must_be_given() {
    let schema = blog();
    let order = schema.model("Order").expect("a model of the blog schema");
    let told = |text: &str| match validate(&schema, order, &mut row(order, text)) {
        Ok(()) => "fits".to_owned(),
        Err(invalid) => invalid
            .faults
            .iter()
            .map(|fault| fault.path.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    };
    assert_eq!(told("customer=c1 number=7"), "fits");
    assert_eq!(told("customer=c1 number=0"), "fits");
    assert_eq!(told("customer= number=7"), "customer");
    assert_eq!(told("number=7"), "customer");
    assert_eq!(told(""), "customer number");
}

#[test]
fn objects_and_json_are_nested_no_deeper_than_the_bound() {
    let deep = |levels: usize| (0..levels).fold(json(json!(1)), |inner, _| Value::List(vec![inner]));
    assert_eq!(faults_of(&one("json", deep(VALUE_DEPTH_MAX))), [] as [String; 0]);
    assert_eq!(
        faults_of(&one("json", deep(VALUE_DEPTH_MAX + 1))),
        ["json is nested deeper than 64 levels"]
    );
    let place = |levels: usize| {
        let object = |next: Value| {
            Value::Object([("city".to_owned(), "Rome".into()), ("next".to_owned(), next)].into())
        };
        (0..levels).fold(Value::Null, |inner, _| object(inner))
    };
    // The outermost object is at depth 0.
    assert_eq!(
        faults_of(&one("place", place(VALUE_DEPTH_MAX + 1))),
        [] as [String; 0]
    );
    let faults = faults_of(&one("place", place(VALUE_DEPTH_MAX + 2)));
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].ends_with(".next is nested deeper than 64 objects"),
        "{faults:?}"
    );
}

#[test]
fn a_relation_holds_no_value_even_inside_an_object() {
    let mut parts = blog_parts();
    parts.non_models.push(object(
        "Odd",
        vec![crate::test_support::belongs_to("blog", "Blog", &[])],
    ));
    parts.models.push(model("Sample", sdl("id: ID!")));
    parts
        .models
        .last_mut()
        .expect("just added")
        .fields
        .push(typed("odd: Odd", FieldType::NonModel("Odd".into())));
    let schema = Schema::build(parts).expect("a sound schema");
    let def = schema.model("Sample").expect("just added");
    let mut values = row(def, "id=s1");
    values[1] = json(json!({"blog": {"id": "b1"}}));
    let invalid = validate(&schema, def, &mut values).expect_err("a relation");
    assert_eq!(invalid.faults[0].path, "odd.blog");
    assert_eq!(
        invalid.faults[0].message,
        "is a relation and holds no value of its own"
    );
}

#[test]
fn a_record_is_as_large_as_it_may_be_and_no_larger() {
    let schema = sample();
    let def = schema.model("Sample").expect("just added");
    let slot = def.slot("text").expect("there").index();
    let mut values = row(def, "id=s1 text=x strict=[1]");
    let others: usize = values.iter().map(Value::bytes).sum::<usize>() - 1;
    values[slot] = "x".repeat(RECORD_BYTES_MAX - others).into();
    assert_eq!(validate(&schema, def, &mut values), Ok(()));
    values[slot] = "x".repeat(RECORD_BYTES_MAX - others + 1).into();
    let refused = validate(&schema, def, &mut values).expect_err("one byte too many");
    assert_eq!(refused.faults.len(), 1);
    assert_eq!(refused.faults[0].path, "text");
    let what = format!(
        "{} bytes large, more than {RECORD_BYTES_MAX}",
        RECORD_BYTES_MAX + 1
    );
    assert!(refused.to_string().contains(&what), "{refused}");
}
