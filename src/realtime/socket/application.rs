//! What an application does on connect, on each event and when it looks again at who is connected.

use std::{future::Future, pin::Pin, rc::Rc, sync::Arc};

use actix::Recipient;
use serde_json::{Map, Value, json};

use super::{Emission, Event, protocol::Note, protocol::SocketId};
use crate::realtime::engine::{Handshake, link::Told};

/// Says, whenever it is asked, how long to wait before a socket's right to be here is looked at again.
pub type ReviewAfter = Box<dyn Fn() -> std::time::Duration>;

/// Something that takes a while, beside the connection and on its thread.
pub type Work<T> = Pin<Box<dyn Future<Output = T>>>;

/// A server of namespaces; one on each worker.
pub trait Application: Sized + 'static {
    /// What it knows of a socket. It is dropped when the socket leaves.
    type Socket: Unpin + 'static;

    /// The namespaces that there are.
    const NAMESPACES: &'static [&'static str];

    /// A client wants to take part.
    ///
    /// The error is what the client finds in `err.message` and `err.data`: it is final there, so it is
    /// for credentials that are really bad.
    fn connect(self: &Rc<Self>, connecting: Connecting)
    -> Work<Result<Accepted<Self::Socket>, ConnectError>>;

    /// What a client is told whose CONNECT packet has more than `limit_bytes`: nobody reads it.
    fn too_large(&self, limit_bytes: usize) -> Refusal {
        Refusal { message: "CONNECT is too large".to_owned(), data: json!({ "limitBytes": limit_bytes }) }
    }

    /// A socket sent an event. Its next one is handled when this one is done.
    fn event(self: &Rc<Self>, socket: Self::Socket, event: Event) -> Work<(Self::Socket, Outcome)>;

    /// What a socket is told whose events are too many.
    fn too_many(&self, retry_after_ms: u64) -> Value;

    /// Which of an application's two limits an event counts for.
    fn is_metered_apart(&self, _event: &Event) -> bool {
        false
    }

    /// Looks again whether a socket may stay.
    ///
    /// # Errors
    /// What the socket is told in an `error` event before its connection is closed.
    fn review(&self, _socket: &Self::Socket) -> Result<(), Value> {
        Ok(())
    }
}

/// A client that wants to take part.
pub struct Connecting {
    /// Where.
    pub namespace: &'static str,
    /// What it says to prove who it is.
    pub auth: Map<String, Value>,
    /// What it said when it opened its connection.
    pub handshake: Rc<Handshake>,
    /// Its number from now on.
    pub socket: SocketId,
    /// The way to it.
    pub recipient: Recipient<Told<Note>>,
}

/// A client that takes part.
pub struct Accepted<S> {
    /// What the application knows of it.
    pub socket: S,
    /// Under which name it may come back to what it misses; only for one that asked for it.
    pub pid: Option<String>,
    /// What it is sent first.
    pub first: Vec<Arc<Emission>>,
    /// What it has seen: an event of an offset up to this one is not sent again.
    pub seen: u64,
    /// After how long its right to be here is looked at again, over and over; nothing when time does not end it.
    pub review_after: Option<ReviewAfter>,
}

impl<S> Accepted<S> {
    /// Without anything but what the application knows of it.
    #[must_use]
    pub fn new(socket: S) -> Self {
        Self { socket, pid: None, first: Vec::new(), seen: 0, review_after: None }
    }
}

/// Why a client does not take part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// It may not: final for the client.
    Refused(Refusal),
    /// Not now: it is left without an answer for a while, then its connection is closed, and it comes back.
    NotNow,
}

/// What a client that may not take part finds in its `connect_error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `err.message`
    pub message: String,
    /// `err.data`
    pub data: Value,
}

/// What follows from an event.
#[derive(Default)]
pub struct Outcome {
    /// Events for this socket, before the acknowledgement.
    pub emit: Vec<Arc<Emission>>,
    /// The acknowledgement, if the event asks for one: a JSON array.
    pub ack: Option<String>,
    /// Binary of the acknowledgement.
    pub attachments: Vec<bytes::Bytes>,
}
