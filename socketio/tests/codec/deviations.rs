//! Where the other implementation and the codec differ, and why. A difference that is not in [`DEVIATIONS`] fails the
//! differential tests. "Node" is the reference implementation, which the codec follows.

use serde::de::IgnoredAny;
use serde_json::Value;

use self::Differs::{Id, Name, OnlyOurs, OnlyTheirs};
use super::{anatomy::Anatomy, oxide};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Reading an Engine.IO packet, alone or in a payload.
    Engine,
    /// Reading a polling payload as a whole.
    Payload,
    /// Reading a Socket.IO packet.
    Socket,
    /// Writing a Socket.IO packet.
    Encoder,
}

/// How two readings differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// They accept what the codec refuses.
    OnlyTheirs,
    /// The codec accepts what they refuse.
    OnlyOurs,
    Kind,
    Namespace,
    Id,
    Name,
    Value,
    Attachments,
    /// What is written.
    Text,
}

/// One known difference.
pub struct Deviation {
    pub layer: Layer,
    pub differs: Differs,
    /// A text that shows it.
    pub example: &'static str,
    /// Which is right, and why.
    pub why: &'static str,
    /// Whether a text has the cause of the difference.
    pub when: fn(&str) -> bool,
}

const fn engine(example: &'static str, why: &'static str, when: fn(&str) -> bool) -> Deviation {
    Deviation { layer: Layer::Engine, differs: OnlyTheirs, example, why, when }
}

const fn payload(example: &'static str, why: &'static str, when: fn(&str) -> bool) -> Deviation {
    Deviation { layer: Layer::Payload, differs: OnlyTheirs, example, why, when }
}

const fn socket(
    differs: Differs,
    example: &'static str,
    why: &'static str,
    when: fn(&str) -> bool,
) -> Deviation {
    Deviation { layer: Layer::Socket, differs, example, why, when }
}

const fn encoder(example: &'static str, why: &'static str, when: fn(&str) -> bool) -> Deviation {
    Deviation { layer: Layer::Encoder, differs: Differs::Text, example, why, when }
}

