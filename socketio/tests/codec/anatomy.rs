//! Splits the text of a Socket.IO packet without the codec: the tests read with this what the codec writes, and describe
//! deviations with it. It validates nothing but the type digit.

use serde_json::{Value, value::RawValue};

/// `<kind>[<count>-][<namespace>,][<id>]<json>`, each as written.
#[derive(Debug, PartialEq, Eq)]
pub struct Anatomy<'a> {
    pub kind: char,
    /// Only of the two binary kinds.
    pub count: &'a str,
    /// Empty when it is not named.
    pub namespace: &'a str,
    pub id: &'a str,
    pub json: &'a str,
}

impl<'a> Anatomy<'a> {
    /// None when the text does not start like a packet.
    pub fn of(text: &'a str) -> Option<Self> {
        let kind = text.chars().next().filter(|kind| ('0'..='6').contains(kind))?;
        let rest = &text[1..];
        let (count, rest) = match kind {
            '5' | '6' => rest.split_once('-')?,
            _ => ("", rest),
        };
        let (namespace, rest) = match rest.split_once(',') {
            _ if !rest.starts_with('/') => ("", rest),
            Some(both) => both,
            None => (rest, ""),
        };
        let json = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let id = &rest[..rest.len() - json.len()];
        Some(Self { kind, count, namespace, id, json })
    }

    /// Whether it is an event or an acknowledgement.
    pub fn has_array(&self) -> bool {
        matches!(self.kind, '2' | '3' | '5' | '6')
    }

    /// Its JSON, when that can be built.
    pub fn value(&self) -> Option<Value> {
        serde_json::from_str(self.json).ok()
    }

    /// The first element of an event's array, as written.
    pub fn name(&self) -> Option<&'a str> {
        let is_event = matches!(self.kind, '2' | '5');
        let elements: Vec<&RawValue> = serde_json::from_str(self.json).ok().filter(|_| is_event)?;
        elements.first().map(|name| name.get())
    }
}
