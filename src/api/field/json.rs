//! JSON as clients write it: an object of a request, and values that are read a second time as they are.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::api::problem::Problem;

/// A request from a JSON object. A byte order mark before it is skipped, which PowerShell and .NET write (RFC 8259, 8.1). Of
/// several members with one name the last counts.
///
/// # Errors
/// When it is not JSON, or not an object.
pub fn request<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, Problem> {
    let bytes = without_mark(bytes);
    // Most requests are read in one step. What cannot be is read slowly: it tells why, or is unusual.
    match in_one_step(bytes) {
        Some(request) => Ok(request),
        None => super::request(object(bytes)?),
    }
}

fn in_one_step<R: DeserializeOwned>(bytes: &[u8]) -> Option<R> {
    // Members that the request does not know are passed over, whatever bytes their texts have.
    let text = str::from_utf8(bytes).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    serde_json::from_str(text).ok().filter(|_| is_object)
}

/// The members of a JSON object.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    let value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        // JSON's grammar allows half a surrogate pair, texts do not: the answer names the field.
        Err(error) => match serde_json::from_slice(&without_lone_surrogates(bytes)) {
            Ok(value) => value,
            Err(_still_not_json) => return Err(Problem::MalformedJson(error.to_string())),
        },
    };
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Problem::field("body", "must be an object")),
    }
}

/// A body without the byte order mark.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// The text with NUL in place of each escaped surrogate that has no partner: no field takes NUL.
fn without_lone_surrogates(bytes: &[u8]) -> Vec<u8> {
    let mut clean = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let step = match (surrogate(bytes, at), surrogate(bytes, at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(_), _) => {
                if let Some(digits) = clean.get_mut(at + 2..at + 6) {
                    digits.fill(b'0');
                }
                6
            }
            // An escaped backslash does not start an escape.
            _ if bytes.get(at) == Some(&b'\\') => 2,
            _ => 1,
        };
        at += step;
    }
    clean
}

/// The surrogate whose escape starts here.
fn surrogate(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let unit = u16::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()?;
    (0xd800..0xe000).contains(&unit).then_some(unit)
}

/// A value in which every member name is only a name.
///
/// `serde_json` passes texts that are JSON already from its serializer to its deserializer as an object whose first
/// member has a name of its own, and [`Value`] takes any such object for one. A client can write that name too. In a body
/// only the first member counts, but a [`Value`] has its members in order, so a body that was read can fail the second
/// time, or become another value.
pub(super) struct PlainValue(pub(super) Value);

impl<'de> Deserialize<'de> for PlainValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor).map(Self)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(PlainValue(value)) = elements.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        while let Some((name, PlainValue(value))) = members.next_entry()? {
            values.insert(name, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::field::{Field, JsonObject};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct InfoRequest {
        info: Field<JsonObject>,
    }

    #[test]
    fn a_value_stays_what_the_client_sent_whatever_its_members_are_called() {
        for inner in
            [json!("not JSON"), json!("{\"another\":1}"), json!(5), json!({"a": [null, true, -1, 0.5]})]
        {
            let info = json!({ "$serde_json::private::RawValue": inner, "zzz": 1 });
            let members = Map::from_iter([("info".to_owned(), info.clone())]);
            let body = Value::Object(members.clone()).to_string();
            for read in [super::super::request(members), request(body.as_bytes())] {
                let read: InfoRequest = read.unwrap();
                let Field::Value(object) = read.info else { panic!("{info} is not read") };
                assert_eq!(object.within(1_000).unwrap().get(), info.to_string());
            }
        }
    }

    #[test]
    fn a_request_is_an_object_and_of_members_with_one_name_the_last_counts() {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct TextRequest {
            text: Field<String>,
        }
        let text = |body: &[u8]| request(body).map(|TextRequest { text }| text);
        let value = |text: &str| Field::Value(text.to_owned());
        assert_eq!(text(br#" {"text": "a", "other": [{}]}"#).unwrap(), value("a"));
        assert_eq!(text("\u{feff}{\"text\": \"a\"}".as_bytes()).unwrap(), value("a"));
        assert_eq!(text(br#"{"text": "a", "text": "b"}"#).unwrap(), value("b"));
        assert_eq!(text(br#"{"other": 1, "other": "\ud83d"}"#).unwrap(), Field::Absent);
        for not_an_object in [
            &br#"["a"]"#[..],
            b"[]",
            b"null",
            b"1",
            br#"{"text": "a"} x"#,
            br#"{"text""#,
            b"",
            b"{\"other\": \"\xff\"}",
        ] {
            text(not_an_object).unwrap_err();
        }
    }

    fn clean(text: &str) -> String {
        String::from_utf8(without_lone_surrogates(text.as_bytes())).unwrap()
    }

    #[test]
    fn only_a_surrogate_without_its_partner_is_replaced() {
        assert_eq!(clean(r"a\ud83d\ude00b"), r"a\ud83d\ude00b");
        assert_eq!(clean(r"a\ud83db"), r"a\u0000b");
        assert_eq!(clean(r"\ude00\ud83d"), r"\u0000\u0000");
        assert_eq!(clean(r"\ud83d\ud83d\ude00"), r"\u0000\ud83d\ude00");
        assert_eq!(clean(r"\\ud83d"), r"\\ud83d");
        assert_eq!(clean(r"\u00e9\ud8"), r"\u00e9\ud8");
    }
}
