//! The OpenAPI 3.1 document, made from the structs that requests and responses are.
//!
//! An [`Operation`] describes one method of a path. The routes are registered together with their operations
//! ([`crate::http::endpoint`]), so the document has every route and no other.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::problem::{ErrorCode, ErrorResponse};

/// Makes the schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of a path.
pub struct Operation {
    id: &'static str,
    summary: &'static str,
    tag: &'static str,
    security: &'static [&'static str],
    query: Option<SchemaOf>,
    body: Option<RequestBody>,
    responses: Vec<(u16, Option<SchemaOf>)>,
    media_type: &'static str,
    errors: Vec<ErrorCode>,
}

struct RequestBody {
    schema: SchemaOf,
    is_required: bool,
    /// Fields that this operation requires and the schema does not.
    required_fields: &'static [&'static str],
}

impl RequestBody {
    fn of<B: JsonSchema>(is_required: bool, required_fields: &'static [&'static str]) -> Option<Self> {
        Some(Self { schema: subschema::<B>, is_required, required_fields })
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Value {
        let schema = (self.schema)(generator).to_value();
        if self.required_fields.is_empty() {
            return schema;
        }
        json!({ "allOf": [schema], "required": self.required_fields })
    }
}

impl Operation {
    /// An operation with a unique id, one sentence about it, and the group that it is in.
    #[must_use]
    pub fn new(id: &'static str, summary: &'static str, tag: &'static str) -> Self {
        Self {
            id,
            summary,
            tag,
            security: &[],
            query: None,
            body: None,
            responses: Vec::new(),
            media_type: "application/json",
            errors: Vec::new(),
        }
    }

    /// Needs a credential of one of these security schemes.
    #[must_use]
    pub fn security(self, security: &'static [&'static str]) -> Self {
        Self { security, ..self }
    }

    /// Takes these parameters in the query.
    #[must_use]
    pub fn query<Q: JsonSchema>(self) -> Self {
        Self { query: Some(subschema::<Q>), ..self }
    }

    /// Must have a body.
    #[must_use]
    pub fn body<B: JsonSchema>(self) -> Self {
        self.body_with_fields::<B>(&[])
    }

    /// Must have a body with these fields, which other operations with the same type do not require.
    #[must_use]
    pub fn body_with_fields<B: JsonSchema>(self, required_fields: &'static [&'static str]) -> Self {
        Self { body: RequestBody::of::<B>(true, required_fields), ..self }
    }

    /// May have a body.
    #[must_use]
    pub fn optional_body<B: JsonSchema>(self) -> Self {
        Self { body: RequestBody::of::<B>(false, &[]), ..self }
    }

    /// Answers with a status and a body.
    #[must_use]
    pub fn response<R: JsonSchema>(mut self, status: u16) -> Self {
        self.responses.push((status, Some(subschema::<R>)));
        self
    }

    /// Answers with a status and nothing else.
    #[must_use]
    pub fn no_content(mut self) -> Self {
        self.responses.push((204, None));
        self
    }

    /// Answers with a text of this media type.
    #[must_use]
    pub fn text(self, media_type: &'static str) -> Self {
        Self { media_type, ..self }.response::<String>(200)
    }

    /// May answer with these errors.
    #[must_use]
    pub fn errors(mut self, errors: &[ErrorCode]) -> Self {
        self.errors.extend_from_slice(errors);
        self
    }
}

fn subschema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What a document is about.
pub struct DocumentInfo {
    /// Its title.
    pub title: &'static str,
    /// What it describes.
    pub description: &'static str,
    /// The security schemes, by name, with a description of each. All of them are bearer tokens.
    pub security_schemes: &'static [(&'static str, &'static str)],
}

/// Builds a document from the operations of paths. A `GET` is described as a `HEAD` too.
#[must_use]
pub fn document<'a>(
    info: &DocumentInfo,
    operations: impl Iterator<Item = (&'static str, &'static str, &'a Operation)>,
) -> Value {
    let mut builder = DocumentBuilder::new();
    let mut paths = BTreeMap::<&str, Map<String, Value>>::new();
    for (path, method, operation) in operations {
        let item = paths.entry(path).or_default();
        item.entry("parameters").or_insert_with(|| path_parameters(path).into());
        item.insert(method.to_owned(), builder.operation(operation, false));
        if method == "get" {
            item.insert("head".to_owned(), builder.operation(operation, true));
        }
    }
    let schemes = info.security_schemes.iter().map(|(name, description)| {
        let scheme = json!({ "type": "http", "scheme": "bearer", "description": description });
        ((*name).to_owned(), scheme)
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": info.title,
            "description": info.description,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": builder.schemas(),
            "securitySchemes": schemes.collect::<Map<_, _>>(),
        },
    })
}

