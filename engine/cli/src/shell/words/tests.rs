use super::*;

fn schema() -> Schema {
    let sdl = "enum Status { DRAFT LIVE }
               type Blog @model { name: String! posts: [Post] @hasMany }
               type Post @model {
                 title: String! rating: Int score: Float live: Boolean tags: [String] status: Status meta: AWSJSON
                 day: AWSDate blog: Blog @belongsTo
               }
               type Seat @model { number: Int! @primaryKey taken: Boolean }";
    landfall_codegen::parse_sdl("schema.graphql", sdl).expect("sound")
}

fn check(line: &str, expected: &Json) {
    assert_eq!(
        command(line, &schema())
            .unwrap_or_else(|fault| panic!("{line}: {fault}"))
            .expect("a command"),
        *expected,
        "{line}"
    );
}

fn check_where(condition: &str, expected: &Json) {
    let expected = json!({"op": "count", "model": "Post", "where": expected});
    check(&format!("count Post where {condition}"), &expected);
}

#[test]
fn typed_lines_become_commands() {
    check(
        r#"save Post title="Hello there" rating=5 tags=["a","b c"]"#,
        &json!({"op":"save","model":"Post","fields":{"title":"Hello there","rating":5,"tags":["a","b c"]}}),
    );
    check(
        "save Post title=x blog=b1",
        &json!({"op":"save","model":"Post","fields":{"title":"x","blog":{"$ref":["Blog","b1"]}}}),
    );
    check(
        "query Post where rating gt 3 and title beginsWith He sort rating desc limit 10",
        &json!({"op":"query","model":"Post",
            "where":{"and":[["rating","gt",3],["title","beginsWith","He"]]},
            "sort":[["rating","DESCENDING"]],"limit":10}),
    );
    check(
        "delete Post all",
        &json!({"op":"delete","model":"Post","all":true}),
    );
    check("online off", &json!({"op":"online","value":false}));
    check("retry Seat 7", &json!({"op":"retry","model":"Seat","id":7}));
    check("retry all", &json!({"op":"retry","all":true}));
    check("metrics", &json!({"op":"metrics"}));
    check("metrics all", &json!({"op":"metrics","all":true}));
    check(
        "discard Post p1 yes",
        &json!({"op":"discard","model":"Post","id":"p1"}),
    );
    check(
        "edit Post p1 rating=5",
        &json!({"op":"edit","model":"Post","id":"p1","fields":{"rating":5}}),
    );
    check(r#"{"op":"time"}"#, &json!({"op":"time"}));
}

#[test]
fn words_take_the_type_of_their_field() {
    for text in ["2024", "true", "1e3", "007"] {
        check(
            &format!("save Blog name={text}"),
            &json!({"op":"save","model":"Blog","fields":{"name": text}}),
        );
        check(
            &format!("save Blog name=\"{text}\""),
            &json!({"op":"save","model":"Blog","fields":{"name": text}}),
        );
    }
    check(
        r#"save Post title=null rating="5" live=true score=2 status=LIVE meta=5 day=2024 blog=42"#,
        &json!({"op":"save","model":"Post","fields":{"title":null,"rating":"5","live":true,"score":2,
            "status":"LIVE","meta":5,"day":"2024","blog":{"$ref":["Blog","42"]}}}),
    );
    check(
        r#"save Post title="null" blog=null"#,
        &json!({"op":"save","model":"Post","fields":{"title":"null","blog":null}}),
    );
    for (line, id) in [
        ("get Blog 42", json!("42")),
        ("get Blog \"42\"", json!("42")),
        ("get Seat 42", json!(42)),
        ("get Blog {\"id\":\"42\"}", json!({"id": "42"})),
    ] {
        let model = line.split(' ').nth(1).expect("a model");
        check(line, &json!({"op":"get","model":model,"id":id}));
    }
}

#[test]
fn conditions_have_or_not_and_parentheses_and_quoted_words_are_no_keywords() {
    check_where("title eq 2024", &json!(["title", "eq", "2024"]));
    check_where(r#"title eq "and""#, &json!(["title", "eq", "and"]));
    check_where(
        r#"title eq "rock and roll""#,
        &json!(["title", "eq", "rock and roll"]),
    );
    check_where("blog.name eq 7", &json!(["blog.name", "eq", "7"]));
    check_where("tags contains 7", &json!(["tags", "contains", "7"]));
    check_where("rating between 1 5", &json!(["rating", "between", 1, 5]));
    check_where("title in a 2", &json!(["title", "in", ["a", "2"]]));
    check_where("rating in [1,2]", &json!(["rating", "in", [1, 2]]));
    check_where(r#"["rating","gt",3]"#, &json!(["rating", "gt", 3]));
    check_where(
        "rating eq 1 or rating eq 2 and not (title eq x or live eq true)",
        &json!({"or":[["rating","eq",1],
            {"and":[["rating","eq",2],{"not":{"or":[["title","eq","x"],["live","eq",true]]}}]}]}),
    );
    check(
        r#"query Post where title eq "sort" sort title"#,
        &json!({"op":"query","model":"Post","where":["title","eq","sort"],"sort":[["title","ASCENDING"]]}),
    );
    assert_eq!(
        condition("(a eq 1) or b eq \"1\""),
        Ok(json!({"or":[["a","eq",1],["b","eq","1"]]}))
    );
    let deep = "not ".repeat(10_000);
    assert!(condition(&format!("{deep} a eq 1")).is_err_and(|fault| fault.contains("deeper")));
}

#[test]
fn everything_that_the_protocol_offers_can_be_typed() {
    check(
        "save Post title=x if rating gt 3",
        &json!({"op":"save","model":"Post","fields":{"title":"x"},"where":["rating","gt",3]}),
    );
    check(
        "update Post p1 rating=4 if rating lt 3 or live eq false",
        &json!({"op":"update","model":"Post","id":"p1","fields":{"rating":4},
            "where":{"or":[["rating","lt",3],["live","eq",false]]}}),
    );
    check(
        "delete Post p1 if rating lt 3",
        &json!({"op":"delete","model":"Post","id":"p1","where":["rating","lt",3]}),
    );
    check(
        "delete Post where rating lt 3",
        &json!({"op":"delete","model":"Post","where":["rating","lt",3]}),
    );
    check(
        "observe Post where rating gt 3",
        &json!({"op":"observe","model":"Post","where":["rating","gt",3]}),
    );
    check(
        "observeQuery Post where rating gt 3 sort title desc",
        &json!({"op":"observeQuery","model":"Post","where":["rating","gt",3],"sort":[["title","DESCENDING"]]}),
    );
    check(
        "waitFor Post p1 title=5 blog=b1 within 200",
        &json!({"op":"waitFor","model":"Post","id":"p1","fields":{"title":"5","blog":"b1"},"ms":200}),
    );
    check(
        "waitFor Post p1 gone",
        &json!({"op":"waitFor","model":"Post","id":"p1","gone":true}),
    );
    check(
        r#"waitHub networkStatus {"active":false} within 5"#,
        &json!({"op":"waitHub","event":"networkStatus","data":{"active":false},"ms":5}),
    );
    check(
        "configure conflict=local syncPageSize=10",
        &json!({"op":"configure","conflict":"local","syncPageSize":10}),
    );
    check(
        "configure sync Post where rating gt 3",
        &json!({"op":"configure","syncExpressions":[["Post",["rating","gt",3]]]}),
    );
}

#[test]
fn what_is_not_understood_is_said() {
    for line in [
        "save",
        "save Post title",
        "save Post title=x if",
        "save if rating gt 3",
        "update Post 1",
        "update Post 1 if rating gt 3",
        "delete Post all if rating gt 3",
        "delete Post where rating gt 3 if rating gt 4",
        "query Post where rating",
        "query Post where rating gt 3 and",
        "query Post where (rating gt 3",
        "query Post where rating gt 3)",
        "query Post where title or rating gt 3",
        "query Post upside",
        "observe Post limit 3",
        "waitFor Post",
        "waitFor Post 1 within",
        "waitHub",
        "configure",
        "configure colour=red",
        "start now",
        r#"get Post "x"#,
    ] {
        assert!(command(line, &schema()).is_err(), "{line}");
    }
    assert_eq!(command("   ", &schema()), Ok(None));
}

#[test]
fn help_for_one_command_is_of_that_one_and_what_its_words_mean() {
    let query = help("query").expect("there is such a command");
    assert!(query.starts_with("  query MODEL [where COND]"), "{query}");
    assert!(
        query.contains("\nCOND is FIELD OP VALUE") && !query.contains("delete"),
        "{query}"
    );
    let waiting = help("waitHub").expect("there is such a command");
    assert_eq!(
        waiting.lines().count(),
        1,
        "what comes before it is none of its own: {waiting}"
    );
    let settings = help("configure").expect("there is such a command");
    assert!(settings.contains("conflict=remote|local"), "{settings}");
    for single in SINGLE {
        assert!(help(single).is_ok(), "{single}");
    }
    assert!(help("fly").is_err_and(|fault| fault.contains("no command `fly`")));
}
