use apollo_compiler::parser::Parser;
use apollo_compiler::resolvers::ResolvedValue;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const SCHEMA: &str = "
    scalar AWSJSON
    enum E { X Y }
    input In { x: Int! }
    type Query {
        a: A  all: [A!]  some: [A]!  grid: [[Int!]]  need: String!  e: E
        n(i: Int! = 3, in: In, all: [Int!]): Int
    }
    type A { id: ID!  text: String  num: Int  f: Float  b: Boolean!  e: E  any: AWSJSON  a: A  all: [A!]! }";

const DOCUMENTS: [&str; 10] = [
    "{ a { id text num f b e any } }",
    "{ need a { id } e }",
    "{ one: a { x: id id a { id text } } two: a { ...F all { id } } } fragment F on A { a { num b ...G } } fragment G on A { f }",
    "{ all { id a { id all { b } } } }",
    "{ some { __typename id ... on A { text } ... { num } } __typename }",
    "{ grid e a { e any } }",
    "query($s: Boolean!) { a @skip(if: $s) { id } all @include(if: $s) { id text @skip(if: $s) } }",
    "query($i: Int = 1) { n(i: $i) again: n(i: 4, in: {x: $i}) third: n(all: [1, $i]) }",
    "{ __schema { queryType { name } } __type(name: \"A\") { name } a { id } }",
    "{ a { a { a { all { id } } } } some { all { b } } }",
];

/// An object made of JSON: a member that is `!` fails.
struct Made<'j> {
    type_name: &'static str,
    members: &'j JsonValue,
}

fn type_of(field: &str) -> &'static str {
    // What a field of the schema has for an object; the others have none.
    if matches!(field, "a" | "all" | "some") {
        "A"
    } else {
        "Query"
    }
}

const FAILS: &str = "!";

fn theirs<'j>(field: &str, json: &'j JsonValue) -> ResolvedValue<'j> {
    let type_name = type_of(field);
    match json {
        JsonValue::Object(_) => ResolvedValue::object(Made {
            type_name,
            members: json,
        }),
        JsonValue::Array(items) => {
            let field = field.to_owned();
            ResolvedValue::list(items.iter().map(move |item| theirs(&field, item)))
        }
        leaf => ResolvedValue::leaf(leaf.clone()),
    }
}

fn ours<'j>(field: &str, json: &'j JsonValue) -> Resolved<'j> {
    let type_name = type_of(field);
    match json {
        JsonValue::Object(_) => Resolved::object(Made {
            type_name,
            members: json,
        }),
        JsonValue::Array(items) => {
            let field = field.to_owned();
            Resolved::list(items.iter().map(move |item| ours(&field, item)))
        }
        leaf => Resolved::Leaf(Leaf::Json(leaf)),
    }
}

impl resolvers::ObjectValue for Made<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(
        &'a self,
        info: &'a resolvers::ResolveInfo<'a>,
    ) -> Result<ResolvedValue<'a>, resolvers::FieldError> {
        match self.members.get(info.field_name()).unwrap_or(&JsonValue::Null) {
            json if json == FAILS => Err(resolvers::FieldError {
                message: FAILS.to_owned(),
            }),
            json => Ok(theirs(info.field_name(), json)),
        }
    }
}

impl ObjectValue for Made<'_> {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<Resolved<'a>, FieldError> {
        match self.members.get(info.field_name()).unwrap_or(&JsonValue::Null) {
            json if json == FAILS => Err(FieldError::Said(FAILS.to_owned())),
            json => Ok(ours(info.field_name(), json)),
        }
    }
}

type Told = Vec<(String, Vec<ResponseDataPathSegment>)>;

fn by_them(
    schema: &Valid<Schema>,
    document: &Valid<ExecutableDocument>,
    variables: &Valid<JsonMap>,
    root: &Made<'_>,
) -> (String, Told) {
    let answer = Execution::new(schema, document)
        .coerced_variable_values(variables)
        .enable_schema_introspection(true)
        .execute_sync(root)
        .unwrap();
    let errors = answer
        .errors
        .into_iter()
        // Its words for one of them have an article too many.
        .map(|error| (error.message.replace("a an object", "an object"), error.path))
        .collect();
    (json!({"data": answer.data}).to_string(), errors)
}

