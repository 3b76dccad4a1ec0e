//! What an application implements: who may connect, what each event does, and who may stay.

use std::{future::Future, pin::Pin, rc::Rc, sync::Arc};

use actix::Recipient;
use serde_json::{Map, Value, json};

use super::{ClientEvent, OutgoingEvent, SocketNotice, SocketOutlet};
use crate::engine::{ClientHandshake, ConnectionNotice};

/// How long to wait before a socket's rights are checked again; asked after every check.
pub type ReviewInterval = Box<dyn Fn() -> std::time::Duration>;

/// Work on the thread of the connection that does not block it.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// A server of namespaces; each worker has one.
pub trait Application: Sized + 'static {
    /// What the application knows of a socket. Dropped when the socket leaves.
    type Socket: Unpin + 'static;

    /// The existing namespaces.
    const NAMESPACES: &'static [&'static str];

    /// A client wants to connect to a namespace.
    ///
    /// The client finds the error in `err.message` and `err.data` and takes it as final, so [`ConnectError::Refused`]
    /// is for credentials that will not become valid.
    fn connect(
        self: &Rc<Self>,
        request: ConnectRequest,
    ) -> LocalFuture<Result<AcceptedSocket<Self::Socket>, ConnectError>>;

    /// The refusal of a CONNECT packet with more than `limit_bytes`, which nobody reads.
    fn too_large(&self, limit_bytes: usize) -> ConnectRefusal {
        ConnectRefusal {
            message: "CONNECT is too large".to_owned(),
            data: json!({ "limitBytes": limit_bytes }),
        }
    }

    /// Handles an event of a socket. The socket's next event waits until this one is done.
    fn event(
        self: &Rc<Self>,
        socket: Self::Socket,
        event: ClientEvent,
    ) -> LocalFuture<(Self::Socket, EventOutcome)>;

    /// The error for a socket that sends events too fast.
    fn too_many(&self, retry_after_ms: u64) -> Value;

    /// Whether an event counts for the second of a socket's two rates instead of the first.
    fn is_metered_apart(&self, _event: &ClientEvent) -> bool {
        false
    }

    /// Checks again whether a socket may stay.
    ///
    /// # Errors
    /// What the socket gets in an `error` event before its connection is closed.
    fn review(&self, _socket: &Self::Socket) -> Result<(), Value> {
        Ok(())
    }
}

/// A client that wants to connect to a namespace.
pub struct ConnectRequest {
    /// The namespace.
    pub namespace: &'static str,
    /// The client's credentials.
    pub auth: Map<String, Value>,
    /// What it said when it opened its connection.
    pub handshake: Rc<ClientHandshake>,
    /// The sending side of the new socket, which may join rooms.
    pub outlet: Rc<SocketOutlet>,
    /// Where notices to it go.
    pub recipient: Recipient<ConnectionNotice<SocketNotice>>,
}

/// A socket that the application accepts.
pub struct AcceptedSocket<S> {
    /// What the application knows of it.
    pub socket: S,
    /// The id under which it may come back for missed events; only for a socket that asked for it.
    pub pid: Option<String>,
    /// The events that it gets first.
    pub first_events: Vec<Arc<OutgoingEvent>>,
    /// The last offset that it has seen: events up to this one are not sent again.
    pub seen_offset: u64,
    /// When its rights are checked again, over and over; none if time does not end them.
    pub review_interval: Option<ReviewInterval>,
}

impl<S> AcceptedSocket<S> {
    /// Accepts a socket without any options.
    #[must_use]
    pub fn new(socket: S) -> Self {
        Self { socket, pid: None, first_events: Vec::new(), seen_offset: 0, review_interval: None }
    }
}

/// Why a client cannot connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectError {
    /// It may not: final for the client.
    Refused(ConnectRefusal),
    /// Not now: the client gets no answer for a while, then its connection closes, and it reconnects.
    NotNow,
}

/// What a refused client finds in its `connect_error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRefusal {
    /// `err.message`
    pub message: String,
    /// `err.data`
    pub data: Value,
}

/// What follows from an event.
#[derive(Default)]
pub struct EventOutcome {
    /// Events for the same socket, sent before the acknowledgement.
    pub emit: Vec<Arc<OutgoingEvent>>,
    /// The acknowledgement, if the event asks for one: a JSON array.
    pub ack: Option<String>,
    /// Binary for the placeholders of the acknowledgement.
    pub attachments: Vec<bytes::Bytes>,
}
