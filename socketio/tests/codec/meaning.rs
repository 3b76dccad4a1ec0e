//! The meaning of a packet, in one form for the codec, another implementation, and the test that wrote it.

use amoiq_socketio::socket::{DecodedPacket, PacketBody, SocketPacket};
use serde_json::Value;

/// What a client can send over Socket.IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
}

/// A packet of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Meaning {
    pub kind: Kind,
    pub namespace: String,
    pub id: Option<u64>,
    /// The name of an event, if the reader found one.
    pub name: Option<String>,
    /// The credentials, or the arguments without the name; none when they do not fit into a value.
    pub value: Option<Value>,
    /// How many binary messages belong to it.
    pub attachments: usize,
}

impl Meaning {
    /// What the codec understands.
    pub fn of(text: &str) -> Option<Self> {
        let DecodedPacket { packet: SocketPacket { namespace, body }, attachments } =
            SocketPacket::decode(&text.into()).ok()?;
        let (kind, id, name, value) = match body {
            PacketBody::Connect(auth) => (Kind::Connect, None, None, Some(Value::Object(auth))),
            PacketBody::LargeConnect => (Kind::Connect, None, None, None),
            PacketBody::Disconnect => (Kind::Disconnect, None, None, None),
            PacketBody::Event(event) => {
                let args = serde_json::from_str(&event.args()).ok();
                (Kind::Event, event.id, Some(event.name.to_string()), args)
            }
            PacketBody::Ack { id, args, .. } => (Kind::Ack, Some(id), None, serde_json::from_str(&args).ok()),
        };
        Some(Self { kind, namespace: namespace.to_string(), id, name, value, attachments })
    }
}
