//! What clients write: packets with their meaning, and damaged packets.

use proptest::{collection::vec, option, prelude::*, sample::Index};
use serde_json::{Map, Value, json};

use super::meaning::{Kind, Meaning};

const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// What damage inserts: characters with a meaning in the protocols, and texts longer than a byte.
const TOKENS: [&str; 24] = [
    "-",
    "/",
    ",",
    "0",
    "1",
    "2",
    "5",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\",
    " ",
    "\n",
    "null",
    "1-",
    "/a,",
    "[\"connect\"",
    "{\"_placeholder\":true,\"num\":9}",
    "\"num\":",
    "\\ud800",
    "9999999999999999999",
    "\u{1f600}",
];

/// Any JSON. Its numbers are written and read without loss.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|halves| json!(f64::from(halves) / 2.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key(), inner), 0..4).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => any::<String>(), 1 => Just("num".to_owned()), 1 => Just("constructor".to_owned())]
}

/// A namespace, named or not.
pub fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[a-z0-9-]{1,8}", "/[^,]{0,8}"]
}

/// The name of an event as JSON, and as the application gets it.
fn name() -> impl Strategy<Value = (Value, String)> {
    let text = prop_oneof!["[a-z.]{1,10}", any::<String>()];
    let text = text.prop_filter("reserved", |name| !RESERVED.contains(&name.as_str()));
    prop_oneof![
        6 => text.prop_map(|name| (Value::from(name.as_str()), name)),
        1 => any::<i32>().prop_map(|name| (Value::from(name), name.to_string())),
    ]
}

/// Arguments with a placeholder for each attachment, at different depths.
fn with_placeholders(mut args: Vec<Value>, attachments: usize) -> Vec<Value> {
    for number in 0..attachments {
        let placeholder = json!({ "_placeholder": true, "num": number });
        args.push(match number % 3 {
            0 => placeholder,
            1 => json!([{ "file": placeholder }]),
            _ => json!({ "files": [null, placeholder] }),
        });
    }
    args
}

/// How a client writes JSON.
#[derive(Debug, Clone, Copy)]
enum Layout {
    Compact,
    Pretty,
    Surrounded,
}

impl Layout {
    fn write(self, value: &Value) -> String {
        match self {
            Self::Compact => value.to_string(),
            Self::Pretty => serde_json::to_string_pretty(value).expect("JSON"),
            Self::Surrounded => format!("\n {value}\t \r\n"),
        }
    }
}

fn layout() -> impl Strategy<Value = Layout> {
    prop_oneof![4 => Just(Layout::Compact), 1 => Just(Layout::Pretty), 1 => Just(Layout::Surrounded)]
}

fn written(meaning: Meaning, json: &str) -> (Meaning, String) {
    let kind = match (meaning.kind, meaning.attachments) {
        (Kind::Connect, _) => "0".to_owned(),
        (Kind::Disconnect, _) => "1".to_owned(),
        (Kind::Event, 0) => "2".to_owned(),
        (Kind::Ack, 0) => "3".to_owned(),
        (Kind::Event, count) => format!("5{count}-"),
        (Kind::Ack, count) => format!("6{count}-"),
    };
    let namespace = match meaning.namespace.as_str() {
        "/" => String::new(),
        name => format!("{name},"),
    };
    let id = meaning.id.map(|id| id.to_string()).unwrap_or_default();
    let text = format!("{kind}{namespace}{id}{json}");
    (meaning, text)
}

fn connect() -> impl Strategy<Value = (Meaning, String)> {
    let auth = option::of(vec((any::<String>(), value()), 0..4));
    (namespace(), auth, layout()).prop_map(|(namespace, auth, layout)| {
        let auth = auth.map(|entries| Value::Object(entries.into_iter().collect()));
        let json = auth.as_ref().map(|auth| layout.write(auth)).unwrap_or_default();
        let value = Some(auth.unwrap_or_else(|| Value::Object(Map::new())));
        let meaning = Meaning { kind: Kind::Connect, namespace, id: None, name: None, value, attachments: 0 };
        written(meaning, &json)
    })
}

