//! The codec against another implementation: both read packets of clients and damaged packets alike, except for
//! [`DEVIATIONS`].

use amoiq_socketio::{
    engine::{EngineMessage, EnginePacket, OutgoingPacket, decode_payload, encode_payload},
    socket::OutgoingEvent,
};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use super::{
    client,
    deviations::{DEVIATIONS, Differs, Layer},
    meaning::Meaning,
    oxide, payloads,
};

/// Checks that each difference of a text is listed.
fn assert_listed(layer: Layer, text: &str, differences: &[Differs]) {
    for differs in differences {
        let is_listed = DEVIATIONS
            .iter()
            .any(|listed| listed.layer == layer && listed.differs == *differs && (listed.when)(text));
        assert!(is_listed, "a new deviation, {layer:?} {differs:?}: {text:?}");
    }
}

fn engine_differences(text: &str) -> Vec<Differs> {
    match (EnginePacket::decode_text(&text.into()).ok(), oxide::packet(text)) {
        (ours, None) => ours.map(|_| Differs::OnlyOurs).into_iter().collect(),
        (None, Some(_)) => vec![Differs::OnlyTheirs],
        (ours, Some(theirs)) if ours == theirs => Vec::new(),
        _ => vec![Differs::Value],
    }
}

/// How a body differs as a whole, apart from the differences of its packets.
fn payload_differences(body: &str) -> Vec<Differs> {
    let ours = decode_payload(Bytes::copy_from_slice(body.as_bytes())).ok();
    let ours: Option<Vec<_>> = ours.map(|packets| packets.into_iter().map(Some).collect());
    let theirs = oxide::payload(body);
    if ours == theirs {
        return Vec::new();
    }
    let mut parts: Vec<_> = body.split('\x1e').collect();
    let by_parts = parts.iter().any(|part| !engine_differences(part).is_empty());
    parts.iter().for_each(|part| assert_listed(Layer::Engine, part, &engine_differences(part)));
    let whole = if parts.pop() == Some("") { vec![Differs::OnlyTheirs] } else { Vec::new() };
    assert!(by_parts || !whole.is_empty(), "the packets agree and the body does not: {body:?}");
    whole
}

fn socket_differences(text: &str) -> Vec<Differs> {
    let (ours, theirs) = match (Meaning::of(text), oxide::message(text)) {
        (None, None) => return Vec::new(),
        (Some(_), None) => return vec![Differs::OnlyOurs],
        (None, Some(_)) => return vec![Differs::OnlyTheirs],
        (Some(ours), Some(theirs)) => (ours, theirs),
    };
    let fields = [
        (ours.kind != theirs.kind, Differs::Kind),
        (ours.namespace != theirs.namespace, Differs::Namespace),
        (ours.id != theirs.id, Differs::Id),
        (ours.name != theirs.name, Differs::Name),
        (ours.value != theirs.value, Differs::Value),
        (ours.attachments != theirs.attachments, Differs::Attachments),
    ];
    fields.into_iter().filter_map(|(is_different, differs)| is_different.then_some(differs)).collect()
}

#[test]
fn every_listed_deviation_exists() {
    for listed in &DEVIATIONS {
        let text = listed.example;
        assert!((listed.when)(text), "{text:?} is no example of: {}", listed.why);
        let differences = match listed.layer {
            Layer::Engine => engine_differences(text),
            Layer::Payload => payload_differences(text),
            Layer::Socket => socket_differences(text),
            Layer::Encoder => continue,
        };
        assert_eq!(differences, [listed.differs], "{text:?}: {}", listed.why);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn packets_of_clients_are_read_alike((_, text) in client::packet()) {
        assert_listed(Layer::Socket, &text, &socket_differences(&text));
    }

    #[test]
    fn damaged_packets_are_judged_alike(
        text in client::damaged(client::packet().prop_map(|(_, text)| text)),
    ) {
        assert_listed(Layer::Socket, &text, &socket_differences(&text));
    }

    #[test]
    fn any_text_is_judged_alike(text in "[0-6]?([0-9]{1,2}-)?(/a?,?)?[0-9]{0,2}[\\[{\"]?\\PC{0,6}[\\]}\"]?") {
        assert_listed(Layer::Socket, &text, &socket_differences(&text));
        assert_listed(Layer::Engine, &text, &engine_differences(&text));
    }

    #[test]
    fn bodies_of_clients_and_damaged_ones_are_judged_alike(
        body in prop_oneof![
            payloads::body(),
            client::damaged(payloads::body()),
            "([1-6]|b[A-Za-z0-9+/]{0,4}={0,2}|2probe|3probe|\x1e){0,5}",
        ],
    ) {
        assert_listed(Layer::Payload, &body, &payload_differences(&body));
    }

    #[test]
    fn what_one_writes_the_other_reads(messages in vec(prop_oneof![
        Just(EnginePacket::Close), Just(EnginePacket::Probe), Just(EnginePacket::Pong), Just(EnginePacket::Upgrade),
        "\\PC{0,20}".prop_map(|text| EnginePacket::Message(EngineMessage::Text(text.into()))),
        vec(any::<u8>(), 0..20).prop_map(|bytes| EnginePacket::Message(EngineMessage::Binary(bytes.into()))),
    ], 1..6)) {
        let theirs = messages.iter().map(oxide::written).collect::<Vec<_>>().join("\x1e");
        prop_assert_eq!(decode_payload(theirs.into()), Ok(messages.clone()));
        let said = |packet: &EnginePacket| match packet {
            EnginePacket::Message(data) => Some(OutgoingPacket::message(data)),
            EnginePacket::Close | EnginePacket::Probe | EnginePacket::Pong | EnginePacket::Upgrade => None,
        };
        let ours = encode_payload(&messages.iter().filter_map(said).collect::<Vec<_>>());
        let said: Vec<_> = messages.iter().filter(|packet| said(packet).is_some()).cloned().map(Some).collect();
        prop_assert_eq!(oxide::payload(&ours), Some(said));
    }

    #[test]
    fn events_are_written_alike(
        (namespace, id) in (client::namespace(), option::of(any::<u64>().prop_map(|id| id >> 1))),
        (name, argument) in (any::<String>(), client::value()),
    ) {
        let packet = OutgoingEvent::new(&name, &argument).packets(&namespace, id, false).next();
        let ours = packet.as_ref().and_then(OutgoingPacket::as_text).expect("a text");
        prop_assert_eq!(ours.strip_prefix('4'), Some(&*oxide::event(&namespace, id, &name, &argument)));
    }
}
