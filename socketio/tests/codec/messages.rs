//! Properties of Socket.IO packets: what clients write, what the server writes, and anything else.

use std::sync::Arc;

use amoiq_socketio::{
    engine::OutgoingPacket,
    socket::{OffsetWriter, OutgoingEvent, PacketBody, SocketPacket, encode_packet},
};
use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use super::{anatomy::Anatomy, checks::message, client, meaning::Meaning};

/// The text of a packet without the engine's digit.
fn message_of(packet: &OutgoingPacket) -> &str {
    packet.as_text().and_then(|text| text.strip_prefix('4')).expect("a message of the engine")
}

/// A namespace as written in a packet.
fn named(namespace: &str) -> &str {
    if namespace == "/" { "" } else { namespace }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_a_client_writes_is_read_as_it_was_meant((meaning, text) in client::packet()) {
        message::check(&text.as_str().into());
        prop_assert_eq!(Meaning::of(&text), Some(meaning));
    }

    #[test]
    fn a_damaged_packet_is_refused_or_can_be_written_again(
        text in client::damaged(client::packet().prop_map(|(_, text)| text)),
    ) {
        message::check(&text.into());
    }

    #[test]
    fn any_text_is_refused_or_can_be_written_again(text in any::<String>(), start in "[0-6]?(1-)?(/a,)?[0-9]?") {
        message::check(&format!("{start}{text}").into());
        message::check(&text.into());
    }

    #[test]
    fn the_first_argument_is_the_first_of_all((meaning, text) in client::event()) {
        let decoded = SocketPacket::decode(&text.into()).expect("an event");
        let PacketBody::Event(event) = decoded.packet.body else { panic!("not an event") };
        let args = meaning.value.expect("its arguments");
        prop_assert_eq!(event.first::<Value>().expect("JSON"), args.get(0).cloned());
    }

    #[test]
    fn an_outgoing_event_is_read_as_it_was_made(
        (namespace, id) in (client::namespace(), option::of(any::<u64>())),
        (name, argument) in (any::<String>(), client::value()),
        (offset, recovers) in (option::of(any::<u64>()), any::<bool>()),
    ) {
        let writer: OffsetWriter = Arc::new(|offset| format!("at-{offset}"));
        let event = OutgoingEvent::new(&name, &argument);
        let event = match offset {
            Some(offset) => event.at(offset, &writer),
            None => event,
        };
        let mut expected = vec![Value::from(name), argument];
        expected.extend(offset.filter(|_| recovers).map(|offset| Value::from(writer(offset))));
        // The second time the packet may come from the cache.
        for _ in 0..2 {
            let packets: Vec<_> = event.packets(&namespace, id, recovers).collect();
            prop_assert_eq!(packets.len(), 1);
            let read = Anatomy::of(message_of(&packets[0])).expect("a packet");
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            prop_assert_eq!((read.kind, read.count, read.namespace), ('2', "", named(&namespace)));
            prop_assert_eq!(read.id, id);
            prop_assert_eq!(read.value(), Some(Value::from(expected.clone())));
        }
    }

    #[test]
    fn arguments_are_sent_on_as_they_came_with_their_attachments(
        (namespace, id) in (client::namespace(), option::of(any::<u64>())),
        (name, args, pretty) in (any::<String>(), vec(client::value(), 0..4), any::<bool>()),
        attachments in vec(vec(any::<u8>(), 0..8).prop_map(Bytes::from), 0..4),
    ) {
        let write = if pretty { serde_json::to_string_pretty } else { serde_json::to_string };
        let event = OutgoingEvent::with_args(&name, &write(&args).expect("JSON"), attachments.clone());
        let packets: Vec<_> = event.packets(&namespace, id, false).collect();
        let read = Anatomy::of(message_of(&packets[0])).expect("a packet");
        let (kind, count) = match attachments.len() {
            0 => ('2', String::new()),
            count => ('5', count.to_string()),
        };
        prop_assert_eq!((read.kind, read.count, read.namespace), (kind, &*count, named(&namespace)));
        let expected: Vec<_> = std::iter::once(Value::from(name)).chain(args).collect();
        prop_assert_eq!(read.value(), Some(Value::from(expected)));
        let followed: Vec<_> = attachments.iter().map(|bytes| OutgoingPacket::binary(bytes)).collect();
        prop_assert_eq!(&packets[1..], followed);
    }

    #[test]
    fn answers_are_read_as_they_were_written(
        kind in prop::sample::select(vec!['0', '3', '4', '6']),
        (namespace, id, attachments) in (client::namespace(), any::<u64>(), 1..=10_usize),
        json in client::value(),
    ) {
        let id = matches!(kind, '3' | '6').then_some(id);
        let attachments = if kind == '6' { attachments } else { 0 };
        let text = encode_packet(kind, attachments, &namespace, id, &json.to_string());
        let read = Anatomy::of(text.strip_prefix('4').expect("a message of the engine")).expect("a packet");
        prop_assert_eq!((read.kind, read.namespace), (kind, named(&namespace)));
        prop_assert_eq!(read.count, if attachments > 0 { attachments.to_string() } else { String::new() });
        // A bare number would be read as an id; these packets never carry one.
        prop_assume!(!json.is_number());
        prop_assert_eq!(read.id, id.map(|id| id.to_string()).unwrap_or_default());
        prop_assert_eq!(read.value(), Some(json));
    }
}

#[test]
fn white_space_around_and_between_changes_nothing() {
    let plain = Meaning::of(r#"2["m",{"a":[1,2]},"x"]"#);
    assert!(plain.is_some());
    for text in [
        "2[\"m\",{\"a\":[1,2]},\"x\"]   \n",
        "2 \t[\"m\",{\"a\":[1,2]},\"x\"]",
        "2[\"m\"\n,\n{\"a\":[1,2]}\n,\n\"x\"\n]",
        "2 [ \"m\" , { \"a\" : [ 1 , 2 ] } , \"x\" ]        ",
    ] {
        assert_eq!(Meaning::of(text), plain, "{text:?}");
        let PacketBody::Event(event) = SocketPacket::decode(&text.into()).expect("an event").packet.body
        else {
            panic!("not an event: {text:?}")
        };
        assert_eq!(event.first::<Value>().expect("JSON"), Some(json!({ "a": [1, 2] })), "{text:?}");
    }
}

#[test]
fn an_event_without_arguments_has_none_however_it_is_written() {
    for text in ["2[\"m\"]", "2[\"m\"  ]", "2[\"m\"\n]\n"] {
        let decoded = SocketPacket::decode(&text.into()).expect("an event");
        let PacketBody::Event(event) = decoded.packet.body else { panic!("not an event") };
        assert_eq!((event.args().as_str(), event.first::<Value>().expect("JSON")), ("[]", None), "{text:?}");
    }
    let event = OutgoingEvent::with_args("m", " [ ] ", Vec::new());
    let packets: Vec<_> = event.packets("/", None, false).collect();
    let json = Anatomy::of(message_of(&packets[0])).expect("a packet").value();
    assert_eq!(json, Some(json!(["m"])));
}

#[test]
fn a_number_is_a_name_as_its_text_is() {
    assert_eq!(Meaning::of("2[1,\"x\"]"), Meaning::of("2[\"1\",\"x\"]"));
    assert_eq!(Meaning::of("2[-7]").expect("an event").name.as_deref(), Some("-7"));
}