/// Every known deviation.
pub const DEVIATIONS: [Deviation; 29] = [
    engine("2", "ours: only servers ping", |text| text.starts_with('2') && text != "2probe"),
    engine("3probe", "ours: only servers answer a probe", |text| text == "3probe"),
    engine("6", "ours: only servers send a noop", |text| text.starts_with('6')),
    engine("1x", "theirs: what follows is ignored; no client writes it", |text| {
        text.len() > 1 && text.starts_with(['1', '3', '5'])
    }),
    payload("", "theirs: a body without a packet is one; Node refuses it", str::is_empty),
    payload("3\x1e", "theirs: a separator at the end is ignored; Node refuses it", |body| {
        body.ends_with('\x1e')
    }),
    socket(OnlyTheirs, "2", "theirs: an event needs no JSON", |text| {
        is(text, |packet| packet.has_array() && packet.json.is_empty())
    }),
    socket(OnlyTheirs, "2{}", "theirs: arguments need not be an array", |text| {
        is(text, |packet| packet.has_array() && is_json(packet.json) && !packet.json.trim().starts_with('['))
    }),
    socket(OnlyTheirs, "2[\"m\"", "theirs: JSON is not checked", |text| {
        is(text, |packet| packet.kind != '1' && !packet.json.is_empty() && !is_json(packet.json))
    }),
    socket(OnlyTheirs, "2[\"connect\"]", "theirs: reserved names are names", |text| {
        is(text, |packet| packet.name().and_then(text_of).is_some_and(|name| is_reserved(&name)))
    }),
    socket(OnlyTheirs, "2[]", "theirs: an event needs no name until it is dispatched", |text| {
        is(text, |packet| matches!(packet.kind, '2' | '5') && is_json(packet.json) && packet.name().is_none())
    }),
    socket(OnlyTheirs, "2[null]", "theirs: a name may be anything until it is dispatched", |text| {
        is(text, |packet| packet.name().is_some_and(|name| !name.starts_with('"') && !is_number(name)))
    }),
    socket(
        OnlyTheirs,
        "2[\"\\ud800\"]",
        "ours: a name that no text can hold is refused; Node takes it",
        |text| {
            is(text, |packet| {
                packet.name().is_some_and(|name| name.starts_with('"') && text_of(name).is_none())
            })
        },
    ),
    socket(Name, "2[1]", "theirs: a number is no name; Node takes it", |text| {
        is(text, |packet| packet.name().is_some_and(is_number))
    }),
    socket(Name, "2[\"\\n\"]", "theirs: a name with an escape in it cannot be borrowed", |text| {
        is(text, |packet| packet.name().is_some_and(|name| name.contains('\\')))
    }),
    socket(OnlyTheirs, "0[]", "theirs: credentials need not be an object", |text| {
        is(text, |packet| packet.kind == '0' && packet.value().is_some_and(|auth| !auth.is_object()))
    }),
    socket(OnlyTheirs, "1{}", "theirs: what follows a disconnect is ignored", |text| {
        is(text, |packet| packet.kind == '1' && !packet.json.is_empty())
    }),
    socket(OnlyTheirs, "01{}", "ours: these packets have no id, and no client writes one", |text| {
        is(text, |packet| matches!(packet.kind, '0' | '1') && !packet.id.is_empty())
    }),
    socket(OnlyTheirs, "50-[\"m\"]", "theirs: binary without attachments; Node refuses it", |text| {
        is(text, |packet| !packet.count.is_empty() && packet.count.bytes().all(|digit| digit == b'0'))
    }),
    socket(
        OnlyTheirs,
        "51-[\"m\",{\"_placeholder\":true,\"num\":1}]",
        "theirs: placeholders are looked at later, if ever; Node refuses it",
        |text| is(text, |packet| matches!(packet.kind, '5' | '6') && has_lost_placeholder(packet)),
    ),
    socket(
        OnlyTheirs,
        "51-[\"m\",\"\\ud800\"]",
        "ours: beside attachments, what no text, number or stack can hold is refused; Node takes it",
        |text| is(text, |packet| matches!(packet.kind, '5' | '6') && is_too_much(packet.json)),
    ),
    socket(
        OnlyTheirs,
        "0{\"a\":\"\\ud800\"}",
        "ours: credentials that no value can hold are refused; theirs are when they are asked for",
        |text| is(text, |packet| packet.kind == '0' && is_too_much(packet.json)),
    ),
    socket(Id, "21 [\"m\"]", "theirs: an id before white space is forgotten; Node keeps it", |text| {
        is(text, |packet| !packet.id.is_empty() && packet.json.starts_with(char::is_whitespace))
    }),
    socket(OnlyOurs, "31 []", "theirs: an id before white space is none; Node keeps it", |text| {
        is(text, |packet| matches!(packet.kind, '3' | '6') && packet.json.starts_with(char::is_whitespace))
    }),
    socket(Id, "218446744073709551615[\"m\"]", "theirs: an id over 63 bits is forgotten", |text| {
        is(text, |packet| !packet.id.is_empty() && packet.id.parse::<i64>().is_err())
    }),
    socket(OnlyOurs, "318446744073709551615[]", "theirs: an id over 63 bits is none", |text| {
        is(text, |packet| matches!(packet.kind, '3' | '6') && packet.id.parse::<i64>().is_err())
    }),
    socket(OnlyTheirs, "299999999999999999999[\"m\"]", "ours: an id over 64 bits is refused", |text| {
        is(text, |packet| !packet.id.is_empty() && packet.id.parse::<u64>().is_err())
    }),
    encoder(
        r#"4{"message":"m","data":{"code":1}}"#,
        "theirs: CONNECT_ERROR has no `data`, where clients look for details",
        |text| oxide::connect_error("m") == text.replace(r#","data":{"code":1}"#, ""),
    ),
    encoder("2", "theirs: an event that is not text is a panic", |_| {
        std::panic::catch_unwind(oxide::event_of_bytes).is_err()
    }),
];

fn is(text: &str, has: impl Fn(&Anatomy<'_>) -> bool) -> bool {
    Anatomy::of(text).is_some_and(|packet| has(&packet))
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// JSON that cannot be built as a value: half of a surrogate pair, a number over all, nesting.
fn is_too_much(json: &str) -> bool {
    is_json(json) && serde_json::from_str::<Value>(json).is_err()
}

/// Whether a placeholder refers to no attachment.
fn has_lost_placeholder(packet: &Anatomy<'_>) -> bool {
    fn is_lost(value: &Value, count: u64) -> bool {
        match value {
            Value::Array(elements) => elements.iter().any(|element| is_lost(element, count)),
            Value::Object(entries) => {
                let is_placeholder = entries.get("_placeholder") == Some(&Value::Bool(true));
                let number = entries.get("num").and_then(Value::as_u64);
                (is_placeholder && number.is_none_or(|number| number >= count))
                    || entries.values().any(|entry| is_lost(entry, count))
            }
            _ => false,
        }
    }
    let count = packet.count.parse().unwrap_or(0);
    packet.value().is_some_and(|value| is_lost(&value, count))
}

fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// A JSON text's text.
fn text_of(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

fn is_reserved(name: &str) -> bool {
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
        .contains(&name)
}
