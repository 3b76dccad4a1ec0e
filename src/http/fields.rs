//! Takes fields out of a request, and gathers what is wrong with all of them before it complains.

use std::{borrow::Cow, fmt};

use amoiq_events::{ShortText, id::InvalidId};
use serde_json::{Map, Value};

use crate::api::problem::{FieldErrors, Problem};

/// The first whole number with more than 19 digits.
const ID_NUMBERS: u64 = 10_u64.pow(19);

/// The fields of a body or a query. A field that is `null` is absent, one that is not known is passed
/// over.
#[derive(Debug, Default)]
pub struct Fields {
    values: Map<String, Value>,
    errors: FieldErrors,
}

impl Fields {
    /// Fields of a JSON object.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self { values, errors: FieldErrors::new() }
    }

    /// Fields of a query string. A field without a value is absent; of two with a name the first counts.
    #[must_use]
    pub fn of_query(query: &str) -> Self {
        let mut values = Map::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if !value.is_empty() && !values.contains_key(&*name) {
                values.insert(name.into_owned(), Value::String(value.into_owned()));
            }
        }
        Self::new(values)
    }

    /// Adds a field that came another way than the others.
    pub fn put(&mut self, name: &'static str, text: &str) {
        self.values.insert(name.to_owned(), Value::String(text.to_owned()));
    }

    /// Ends the taking.
    ///
    /// # Errors
    /// [`Problem::Validation`] with everything that was wrong.
    pub fn finish(self) -> Result<(), Problem> {
        self.check()
    }

    /// Looks whether anything is wrong so far.
    ///
    /// # Errors
    /// As [`Fields::finish`].
    pub fn check(&self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::Validation(self.errors.clone())) }
    }

    /// Notes what is wrong with a field.
    pub fn refuse(&mut self, name: &'static str, reason: impl Into<Cow<'static, str>>) {
        self.errors.entry(name).or_insert_with(|| reason.into());
    }

    /// A field that has to be there; `None` is noted already.
    pub fn required<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.refuse(name, "is required");
        }
        value
    }

    /// A text.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        match self.values.remove(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.refuse(name, "must be a string");
                None
            }
        }
    }

    /// A list of at most `limit` texts.
    pub fn texts(&mut self, name: &'static str, limit: usize) -> Option<Vec<String>> {
        let texts = match self.values.remove(name) {
            None | Some(Value::Null) => return None,
            Some(Value::Array(values)) if values.len() <= limit => {
                values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
            }
            Some(_) => None,
        };
        if texts.is_none() {
            self.refuse(name, format!("must be a list of at most {limit} strings"));
        }
        texts
    }

    /// A text that is parsed.
    pub fn parsed<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(name)?;
        self.parse(name, &text, parse)
    }

    /// An id, as [`id_text`] reads it.
    pub fn id<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.id_text(name)?;
        self.parse(name, &text, parse)
    }

    /// The text of an id.
    pub fn id_text(&mut self, name: &'static str) -> Option<String> {
        match id_text(self.values.remove(name)?) {
            Ok(text) => text,
            Err(reason) => {
                self.refuse(name, reason);
                None
            }
        }
    }

    fn parse<T, E: fmt::Display>(
        &mut self,
        name: &'static str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.to_string());
                None
            }
        }
    }

    /// An id that names nothing in this service, and is only passed on.
    pub fn label(&mut self, name: &'static str) -> Option<ShortText> {
        let label = self.id(name, |text| amoiq_events::UserId::parse(text).map(|_| ShortText::cut(text)));
        label.flatten()
    }

    /// Refuses a field that is not supported and would change what the client means. One that says nothing
    /// (`false`, empty) changes nothing.
    pub fn unsupported(&mut self, name: &'static str, reason: &'static str) {
        let says_nothing = match self.values.remove(name) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Bool(true)) => false,
            Some(Value::Number(number)) => number.as_u64() == Some(0),
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Array(values)) => values.is_empty(),
            Some(Value::Object(values)) => values.is_empty(),
        };
        if !says_nothing {
            self.refuse(name, reason);
        }
    }

    /// A text that is cut and never refused; NUL is not kept.
    pub fn cut(&mut self, name: &'static str) -> Option<ShortText> {
        let text = self.text(name)?;
        if text.contains('\0') {
            self.refuse(name, "must not contain NUL or a lone surrogate");
            return None;
        }
        ShortText::cut(&text)
    }

    /// A moment as the client writes it: a text or a number.
    pub fn moment(&mut self, name: &'static str) -> Option<ShortText> {
        match self.values.get(name) {
            Some(Value::Number(number)) => ShortText::cut(&number.to_string()),
            _ => self.cut(name),
        }
    }

    /// `true` or `false`; absent is `false`.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.values.remove(name) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(flag)) => flag,
            Some(_) => {
                self.refuse(name, "must be true or false");
                false
            }
        }
    }

    /// A whole number, as JSON or as digits.
    pub fn number(&mut self, name: &'static str) -> Option<u32> {
        let number = match self.values.remove(name) {
            None | Some(Value::Null) => return None,
            Some(Value::String(digits)) => digits.parse().ok(),
            Some(value) => value.as_u64().and_then(|number| u32::try_from(number).ok()),
        };
        if number.is_none() {
            self.refuse(name, "must be a whole number");
        }
        number
    }

    /// Any JSON.
    pub fn value(&mut self, name: &'static str) -> Option<Value> {
        self.values.remove(name).filter(|value| !value.is_null())
    }

    /// Whether a field is there and says nothing: where something is changed, that removes it.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(Value::is_null)
    }

    /// A JSON object, in the form that it is kept in, of at most `limit_bytes`.
    pub fn object(
        &mut self,
        name: &'static str,
        limit_bytes: usize,
    ) -> Option<Box<serde_json::value::RawValue>> {
        let value = match self.values.remove(name) {
            None | Some(Value::Null) => return None,
            Some(value @ Value::Object(_)) => value,
            Some(_) => {
                self.refuse(name, "must be an object");
                return None;
            }
        };
        let raw = serde_json::value::to_raw_value(&value).ok()?;
        if raw.get().len() > limit_bytes {
            self.refuse(name, format!("must be at most {limit_bytes} bytes of JSON"));
            return None;
        }
        if has_nul(&value) {
            self.refuse(name, "must not contain NUL or a lone surrogate");
            return None;
        }
        Some(raw)
    }

    /// The first of several names of one id that is there.
    pub fn first_id<T>(
        &mut self,
        names: &[&'static str],
        parse: impl Fn(&str) -> Result<T, InvalidId>,
    ) -> Option<T> {
        let mut first = None;
        for name in names {
            let value = self.id(name, &parse);
            first = first.or(value);
        }
        first
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

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(values) => values.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
