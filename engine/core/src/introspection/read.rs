//! Reading introspection JSON.
//!
//! Owns [`from_json`]. Lenient where the published forms differ, strict otherwise: whatever has the wrong kind of value
//! is a fault that says where it is, never silently something else. Names must be GraphQL names, because they end up
//! in documents that are sent to a server.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use super::{IntrospectionError, relations};
use crate::names::{FieldName, ModelName};
use crate::scalar::Scalar;
use crate::schema::{
    AUTH_FIELD, EnumDef, FieldDef, FieldType, IndexDef, KeyDef, ListDef, ModelApi, ModelParts, NonModelDef,
    Schema, SchemaParts, Timestamps,
};

/// Most models, enums and non-model types, each, that a document may have; far more than one AppSync API can hold.
const TYPES_MAX: usize = 10_000;

/// Most fields of a type, values of an enum or attributes of a model; four times what a DynamoDB item could name.
const MEMBERS_MAX: usize = 4_000;

/// Longest name, in bytes; DynamoDB takes 255 for an attribute name.
const NAME_LEN_MAX: usize = 255;

/// Faults after which reading stops collecting: a document with so many is of another kind altogether.
pub(super) const FAULTS_MAX: usize = 100;

/// Newest version of the document format that is understood.
const VERSION_MAX: u64 = 1;

/// Reads a schema from introspection JSON: `model-introspection.json`, `amplify_outputs.json`, or the object that
/// `schema.js` exports.
///
/// The older form leaves foreign keys out of the fields; they are added as stored fields after the others.
/// A list without `isArrayNullable`, as the oldest documents have it, may be null.
///
/// ```
/// use landfall_core::schema_from_json;
///
/// let faults = schema_from_json(&serde_json::json!({ "version": 1, "models": {} })).err().unwrap_or_default();
/// assert!(!faults.is_empty(), "a schema without models");
/// ```
///
/// # Errors
/// Every fault found, up to a hundred.
pub fn from_json(json: &Json) -> Result<Schema, Vec<IntrospectionError>> {
    let json = json.pointer("/data/model_introspection").unwrap_or(json);
    let mut reader = Reader { faults: Vec::new() };
    let parts = reader.document(json);
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    Schema::build(parts).map_err(|faults| faults.into_iter().take(FAULTS_MAX).map(Into::into).collect())
}

/// What a document says of an association, before names are resolved to foreign-key fields.
pub(super) struct RawAssociation {
    pub(super) kind: Connection,
    pub(super) targets: Vec<FieldName>,
    /// `None` if the document does not say.
    pub(super) associated_with: Option<Vec<FieldName>>,
}

/// `connectionType`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    BelongsTo,
    HasOne,
    HasMany,
}

/// A model whose associations are not resolved yet.
pub(super) struct RawModel {
    pub(super) parts: ModelParts,
    pub(super) api: ModelApi,
    /// By field name.
    pub(super) associations: IndexMap<FieldName, RawAssociation>,
}

pub(super) struct Reader {
    faults: Vec<IntrospectionError>,
}