fn disconnect() -> impl Strategy<Value = (Meaning, String)> {
    namespace().prop_map(|namespace| {
        let kind = Kind::Disconnect;
        written(Meaning { kind, namespace, id: None, name: None, value: None, attachments: 0 }, "")
    })
}

fn attachments() -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0_usize), 1 => 1..=10_usize]
}

/// An event that a client may send, and what it means.
pub fn event() -> impl Strategy<Value = (Meaning, String)> {
    let parts = (namespace(), option::of(any::<u64>()), name(), vec(value(), 0..4), attachments(), layout());
    parts.prop_map(|(namespace, id, (name, heard), args, attachments, layout)| {
        let args = with_placeholders(args, attachments);
        let array: Vec<_> = std::iter::once(name).chain(args.iter().cloned()).collect();
        let (name, value) = (Some(heard), Some(Value::from(args)));
        let meaning = Meaning { kind: Kind::Event, namespace, id, name, value, attachments };
        written(meaning, &layout.write(&Value::from(array)))
    })
}

fn ack() -> impl Strategy<Value = (Meaning, String)> {
    let parts = (namespace(), any::<u64>(), vec(value(), 0..4), attachments(), layout());
    parts.prop_map(|(namespace, id, args, attachments, layout)| {
        let args = Value::from(with_placeholders(args, attachments));
        let json = layout.write(&args);
        let (id, value) = (Some(id), Some(args));
        written(Meaning { kind: Kind::Ack, namespace, id, name: None, value, attachments }, &json)
    })
}

/// A packet that a client may send, and what it means.
pub fn packet() -> impl Strategy<Value = (Meaning, String)> {
    prop_oneof![2 => connect(), 1 => disconnect(), 5 => event(), 3 => ack()]
}

/// One change of a text.
#[derive(Debug, Clone)]
enum Damage {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Replace(Index, char),
    End(Index),
    Repeat(Index, usize),
}

impl Damage {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let position = |index: &Index| index.index(chars.len() + 1);
        let end = |from: usize, count: usize| (from + count).min(chars.len());
        let joined = |parts: &[&[char]]| parts.concat().into_iter().collect();
        match self {
            Self::Insert(at, token) => {
                let (token, at): (Vec<char>, _) = (token.chars().collect(), position(at));
                joined(&[&chars[..at], &token, &chars[at..]])
            }
            Self::Remove(at, count) => joined(&[&chars[..position(at)], &chars[end(position(at), *count)..]]),
            Self::Replace(at, other) => {
                joined(&[&chars[..position(at)], &[*other], &chars[end(position(at), 1)..]])
            }
            Self::End(at) => joined(&[&chars[..position(at)]]),
            Self::Repeat(at, count) => {
                let until = end(position(at), *count);
                joined(&[&chars[..until], &chars[position(at)..]])
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), prop::sample::select(&TOKENS[..])).prop_map(|(at, token)| Damage::Insert(at, token)),
        3 => (index(), 1..4_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        2 => (index(), any::<char>()).prop_map(|(at, other)| Damage::Replace(at, other)),
        2 => ("[0-9\\[\\]{}\",:/-]", index()).prop_map(|(other, at)| {
            Damage::Replace(at, other.chars().next().unwrap_or('0'))
        }),
        1 => index().prop_map(Damage::End),
        1 => (index(), 1..6_usize).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

/// A text with a few changes, most of them near its start, where the structure is.
pub fn damaged(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, vec(damage(), 1..4), any::<bool>()).prop_map(|(text, damages, at_start)| {
        let split = text.char_indices().nth(12).map_or(text.len(), |(at, _)| at);
        let (head, tail) = text.split_at(if at_start { split } else { text.len() });
        let head = damages.iter().fold(head.to_owned(), |head, damage| damage.apply(&head));
        format!("{head}{tail}")
    })
}
