//! Takes out of a value what differs from run to run, so that a test compares all of the rest.
//!
//! The form of what is taken out is checked on the way: a time that is no time stays, and the comparison fails.

use serde_json::{Map, Value};

/// What is random or measured, whatever its form.
const VARYING_FIELDS: [&str; 5] = ["sid", "pid", "durationMs", "offset", "secret"];

/// A value without its times, ids and tokens.
#[must_use]
pub fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(redacted_text(text)),
        Value::Array(values) => values.iter().map(redacted).collect(),
        Value::Object(fields) => Value::Object(redacted_fields(fields)),
        other => other.clone(),
    }
}

fn redacted_fields(fields: &Map<String, Value>) -> Map<String, Value> {
    let field = |(name, value): (&String, &Value)| {
        let is_varying = VARYING_FIELDS.contains(&name.as_str()) && !value.is_null();
        (name.clone(), if is_varying { format!("[{name}]").into() } else { redacted(value) })
    };
    fields.iter().map(field).collect()
}

fn redacted_text(text: &str) -> String {
    let uuid = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let parts: Vec<_> = text.split('.').collect();
    if has_form(text, "dddd-dd-ddTdd:dd:dd.dddZ") {
        return "[time]".to_owned();
    }
    if text.starts_with("eyJ") && parts.len() == 3 {
        return "[token]".to_owned();
    }
    if has_form(text, "session-ddddddddddddd-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") {
        return "[session]".to_owned();
    }
    match text.split_once('-') {
        _ if has_form(text, uuid) => "[uuid]".to_owned(),
        Some((prefix, rest)) if has_form(rest, uuid) => format!("{prefix}-[uuid]"),
        _ => text.to_owned(),
    }
}

/// Whether a text has a form, in which `d` is a digit and `x` one of sixteen.
fn has_form(text: &str, form: &str) -> bool {
    let fits = |(found, wanted): (char, char)| match wanted {
        'd' => found.is_ascii_digit(),
        'x' => found.is_ascii_hexdigit(),
        other => found == other,
    };
    text.len() == form.len() && text.chars().zip(form.chars()).all(fits)
}
