//! The types of fields, with the forms in which clients write them.

use std::borrow::Cow;

use amoiq_events::{ClientMessageId, ConversationId, SessionId, ShortText, TenantId, UserId};
use schemars::{Schema, json_schema};
use serde::Serialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::FieldValue;

/// The first whole number with more than 19 digits.
const ID_NUMBERS: u64 = 10_u64.pow(19);

const NO_NUL: Cow<'static, str> = Cow::Borrowed("must not contain NUL or a lone surrogate");

/// A schema that also takes `null`, which every field of a request does.
#[must_use]
pub fn or_null(mut schema: Schema) -> Schema {
    let named = schema.get("type").cloned();
    if let Some(Value::String(name)) = named {
        schema
            .insert("type".to_owned(), Value::Array(vec![Value::String(name), Value::String("null".into())]));
        if let Some(Value::Array(values)) = schema.get_mut("enum") {
            values.push(Value::Null);
        }
    } else if let Some(Value::Array(mut names)) = named {
        names.push(Value::String("null".into()));
        schema.insert("type".to_owned(), Value::Array(names));
    }
    schema
}

/// A text.
impl FieldValue for String {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        match value {
            Value::String(text) => Ok(Some(text)),
            _ => Err("must be a string".into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// `true` or `false`.
impl FieldValue for bool {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        value.as_bool().map(Some).ok_or("must be true or false".into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A whole number, as JSON or as digits.
impl FieldValue for u32 {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let number = match &value {
            Value::String(digits) => digits.parse().ok(),
            value => value.as_u64().and_then(|number| Self::try_from(number).ok()),
        };
        number.map(Some).ok_or("must be a whole number".into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "maximum": u32::MAX, "pattern": "^[0-9]+$" })
    }
}

/// The text of an id as clients write it: a text, or a whole number of at most 19 digits, which are
/// the id. `null` and `""` are absent.
///
/// # Errors
/// Anything else; the text says what an id may be.
pub fn id_text(value: Value) -> Result<Option<String>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Value::Number(number) if number.as_u64().is_some_and(|number| number < ID_NUMBERS) => {
            Ok(Some(number.to_string()))
        }
        _ => Err("must be a string, or a whole number of at most 19 digits"),
    }
}

/// What [`id_text`] reads.
fn id_schema() -> Schema {
    json_schema!({
        "type": ["string", "integer"],
        "maxLength": amoiq_events::id::MAX_ID_BYTES,
        "minimum": 0,
        "exclusiveMaximum": ID_NUMBERS,
    })
}

macro_rules! id_field {
    ($($name:ident),+) => {
        $(
            impl FieldValue for $name {
                fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
                    let Some(text) = id_text(value)? else { return Ok(None) };
                    Self::parse(&text).map(Some).map_err(|error| error.to_string().into())
                }

                fn schema() -> Schema {
                    id_schema()
                }
            }
        )+
    };
}

id_field!(SessionId, UserId, ClientMessageId, ConversationId, TenantId);

/// A text that is cut and never refused for its length.
impl FieldValue for ShortText {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let text = String::read(value)?.unwrap_or_default();
        if text.contains('\0') { Err(NO_NUL) } else { Ok(Self::cut(&text)) }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// An id that names nothing in this service and is only passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(pub ShortText);

impl FieldValue for Label {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let id = UserId::read(value)?;
        Ok(id.and_then(|id| ShortText::cut(id.as_str())).map(Self))
    }

    fn schema() -> Schema {
        id_schema()
    }
}

/// A time as the client writes it: a text or a number. It is passed on and never read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTime(pub ShortText);

impl FieldValue for ClientTime {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let time = match value {
            Value::Number(number) => ShortText::cut(&number.to_string()),
            value => ShortText::read(value)?,
        };
        Ok(time.map(Self))
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

/// A JSON object in the form in which it is stored.
#[derive(Debug, Clone)]
pub struct JsonObject {
    /// Its text.
    pub raw: Box<RawValue>,
    has_nul: bool,
}

impl JsonObject {
    /// The object, when its text has at most so many bytes and no NUL is in it.
    ///
    /// # Errors
    /// What it must be.
    pub fn within(self, limit_bytes: usize) -> Result<Box<RawValue>, Cow<'static, str>> {
        if self.raw.get().len() > limit_bytes {
            return Err(format!("must be at most {limit_bytes} bytes of JSON").into());
        }
        if self.has_nul { Err(NO_NUL) } else { Ok(self.raw) }
    }
}

impl FieldValue for JsonObject {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        match to_raw_value(&value) {
            Ok(raw) if value.is_object() => Ok(Some(Self { raw, has_nul: has_nul(&value) })),
            _ => Err("must be an object".into()),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "object" })
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A list of at most `N` texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StringList<const N: usize>(pub Vec<String>);

impl<const N: usize> FieldValue for StringList<N> {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let text = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let texts = match value {
            Value::Array(values) if values.len() <= N => values.into_iter().map(text).collect(),
            _ => None,
        };
        let list = texts.map(Self).map(Some);
        list.ok_or_else(|| format!("must be a list of at most {N} strings").into())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "array", "maxItems": N, "items": { "type": "string" } })
    }
}

/// A value that asks for something: anything but `false`, 0 and what is empty, which count as absent. For fields
/// that this service does not support and that would change what the client means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TruthyValue;

impl FieldValue for TruthyValue {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let is_truthy = match value {
            Value::Null => false,
            Value::Bool(flag) => flag,
            Value::Number(number) => number.as_u64() != Some(0),
            Value::String(text) => !text.is_empty(),
            Value::Array(values) => !values.is_empty(),
            Value::Object(members) => !members.is_empty(),
        };
        Ok(is_truthy.then_some(Self))
    }

    /// What does no harm.
    fn schema() -> Schema {
        json_schema!({ "enum": [null, false, 0, "", [], {}] })
    }
}
