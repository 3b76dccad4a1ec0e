//! An event from a client: its name, its arguments as JSON, and its attachments.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{MalformedSocketPacket, malformed};

/// Names that the protocol uses itself.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// An event from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientEvent {
    /// Its name.
    pub name: ByteString,
    /// The number of the acknowledgement that the client asks for.
    pub id: Option<u64>,
    /// Binary for the placeholders of the arguments.
    pub attachments: Vec<Bytes>,
    /// The whole JSON array, with the name as its first element.
    array: ByteString,
    /// Where the name ends in it.
    after_name: usize,
}

impl ClientEvent {
    /// Decodes the JSON of an event packet, an array without white space around it.
    pub(super) fn decode(
        array: ByteString,
        id: Option<u64>,
        attachments: usize,
    ) -> Result<Self, MalformedSocketPacket> {
        let elements = array.strip_prefix('[').ok_or(MalformedSocketPacket)?;
        let mut first = serde_json::Deserializer::from_str(elements).into_iter::<&RawValue>();
        let name = name_of(first.next().ok_or(MalformedSocketPacket)?.map_err(malformed)?)?;
        let after_name = array.len() - elements.len() + first.byte_offset();
        check_placeholders(&array, attachments)?;
        Ok(Self { name, id, attachments: Vec::new(), array, after_name })
    }

    /// The first argument.
    ///
    /// # Errors
    /// When it has another type.
    pub fn first<T: for<'de> Deserialize<'de>>(&self) -> Result<Option<T>, serde_json::Error> {
        serde_json::from_str::<FirstArgument<T>>(&self.args()).map(|first| first.0)
    }

    /// The arguments as a JSON array without the name.
    #[must_use]
    pub fn args(&self) -> String {
        let rest = self.array.get(self.after_name..).unwrap_or("]").trim_start();
        format!("[{}", rest.strip_prefix(',').unwrap_or(rest).trim_start())
    }

    /// The size of its JSON and attachments, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.array.len() + self.attachments.iter().map(Bytes::len).sum::<usize>()
    }
}

/// The name of an event. A number is a name too: clients send one for `emit(1)`, which is the same event as
/// `emit("1")`.
fn name_of(first: &RawValue) -> Result<ByteString, MalformedSocketPacket> {
    match first.get().as_bytes() {
        [b'"', ..] => {
            let name: String = serde_json::from_str(first.get()).map_err(malformed)?;
            if RESERVED.contains(&name.as_str()) { Err(MalformedSocketPacket) } else { Ok(name.into()) }
        }
        [b'-' | b'0'..=b'9', ..] => Ok(first.get().into()),
        _ => Err(MalformedSocketPacket),
    }
}

/// The first element of an array; the others are skipped.
struct FirstArgument<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FirstArgument<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ElementVisitor<T> {
            type Value = FirstArgument<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<FirstArgument<T>, A::Error> {
                let first = elements.next_element()?;
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstArgument(first))
            }
        }
        deserializer.deserialize_seq(ElementVisitor(std::marker::PhantomData))
    }
}

/// Checks that every placeholder in a JSON text, at any depth, refers to one of `attachments`.
pub(super) fn check_placeholders(json: &str, attachments: usize) -> Result<(), MalformedSocketPacket> {
    if attachments == 0 {
        return Ok(());
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    PlaceholderCheck(attachments).deserialize(&mut deserializer).map(drop).map_err(malformed)
}

/// Walks a value without building it, and returns what the value means for a placeholder.
#[derive(Clone, Copy)]
struct PlaceholderCheck(usize);

enum JsonShape {
    True,
    Number(u64),
    Other,
}

impl<'de> DeserializeSeed<'de> for PlaceholderCheck {
    type Value = JsonShape;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JsonShape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PlaceholderCheck {
    type Value = JsonShape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON whose placeholders refer to attachments")
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonShape, E> {
        Ok(if value { JsonShape::True } else { JsonShape::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonShape, E> {
        Ok(JsonShape::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<JsonShape, E> {
        Ok(JsonShape::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<JsonShape, E> {
        Ok(JsonShape::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<JsonShape, E> {
        Ok(JsonShape::Other)
    }

    fn visit_unit<E>(self) -> Result<JsonShape, E> {
        Ok(JsonShape::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<JsonShape, A::Error> {
        while elements.next_element_seed(self)?.is_some() {}
        Ok(JsonShape::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonShape, A::Error> {
        let (mut is_placeholder, mut number) = (false, None);
        while let Some(key) = entries.next_key::<String>()? {
            let met = entries.next_value_seed(self)?;
            // Of a repeated key the last value counts, as it does for every later reader.
            match key.as_str() {
                "_placeholder" => is_placeholder = matches!(met, JsonShape::True),
                "num" => number = if let JsonShape::Number(found) = met { Some(found) } else { None },
                _ => {}
            }
        }
        let refers_to_one = number.is_some_and(|number| number < self.0 as u64);
        if is_placeholder && !refers_to_one {
            return Err(A::Error::custom("a placeholder that refers to no attachment"));
        }
        Ok(JsonShape::Other)
    }
}