fn by_us(
    schema: &Valid<Schema>,
    document: &Valid<ExecutableDocument>,
    variables: &Valid<JsonMap>,
    root: &Made<'_>,
) -> (String, Told) {
    let operation = document.operations.get(None).unwrap();
    let given = Selected::given(schema, document, operation, variables);
    let request = Request {
        schema,
        document,
        operation,
        selected: &Selected::always(schema, document, operation).unwrap_or(given),
        variables,
    };
    let Walked { answer, errors } = request.walk(root);
    let told = errors.into_iter().map(|raised| {
        let message = match raised.what {
            Trouble::Error(FieldError::Said(said)) => format!("resolver error: {said}"),
            Trouble::Error(FieldError::Fault(fault)) => fault.message,
            Trouble::Null(ty) => format!("non-null type {ty} resolved to null"),
            Trouble::Misfit(said) | Trouble::Said(said) => said,
        };
        (message, raised.path)
    });
    let told = told.collect();
    (String::from_utf8(answer.into_body(&[(); 0])).unwrap(), told)
}

fn values() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        2 => Just(json!(null)),
        4 => Just(json!("X")),
        1 => Just(json!(FAILS)),
        3 => Just(json!(7)),
        1 => Just(json!(1_i64 << 40)),
        2 => Just(json!(1.5)),
        3 => Just(json!(true)),
        1 => Just(json!("a \"text\"\n")),
    ];
    let names = prop::sample::select(vec![
        "id", "text", "num", "f", "b", "e", "any", "a", "all", "some", "grid", "need", "n",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            3 => prop::collection::vec((names.clone(), inner), 0..10)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// An object that has what the types want, but for what is changed in it.
fn whole(depth: usize) -> serde_json::Value {
    let mut object = json!({"id": "X", "text": "t", "num": 7, "f": 1.5, "b": true, "e": "Y", "any": "{}", "need": "n", "n": 1,
        "grid": [[1, 2], null], "all": [], "some": []});
    if depth > 0 {
        object["a"] = whole(depth - 1);
        object["all"] = json!([whole(depth - 1), whole(depth - 1)]);
        object["some"] = json!([whole(depth - 1), null]);
    }
    object
}

/// Puts a value at a place, as far as there is one.
fn put(at: &mut serde_json::Value, place: &[usize], value: serde_json::Value) {
    let Some((step, rest)) = place.split_first() else {
        *at = value;
        return;
    };
    match at {
        serde_json::Value::Object(members) if !members.is_empty() => {
            let nth = step % members.len();
            if let Some(member) = members.values_mut().nth(nth) {
                put(member, rest, value);
            }
        }
        serde_json::Value::Array(items) if !items.is_empty() => {
            let nth = step % items.len();
            put(&mut items[nth], rest, value);
        }
        at => *at = value,
    }
}

fn agree(root: serde_json::Value, null: bool) {
    let schema = Schema::parse_and_validate(SCHEMA, "schema.graphql").unwrap();
    let members = JsonValue::from(root);
    let root = Made {
        type_name: "Query",
        members: &members,
    };
    let i = if null { json!(null) } else { json!(5) };
    let variables = JsonValue::from(json!({"s": null, "i": i}));
    for (number, text) in DOCUMENTS.iter().enumerate() {
        let mut variables = variables.as_object().unwrap().clone();
        variables.insert("s", JsonValue::Bool(number % 2 == 0));
        let variables = Valid::assume_valid(variables);
        let ast = Parser::new().parse_ast(*text, "request").unwrap();
        let document = ast.to_executable_validate(&schema).unwrap();
        let (them, us) = (
            by_them(&schema, &document, &variables, &root),
            by_us(&schema, &document, &variables, &root),
        );
        assert_eq!(us, them, "{text}");
    }
}

proptest! {
    #[test]
    fn answers_and_errors_are_those_of_the_compilers_executor(root in values(), null in any::<bool>()) {
        agree(root, null);
    }

    #[test]
    fn so_they_are_where_one_value_of_a_whole_answer_is_another(
        place in prop::collection::vec(0_usize..16, 1..7),
        value in values(),
        null in any::<bool>(),
    ) {
        let mut root = whole(3);
        put(&mut root, &place, value);
        agree(root, null);
    }
}