/// Schemas of what is read and of what is written: a field that may be left out of a request may be present in every
/// response.
struct DocumentBuilder {
    requests: SchemaGenerator,
    responses: SchemaGenerator,
}

impl DocumentBuilder {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self {
            requests: settings.clone().for_deserialize().into_generator(),
            responses: settings.for_serialize().into_generator(),
        }
    }

    fn schemas(mut self) -> Map<String, Value> {
        let mut schemas = self.requests.take_definitions(true);
        schemas.extend(self.responses.take_definitions(true));
        schemas.values_mut().for_each(drop_null_defaults);
        schemas
    }

    fn operation(&mut self, operation: &Operation, is_head: bool) -> Value {
        let id = if is_head { format!("{}Head", operation.id) } else { operation.id.to_owned() };
        let mut described = json!({
            "operationId": id,
            "summary": operation.summary,
            "tags": [operation.tag],
            "responses": self.all_responses(operation, is_head),
        });
        let security: Vec<_> = operation.security.iter().map(|name| json!({ *name: [] })).collect();
        if let Some(fields) = described.as_object_mut() {
            fields.insert("security".to_owned(), security.into());
            if let Some(query) = operation.query {
                fields.insert("parameters".to_owned(), self.query_parameters(query).into());
            }
            if let Some(body) = operation.body.as_ref().filter(|_| !is_head) {
                let schema = body.schema(&mut self.requests);
                let content = json!({ "application/json": { "schema": schema } });
                let body = json!({ "required": body.is_required, "content": content });
                fields.insert("requestBody".to_owned(), body);
            }
        }
        described
    }

    /// The parameters of a query, from the properties of its struct.
    fn query_parameters(&mut self, query: SchemaOf) -> Vec<Value> {
        // Not a definition of the document: nothing refers to it.
        let mut generator = self.requests.clone();
        let _reference = query(&mut generator);
        let known = self.requests.definitions();
        let own = generator.definitions().iter().find(|(name, _)| !known.contains_key(*name));
        let properties = own.and_then(|(_, schema)| schema.get("properties")).and_then(Value::as_object);
        let parameter = |(name, schema): (&String, &Value)| {
            let mut schema = schema.clone();
            drop_null_defaults(&mut schema);
            as_parameter(&mut schema);
            let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
            json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
        };
        properties.into_iter().flatten().map(parameter).collect()
    }

    fn all_responses(&mut self, operation: &Operation, is_head: bool) -> Value {
        let mut responses = Map::new();
        for (status, schema) in &operation.responses {
            let mut response = json!({ "description": "The request was carried out." });
            if *status >= 400 {
                response = json!({ "description": "The service cannot do it now." });
            }
            if let (Some(schema), Some(fields), false) = (schema, response.as_object_mut(), is_head) {
                let schema = schema(&mut self.responses);
                fields.insert("content".to_owned(), json!({ operation.media_type: { "schema": schema } }));
            }
            responses.insert(status.to_string(), response);
        }
        let mut by_status = BTreeMap::<u16, Vec<ErrorCode>>::new();
        for code in &operation.errors {
            by_status.entry(code.status().as_u16()).or_default().push(*code);
        }
        for (status, mut codes) in by_status {
            codes.sort_unstable();
            codes.dedup();
            let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
            let mut response = json!({ "description": names.join(", ") });
            if let (Some(fields), false) = (response.as_object_mut(), is_head) {
                let schema = json!({
                    "allOf": [self.responses.subschema_for::<ErrorResponse>()],
                    "properties": { "code": { "enum": codes } },
                });
                fields.insert("content".to_owned(), json!({ "application/json": { "schema": schema } }));
            }
            responses.insert(status.to_string(), response);
        }
        Value::Object(responses)
    }
}

/// An absent field is no field with the value `null`.
fn drop_null_defaults(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            members.values_mut().for_each(drop_null_defaults);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_null_defaults),
        _ => {}
    }
}

/// A parameter is a text, whatever it says: of the types that a field of a body can have the first one is shown.
fn as_parameter(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    let first = members.get("type").and_then(Value::as_array).and_then(|types| types.first()).cloned();
    match first {
        Some(first) if first == "integer" => {
            members.remove("pattern");
            members.insert("type".to_owned(), first);
        }
        Some(first) => {
            members.retain(|name, _| !matches!(name.as_str(), "minimum" | "maximum" | "exclusiveMaximum"));
            members.insert("type".to_owned(), first);
        }
        None => {}
    }
}

/// The parameters in a path: `{name}`.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let parameter = |name: &str| {
        let schema = json!({ "type": "string", "minLength": 1 });
        json!({ "name": name, "in": "path", "required": true, "schema": schema })
    };
    names.map(parameter).collect()
}
