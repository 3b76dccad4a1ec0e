//! JSON values that are read a second time, member by member as they are.
//!
//! `serde_json` passes texts that are JSON already from its serializer to its deserializer as an object whose first member
//! has a name of its own, and [`Value`] takes any such object for one. A client can write that name too. In a body only
//! the first member counts, but a [`Value`] has its members in order, so a body that was read can fail the second time,
//! or become another value.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// A value in which every member name is only a name.
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
    use crate::api::field::{Field, JsonObject, request};

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
            let read: InfoRequest = request(members).unwrap();
            let Field::Value(object) = read.info else { panic!("{info} is not read") };
            assert_eq!(object.within(1_000).unwrap().get(), info.to_string());
        }
    }
}
