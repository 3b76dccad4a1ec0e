//! A field of a request: the value that the client sent, or the reason why it is not one.
//!
//! A request is a struct of [`Field`]s. Reading the struct never fails because of a field, so an answer can name
//! everything that is wrong with a request at once: [`Validation`] gathers the reasons.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::problem::{FieldErrors, Problem};

pub mod json;
pub mod values;

use json::PlainValue;
pub use values::{ClientTime, JsonObject, Label, StringList, TruthyValue};

/// A type that a field can have.
pub trait FieldValue: Sized {
    /// Reads a value that is not `null`. `None` is a value that counts as absent, such as an empty id.
    ///
    /// # Errors
    /// The reason, for the client.
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>>;

    /// The values that are read, as a JSON schema.
    fn schema() -> Schema;
}

/// A field of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The client did not send it.
    #[default]
    Absent,
    /// The client sent `null`: in a change this removes a setting, anywhere else it counts as absent.
    Null,
    /// The client sent a value.
    Value(T),
    /// The client sent something else; the text says what the field must be.
    Invalid(Cow<'static, str>),
}

impl<T> Field<T> {
    /// Whether the client did not send it.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The field for a client that may have a value to send.
    #[must_use]
    pub fn of(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }

    /// Takes the field out and leaves it absent.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The value, unless the field is absent or `null`.
    ///
    /// # Errors
    /// [`Problem::Validation`] under this name when the field is invalid.
    pub fn value(self, name: &'static str) -> Result<Option<T>, Problem> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::Value(value) => Ok(Some(value)),
            Self::Invalid(reason) => Err(Problem::field(name, reason)),
        }
    }
}

impl<T: FieldValue> Field<T> {
    /// The field that a client sent with this value.
    #[must_use]
    pub fn read(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            value => match T::read(value) {
                Ok(Some(value)) => Self::Value(value),
                Ok(None) => Self::Absent,
                Err(reason) => Self::Invalid(reason),
            },
        }
    }
}

impl<'de, T: FieldValue> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        PlainValue::deserialize(deserializer).map(|PlainValue(value)| Self::read(value))
    }
}

/// For clients of this service: a field that is absent is left out by `skip_serializing_if`.
impl<T: Serialize> Serialize for Field<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Absent | Self::Null | Self::Invalid(_) => serializer.serialize_none(),
        }
    }
}

impl<T: FieldValue> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Field".into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("Field<{}>", std::any::type_name::<T>()).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        values::or_null(T::schema())
    }
}

/// Gathers what is wrong with a request. Of several reasons for one field the first is kept.
#[derive(Debug, Default)]
pub struct Validation {
    errors: FieldErrors,
}

impl Validation {
    /// A validation that found nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes what is wrong with a field.
    pub fn refuse(&mut self, name: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.errors.entry(name).or_insert_with(|| reason.into());
    }

    /// The value of a field that may be absent.
    pub fn optional<T>(&mut self, name: &'static str, field: Field<T>) -> Option<T> {
        self.nullable(name, field).flatten()
    }

    /// The value of a field that must be there.
    pub fn required<T>(&mut self, name: &'static str, field: Field<T>) -> Option<T> {
        let value = self.optional(name, field);
        self.present(name, value)
    }

    /// Notes that a field is missing where there is no value.
    pub fn present<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.refuse(name, "is required");
        }
        value
    }

    /// The value of a field in a change: `Some(None)` is `null`, which removes the setting.
    pub fn nullable<T>(&mut self, name: &'static str, field: Field<T>) -> Option<Option<T>> {
        match field {
            Field::Absent => None,
            Field::Null => Some(None),
            Field::Value(value) => Some(Some(value)),
            Field::Invalid(reason) => {
                self.refuse(name, reason);
                None
            }
        }
    }

    /// The value of a field, parsed with a rule that depends on settings.
    pub fn parsed<T, U, E: fmt::Display>(
        &mut self,
        name: &'static str,
        field: Field<T>,
        parse: impl FnOnce(T) -> Result<U, E>,
    ) -> Option<U> {
        let value = self.optional(name, field)?;
        self.checked(name, parse(value))
    }

    /// The value of a result; the error is noted.
    pub fn checked<T, E: fmt::Display>(&mut self, name: &'static str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.refuse(name, error.to_string())).ok()
    }

    /// Ends the validation.
    ///
    /// # Errors
    /// [`Problem::Validation`] with everything that was noted.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::Validation(self.errors)) }
    }
}

/// A request from the members of a JSON object. Members that the request does not know are ignored.
///
/// # Errors
/// [`Problem::Internal`]: no member can make it fail.
pub fn request<R: DeserializeOwned>(members: Map<String, Value>) -> Result<R, Problem> {
    serde_json::from_value(Value::Object(members)).map_err(|error| {
        tracing::error!(%error, "a request could not be read field by field");
        Problem::Internal
    })
}

/// A request from a query string. A parameter without a value is absent; of several with one name the first counts.
///
/// # Errors
/// As [`request`].
pub fn query<R: DeserializeOwned>(query: &str) -> Result<R, Problem> {
    let mut members = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !value.is_empty() && !members.contains_key(&*name) {
            members.insert(name.into_owned(), Value::String(value.into_owned()));
        }
    }
    request(members)
}
