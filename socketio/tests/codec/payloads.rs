//! Properties of Engine.IO packets and polling payloads.

use amoiq_socketio::engine::{
    EngineMessage, EnginePacket, MalformedEnginePacket, OutgoingPacket, decode_payload, encode_payload,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::{checks::polling_payload, client};

/// Text that may stand in a payload: what goes over the wire is JSON, which escapes the separator.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        client::packet().prop_map(|(_, text)| text.replace('\x1e', "")),
        any::<String>().prop_map(|text| text.replace('\x1e', "")),
    ]
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

/// A packet, and how a client writes it.
fn written() -> impl Strategy<Value = (EnginePacket, String)> {
    prop_oneof![
        1 => Just((EnginePacket::Close, "1".to_owned())),
        1 => Just((EnginePacket::Probe, "2probe".to_owned())),
        1 => Just((EnginePacket::Pong, "3".to_owned())),
        1 => Just((EnginePacket::Upgrade, "5".to_owned())),
        4 => text().prop_map(|text| (EnginePacket::Message(EngineMessage::Text(text.as_str().into())), format!("4{text}"))),
        2 => binary().prop_map(|bytes| {
            let encoded = format!("b{}", BASE64.encode(&bytes));
            (EnginePacket::Message(EngineMessage::Binary(bytes)), encoded)
        }),
    ]
}

/// A body as a client writes it.
pub fn body() -> impl Strategy<Value = String> {
    vec(written(), 1..6).prop_map(|parts| joined(&parts))
}

fn joined(parts: &[(EnginePacket, String)]) -> String {
    parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("\x1e")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_a_client_writes_is_read_alone_and_together(parts in vec(written(), 1..6)) {
        let packets: Vec<_> = parts.iter().map(|(packet, _)| packet.clone()).collect();
        for (packet, part) in &parts {
            prop_assert_eq!(EnginePacket::decode_text(&part.as_str().into()), Ok(packet.clone()));
        }
        let body = joined(&parts);
        polling_payload::check(body.as_bytes());
        prop_assert_eq!(decode_payload(body.into()), Ok(packets));
    }

    #[test]
    fn packets_of_a_payload_can_be_separated_again(
        messages in vec(prop_oneof![
            text().prop_map(|text| EngineMessage::Text(text.into())),
            binary().prop_map(EngineMessage::Binary),
        ], 1..6),
    ) {
        let packets: Vec<_> = messages.iter().map(OutgoingPacket::message).collect();
        let body = encode_payload(&packets);
        let read: Vec<_> = body.split('\x1e').map(|part| match part.strip_prefix('b') {
            Some(encoded) => EngineMessage::Binary(BASE64.decode(encoded).expect("base64").into()),
            None => EngineMessage::Text(part.strip_prefix('4').expect("a message").into()),
        }).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn a_damaged_body_is_refused_for_a_reason(body in client::damaged(body())) {
        polling_payload::check(body.as_bytes());
    }

    #[test]
    fn any_body_is_decoded_whole_or_refused(bytes in vec(any::<u8>(), 0..60), text in any::<String>()) {
        polling_payload::check(&bytes);
        polling_payload::check(text.as_bytes());
    }

    #[test]
    fn one_malformed_packet_makes_a_body_malformed(parts in vec(written(), 1..6), at in any::<prop::sample::Index>()) {
        let mut parts: Vec<_> = parts.into_iter().map(|(_, part)| part).collect();
        parts.insert(at.index(parts.len() + 1), "2".to_owned());
        prop_assert_eq!(decode_payload(parts.join("\x1e").into()), Err(MalformedEnginePacket));
    }
}

#[test]
fn a_body_has_at_most_ten_thousand_packets() {
    let body = |packets: usize| Bytes::from(vec!["3"; packets].join("\x1e"));
    assert_eq!(decode_payload(body(10_000)).map(|packets| packets.len()), Ok(10_000));
    assert_eq!(decode_payload(body(10_001)), Err(MalformedEnginePacket));
}

#[test]
fn a_client_that_forces_base64_is_understood_in_frames_too() {
    let sent = EnginePacket::decode_text(&"bAQID".into());
    assert_eq!(sent, Ok(EnginePacket::Message(EngineMessage::Binary(Bytes::from_static(&[1, 2, 3])))));
}