impl Reader {
    pub(super) fn fault(&mut self, path: &str, message: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(IntrospectionError {
                path: path.to_owned(),
                message: message.into(),
            });
        }
    }

    fn document(&mut self, json: &Json) -> SchemaParts {
        let Some(document) = json.as_object() else {
            self.fault("document", "must be an object with the member `models`");
            return SchemaParts::default();
        };
        if let Some(version) = document
            .get("version")
            .and_then(Json::as_u64)
            .filter(|n| *n > VERSION_MAX)
        {
            self.fault(
                "version",
                format!("is {version}; the newest that is understood is {VERSION_MAX}"),
            );
        }
        if !document.contains_key("models") {
            self.fault(
                "models",
                "is missing; the document must be model-introspection JSON",
            );
        }
        let mut parts = SchemaParts::default();
        for (name, json) in self.members(document, "", "enums", TYPES_MAX) {
            let values = self.names(json.get("values"), &format!("enums.{name}.values"));
            parts.enums.push(EnumDef {
                name: name.clone(),
                values: values.unwrap_or_default(),
            });
        }
        for (name, json) in self.members(document, "", "nonModels", TYPES_MAX) {
            let (fields, associations) = self.fields(json, &format!("nonModels.{name}"));
            if let Some(field) = associations.keys().next() {
                let message = "is a relation; only models can have relations";
                self.fault(&format!("nonModels.{name}.fields.{field}"), message);
            }
            let fields = fields
                .into_iter()
                .map(|field| (field.name.clone(), field))
                .collect();
            parts.non_models.push(NonModelDef {
                name: name.clone(),
                fields,
            });
        }
        let mut models = IndexMap::new();
        for (name, json) in self.members(document, "", "models", TYPES_MAX) {
            let path = format!("models.{name}");
            models.insert(ModelName::new(name), self.model(name, json, &path));
        }
        relations::resolve(&mut models, self);
        for (name, model) in models {
            if !model.api.is_default() {
                parts.apis.insert(name, model.api);
            }
            parts.models.push(model.parts);
        }
        parts
    }

    /// The members of an object inside an object; absent and null stand for none. Members with bad names are left out.
    fn members<'a>(
        &mut self,
        json: &'a Map<String, Json>,
        path: &str,
        key: &str,
        members_max: usize,
    ) -> Vec<(&'a String, &'a Json)> {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        let map = match json.get(key) {
            None | Some(Json::Null) => return Vec::new(),
            Some(Json::Object(map)) => map,
            Some(_) => {
                self.fault(&path, "must be an object");
                return Vec::new();
            }
        };
        if map.len() > members_max {
            self.fault(
                &path,
                format!("has {} members; the most is {members_max}", map.len()),
            );
            return Vec::new();
        }
        map.iter()
            .filter(|(name, _)| self.check_name(name, &format!("{path}.{name}")))
            .collect()
    }

    fn check_name(&mut self, name: &str, path: &str) -> bool {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let fits = name.len() <= NAME_LEN_MAX
            && name.starts_with(first)
            && name.chars().all(|c| first(c) || c.is_ascii_digit());
        if !fits {
            self.fault(
                path,
                "is not a GraphQL name: letters, digits and `_`, not beginning with a digit",
            );
        }
        fits
    }

    fn model(&mut self, name: &str, json: &Json, path: &str) -> RawModel {
        let (fields, associations) = self.fields(json, path);
        let plural_name = self.text(json, path, "pluralName");
        if plural_name.is_none() {
            self.fault(
                path,
                "has no `pluralName`, which the names of its queries are made of",
            );
        }
        let mut parts = ModelParts {
            name: name.into(),
            plural_name: plural_name.unwrap_or_default(),
            syncable: self.flag(json, path, "syncable").unwrap_or(true),
            fields,
            key: KeyDef::of_fields(vec!["id".into()], false),
            indexes: Vec::new(),
            timestamps: Timestamps::default(),
            auth: Vec::new(),
        };
        self.primary_key_info(json, path, &mut parts);
        let api = self.attributes(json, path, &mut parts);
        self.field_rules(json, path, &mut parts);
        RawModel {
            parts,
            api,
            associations,
        }
    }

    fn attributes(&mut self, json: &Json, path: &str, parts: &mut ModelParts) -> ModelApi {
        let mut api = ModelApi::default();
        let path = format!("{path}.attributes");
        for (index, attribute) in self.array(json.get("attributes"), &path).iter().enumerate() {
            let path = format!("{path}[{index}]");
            let properties = attribute.get("properties").unwrap_or(&Json::Null);
            match attribute.get("type").and_then(Json::as_str) {
                Some("model") => {
                    parts.timestamps = self.timestamps(properties, &path);
                    api = self.api(properties, &path);
                }
                Some("key") => self.key(properties, &path, parts),
                Some("auth") => {
                    let rules = self.array(properties.get("rules"), &format!("{path}.properties.rules"));
                    parts.auth.extend(rules.iter().cloned());
                }
                // Others, such as `aws_cognito_user_pools`, say nothing about data.
                Some(_) => {}
                None => self.fault(&path, "has no `type`"),
            }
        }
        api
    }

    /// Rules on single fields, which stand among the attributes of these.
    fn field_rules(&mut self, json: &Json, path: &str, parts: &mut ModelParts) {
        let Some(fields) = json.get("fields").and_then(Json::as_object) else {
            return;
        };
        for (name, field) in fields {
            let path = format!("{path}.fields.{name}.attributes");
            for (index, attribute) in self.array(field.get("attributes"), &path).iter().enumerate() {
                if attribute.get("type").and_then(Json::as_str) != Some("auth") {
                    continue;
                }
                let path = format!("{path}[{index}].properties.rules");
                let rules = attribute
                    .get("properties")
                    .and_then(|properties| properties.get("rules"));
                for rule in self.array(rules, &path) {
                    match rule.as_object().cloned() {
                        Some(mut rule) => {
                            rule.insert(AUTH_FIELD.to_owned(), Json::from(name.as_str()));
                            parts.auth.push(Json::Object(rule));
                        }
                        None => self.fault(&path, "has a rule that is no object"),
                    }
                }
            }
        }
    }

    fn timestamps(&mut self, properties: &Json, path: &str) -> Timestamps {
        let json = match properties.get("timestamps") {
            None => return Timestamps::default(),
            Some(Json::Null) => {
                return Timestamps {
                    created_at: None,
                    updated_at: None,
                };
            }
            Some(json) => json,
        };
        let path = format!("{path}.properties.timestamps");
        let mut name = |key: &str| match json.get(key) {
            None => Some(FieldName::new(key)),
            Some(Json::Null) => None,
            Some(_) => self.text(json, &path, key).map(FieldName::from),
        };
        Timestamps {
            created_at: name("createdAt"),
            updated_at: name("updatedAt"),
        }
    }

    /// A key attribute with a name is an index; without one it is the primary key.
    fn key(&mut self, properties: &Json, path: &str, parts: &mut ModelParts) {
        let fields: Vec<FieldName> = self
            .field_names(properties.get("fields"), path)
            .unwrap_or_default();
        if fields.is_empty() {
            self.fault(path, "is a key without `fields`");
            return;
        }
        match self.text(properties, path, "name") {
            None => parts.key = KeyDef::of_fields(fields, true),
            Some(name) => {
                let query_field = self.text(properties, path, "queryField");
                parts.indexes.push(IndexDef {
                    name,
                    fields,
                    query_field,
                });
            }
        }
    }

    /// Used for documents that declare a custom key here alone; a key attribute says the same and more.
    fn primary_key_info(&mut self, json: &Json, path: &str, parts: &mut ModelParts) {
        let Some(info) = json.get("primaryKeyInfo").filter(|info| !info.is_null()) else {
            return;
        };
        let path = format!("{path}.primaryKeyInfo");
        if self.flag(info, &path, "isCustomPrimaryKey") != Some(true) {
            return;
        }
        let Some(first) = self.text(info, &path, "primaryKeyFieldName") else {
            return self.fault(&path, "has no `primaryKeyFieldName`");
        };
        let mut fields = vec![FieldName::from(first)];
        fields.extend(
            self.field_names(info.get("sortKeyFieldNames"), &path)
                .unwrap_or_default(),
        );
        parts.key = KeyDef::of_fields(fields, true);
    }

    fn fields(&mut self, json: &Json, path: &str) -> (Vec<FieldDef>, IndexMap<FieldName, RawAssociation>) {
        let Some(json) = json
            .as_object()
            .filter(|json| json.get("fields").is_some_and(Json::is_object))
        else {
            self.fault(path, "must be an object with an object `fields`");
            return (Vec::new(), IndexMap::new());
        };
        let mut associations = IndexMap::new();
        let mut fields = Vec::new();
        for (name, json) in self.members(json, path, "fields", MEMBERS_MAX) {
            let path = format!("{path}.fields.{name}");
            fields.extend(self.field(name, json, &path));
            if let Some(association) = json.get("association").filter(|json| !json.is_null()) {
                associations.extend(
                    self.association(association, &path)
                        .map(|found| (name.as_str().into(), found)),
                );
            }
        }
        (fields, associations)
    }

    fn field(&mut self, name: &str, json: &Json, path: &str) -> Option<FieldDef> {
        let ty = self.field_type(json.get("type"), path)?;
        let required = self.flag(json, path, "isRequired").unwrap_or(false);
        let list_nullable = self.flag(json, path, "isArrayNullable").unwrap_or(true);
        let list = self
            .flag(json, path, "isArray")
            .unwrap_or(false)
            .then_some(ListDef {
                elements_required: required,
            });
        Some(FieldDef {
            name: name.into(),
            ty,
            list,
            required: if list.is_some() { !list_nullable } else { required },
            read_only: self.flag(json, path, "isReadOnly").unwrap_or(false),
            association: None,
            default: self.text(json, path, "default"),
        })
    }

    fn field_type(&mut self, json: Option<&Json>, path: &str) -> Option<FieldType> {
        let named = |json: &Json, key: &str| json.get(key).and_then(Json::as_str).map(str::to_owned);
        let found = match json {
            Some(Json::String(name)) => {
                let scalar = Scalar::from_name(name);
                if scalar.is_none() {
                    self.fault(path, format!("has the unknown scalar type `{name}`"));
                }
                return scalar.map(FieldType::Scalar);
            }
            Some(json) => named(json, "model")
                .map(|name| FieldType::Model(name.into()))
                .or_else(|| named(json, "enum").map(FieldType::Enum))
                .or_else(|| named(json, "nonModel").map(FieldType::NonModel)),
            None => None,
        };
        if found.is_none() {
            self.fault(
                path,
                "must have a `type`: the name of a scalar, or an object with `model`, `enum` or `nonModel`",
            );
        }
        found
    }

    fn association(&mut self, json: &Json, path: &str) -> Option<RawAssociation> {
        let path = format!("{path}.association");
        let kind = match json.get("connectionType").and_then(Json::as_str) {
            Some("BELONGS_TO") => Connection::BelongsTo,
            Some("HAS_ONE") => Connection::HasOne,
            Some("HAS_MANY") => Connection::HasMany,
            _ => {
                self.fault(
                    &path,
                    "must have the `connectionType` BELONGS_TO, HAS_ONE or HAS_MANY",
                );
                return None;
            }
        };
        // The newer member wins; documents of the transition have both.
        let targets = match self.field_names(json.get("targetNames"), &path) {
            Some(names) => names,
            None => self
                .field_names(json.get("targetName"), &path)
                .unwrap_or_default(),
        };
        let associated_with = self.field_names(json.get("associatedWith"), &path);
        if kind == Connection::BelongsTo && targets.is_empty() {
            self.fault(&path, "belongs to another model but has no `targetNames`");
        }
        if kind == Connection::HasMany && associated_with.as_ref().is_none_or(Vec::is_empty) {
            self.fault(&path, "has many of another model but no `associatedWith`");
        }
        Some(RawAssociation {
            kind,
            targets,
            associated_with,
        })
    }

    fn flag(&mut self, json: &Json, path: &str, key: &str) -> Option<bool> {
        match json.get(key) {
            None | Some(Json::Null) => None,
            Some(Json::Bool(flag)) => Some(*flag),
            Some(_) => {
                self.fault(&format!("{path}.{key}"), "must be true or false");
                None
            }
        }
    }

    fn text(&mut self, json: &Json, path: &str, key: &str) -> Option<String> {
        match json.get(key) {
            None | Some(Json::Null) => None,
            Some(Json::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fault(&format!("{path}.{key}"), "must be a string");
                None
            }
        }
    }

    fn array<'a>(&mut self, json: Option<&'a Json>, path: &str) -> &'a [Json] {
        match json {
            None | Some(Json::Null) => &[],
            Some(Json::Array(items)) if items.len() <= MEMBERS_MAX => items,
            Some(Json::Array(items)) => {
                self.fault(
                    path,
                    format!("has {} elements; the most is {MEMBERS_MAX}", items.len()),
                );
                &[]
            }
            Some(_) => {
                self.fault(path, "must be a list");
                &[]
            }
        }
    }

    /// A name or a list of names; `None` if the document does not say.
    pub(super) fn names(&mut self, json: Option<&Json>, path: &str) -> Option<Vec<String>> {
        let items = match json? {
            Json::Null => return None,
            text @ Json::String(_) => std::slice::from_ref(text),
            _ => self.array(json, path),
        };
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            match item.as_str() {
                Some(name) if self.check_name(name, &format!("{path}.{name}")) => names.push(name.to_owned()),
                Some(_) => {}
                None => self.fault(path, "must hold names only"),
            }
        }
        Some(names)
    }

    fn field_names(&mut self, json: Option<&Json>, path: &str) -> Option<Vec<FieldName>> {
        Some(self.names(json, path)?.into_iter().map(FieldName::from).collect())
    }
}
