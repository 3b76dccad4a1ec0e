//! An event from a client: its name, its arguments as JSON, and its attachments.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::packet::{Malformed, malformed};

/// Names that the protocol uses itself.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// An event from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What it is called.
    pub name: ByteString,
    /// Under which number an acknowledgement is asked for.
    pub id: Option<u64>,
    /// Binary, where the arguments have placeholders.
    pub attachments: Vec<Bytes>,
    /// The whole JSON array, with the name as its first element.
    array: ByteString,
    /// Where the name ends in it.
    after_name: usize,
}

impl Event {
    /// Reads the JSON of an event packet, which is an array without anything around it.
    pub(super) fn decode(array: ByteString, id: Option<u64>, attachments: usize) -> Result<Self, Malformed> {
        let elements = array.strip_prefix('[').ok_or(Malformed)?;
        let mut first = serde_json::Deserializer::from_str(elements).into_iter::<&RawValue>();
        let name = name_of(first.next().ok_or(Malformed)?.map_err(malformed)?)?;
        let after_name = array.len() - elements.len() + first.byte_offset();
        check_placeholders(&array, attachments)?;
        Ok(Self { name, id, attachments: Vec::new(), array, after_name })
    }

    /// The first argument.
    ///
    /// # Errors
    /// When it has another type.
    pub fn first<T: for<'de> Deserialize<'de>>(&self) -> Result<Option<T>, serde_json::Error> {
        serde_json::from_str::<First<T>>(&self.args()).map(|first| first.0)
    }

    /// The arguments as a JSON array without the name.
    #[must_use]
    pub fn args(&self) -> String {
        let rest = self.array.get(self.after_name..).unwrap_or("]").trim_start();
        format!("[{}", rest.strip_prefix(',').unwrap_or(rest).trim_start())
    }

    /// How large its JSON and attachments are, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.array.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// What an event is called. A number is a name too: clients write `emit(1)` so, and it is the same event
/// as `emit("1")`.
fn name_of(first: &RawValue) -> Result<ByteString, Malformed> {
    match first.get().as_bytes() {
        [b'"', ..] => {
            let name: String = serde_json::from_str(first.get()).map_err(malformed)?;
            if RESERVED.contains(&name.as_str()) { Err(Malformed) } else { Ok(name.into()) }
        }
        [b'-' | b'0'..=b'9', ..] => Ok(first.get().into()),
        _ => Err(Malformed),
    }
}

/// The first element of an array; the others are passed over.
struct First<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = First<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<First<T>, A::Error> {
                let first = elements.next_element()?;
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(Elements(std::marker::PhantomData))
    }
}

/// Checks that every placeholder of a JSON text stands for one of `attachments`, at any depth.
pub(super) fn check_placeholders(json: &str, attachments: usize) -> Result<(), Malformed> {
    if attachments == 0 {
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    Placeholders(attachments).deserialize(&mut deserializer).map(drop).map_err(malformed)
}

/// Walks a value without building it. What a value is, as far as placeholders go, is its result.
#[derive(Clone, Copy)]
struct Placeholders(usize);

enum Met {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for Placeholders {
    type Value = Met;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Met, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Placeholders {
    type Value = Met;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON whose placeholders stand for attachments")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Met, E> {
        Ok(if value { Met::True } else { Met::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Met, E> {
        Ok(Met::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Met, E> {
        Ok(Met::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Met, E> {
        Ok(Met::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Met, E> {
        Ok(Met::Other)
    }

    fn visit_unit<E>(self) -> Result<Met, E> {
        Ok(Met::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Met, A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(Met::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Met, A::Error> {
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = entries.next_key::<String>()? {
            let met = entries.next_value_seed(self)?;
            // A key that is there twice counts as the last says, as it does for whoever reads it after us.
            match key.as_str() {
                "_placeholder" => is_placeholder = matches!(met, Met::True),
                "num" => number = if let Met::Number(found) = met { Some(found) } else { None },
                _ => {}
            }
        }
        let stands_for_one = number.is_some_and(|number| number < self.0 as u64);
        if is_placeholder && !stands_for_one {
            return Err(A::Error::custom("a placeholder that stands for no attachment"));
        }
        Ok(Met::Other)
    }
}
