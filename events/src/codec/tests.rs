//! The stored form of every event, and how older and broken forms are read.

use super::*;
use crate::{
    EventId, StreamName, TenantId, Timestamp, Version,
    session::{MessageCreated, SessionEvent},
};

fn recorded(kind: &str, schema: u16, data: &str) -> RecordedEvent {
    RecordedEvent {
        position: Position::from_u64(9),
        stream: StreamName::tenant(&TenantId::parse("t").unwrap()),
        version: Version::from_u64(1),
        event: NewEvent {
            id: EventId::from_uuid(uuid::Uuid::from_u128(1)),
            kind: kind.to_owned().into(),
            schema,
            time: Timestamp::from_millis(0),
            causation: "r".into(),
            actor: "a".into(),
            data: data.as_bytes().into(),
        },
    }
}

/// What release 0.1.0 stores, one line for each type. These bytes are in logs: they never change.
const STORED: &[(&str, &str)] = &[
    ("tenant.created", r#"{"name":"A","origins":["*"],"source":"configuration"}"#),
    ("tenant.updated", r#"{"name":"B","origins":["https://*.b.example"],"source":"operator"}"#),
    (
        "key.issued",
        r#"{"keyId":"k","kind":"widget","hash":"0101010101010101010101010101010101010101010101010101010101010101","source":"api"}"#,
    ),
    ("key.revoked", r#"{"keyId":"k"}"#),
    ("session.erased", r#"{"sessionId":"s"}"#),
    (
        "webhook.registered",
        r#"{"webhookId":"w","url":"https://a.example","events":["message.created"],"headers":{"x-a":"1"},"ratePerSecond":5,"secret":"whsec_a","source":"api"}"#,
    ),
    (
        "webhook.updated",
        r#"{"webhookId":"w","url":"https://b.example","events":["message.created"],"description":"d"}"#,
    ),
    ("webhook.paused", r#"{"webhookId":"w"}"#),
    ("webhook.resumed", r#"{"webhookId":"w"}"#),
    ("webhook.disabled", r#"{"webhookId":"w","reason":"410 Gone"}"#),
    ("webhook.deleted", r#"{"webhookId":"w"}"#),
    ("webhook.secret_rotated", r#"{"webhookId":"w","secret":"whsec_b"}"#),
    ("session.started", "{}"),
    ("visitor.identified", r#"{"userId":"u","verified":true,"userInfo":{"name":"Ann"},"fingerprint":"f"}"#),
    ("conversation.started", "{}"),
    (
        "message.created",
        r#"{"messageId":"msg-00000000-0000-0000-0000-000000000001","seq":1,"text":"hi","sender":"user","userId":"u","senderName":"Ann","clientMessageId":"c","clientTimestamp":"t","page":{"domain":"d","origin":"o","url":"l","referrer":"r","siteId":"s"}}"#,
    ),
    ("conversation.closed", r#"{"reason":"agent"}"#),
    ("conversation.reopened", "{}"),
    (
        "user.online",
        r#"{"userId":"u","sessionId":"s","connectedAt":"2024-01-15T10:30:00.000Z","domain":"d","origin":"o","url":"l"}"#,
    ),
    ("user.offline", r#"{"userId":"u","sessionId":"s"}"#),
    ("node.started", r#"{"release":"0.1.0"}"#),
];

#[test]
fn every_type_reads_what_the_first_release_stored_and_writes_it_again() {
    let named: Vec<_> = STORED.iter().map(|(kind, _)| *kind).collect();
    let known: Vec<_> = CATALOGUE.iter().map(|kind| kind.name).collect();
    assert_eq!(named, known, "a type of the catalogue has no stored example");
    for (kind, data) in STORED {
        let event = decode(&recorded(kind, 1, data)).unwrap();
        let (written, bytes) = event.encode();
        assert_eq!((written.name, String::from_utf8(bytes).unwrap().as_str()), (*kind, *data));
    }
}

#[test]
fn older_data_passes_every_upcaster_of_its_type_in_turn() {
    fn rename(mut data: Value, from: &str, to: &str) -> Value {
        let object = data.as_object_mut().unwrap();
        let value = object.remove(from).unwrap();
        object.insert(to.to_owned(), value);
        data
    }
    // The current schema is 1, so the past is told as the versions before a `seq` that moved twice.
    let steps = [
        Upcaster { kind: "message.created", from: 1, lift: |data| rename(data, "nr", "number") },
        Upcaster { kind: "message.created", from: 2, lift: |data| rename(data, "number", "seq") },
        Upcaster { kind: "message.created", from: 2, lift: |_| unreachable!("the first one wins") },
        Upcaster { kind: "session.started", from: 1, lift: |_| unreachable!("another type") },
    ];
    let old = r#"{"messageId":"msg-00000000-0000-0000-0000-000000000001","nr":4,"text":"hi","sender":"bot"}"#;
    let event = decode_with(&recorded("message.created", 1, old), &steps).unwrap();
    let Event::Session(SessionEvent::MessageCreated(MessageCreated { seq, .. })) = event else {
        panic!("another event")
    };
    assert_eq!(seq, 4);
}

#[test]
fn a_field_that_a_newer_release_added_is_passed_over() {
    assert!(decode(&recorded("node.started", 1, r#"{"release":"9","new":1}"#)).is_ok());
}

#[test]
fn what_cannot_be_read_says_where_it_stands() {
    let message = |kind, schema, data| decode(&recorded(kind, schema, data)).unwrap_err().to_string();
    assert_eq!(message("no.such", 1, "{}"), "position 9: unknown event type `no.such`");
    assert_eq!(
        message("session.started", 2, "{}"),
        "position 9: `session.started` has schema 2, this release reads up to 1"
    );
    assert_eq!(
        message("key.revoked", 1, "{}"),
        "position 9: `key.revoked` does not decode: the data have another shape, line 1 column 2"
    );
}

#[test]
fn what_somebody_wrote_never_stands_in_an_error() {
    let written = "the-cardigan-is-teal";
    for data in [
        format!(r#"{{"messageId":"{written}","seq":1,"text":"hi","sender":"user"}}"#),
        format!(r#"{{"messageId":"m","seq":"{written}","text":"hi","sender":"user"}}"#),
        format!(r#"{{"messageId":"m","seq":1,"text":"hi","sender":"{written}"}}"#),
        format!(r#""{written}""#),
        format!(r#"{{"text": {written}"#),
        format!(r#"{{"text": "{written}"#),
    ] {
        let said = decode(&recorded("message.created", 1, &data)).unwrap_err();
        assert!(!said.to_string().contains(written), "{said}");
        assert!(!format!("{said:?}").contains(written), "{said:?}");
    }
}
