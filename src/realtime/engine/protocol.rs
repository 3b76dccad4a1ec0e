//! What is spoken over a connection.

use super::{Data, Link};

/// Speaks over one connection. Its methods run in the connection's actor, one at a time, and must not
/// block; what takes longer is handed to [`Link::run`].
pub trait Protocol: Sized + Unpin + 'static {
    /// What others tell this connection.
    type Note: Send + 'static;

    /// The connection is open.
    fn opened(&mut self, link: &mut Link<'_, Self>);

    /// A message came.
    fn received(&mut self, data: Data, link: &mut Link<'_, Self>);

    /// Somebody told this connection something.
    fn noted(&mut self, note: Self::Note, link: &mut Link<'_, Self>);

    /// The connection is over; nothing can be sent any more.
    fn closed(&mut self, reason: CloseReason, link: &mut Link<'_, Self>);

    /// Whether messages should wait: the transport is not read until this is false again.
    fn is_busy(&self) -> bool {
        false
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client said so, or closed its transport in order.
    ClientLeft,
    /// The transport broke.
    TransportLost,
    /// The client did not answer a ping.
    PingTimeout,
    /// The client sent what no client may send.
    Malformed,
    /// The client sent more than it may.
    TooLarge,
    /// The client asked to be let in too often.
    TooOften,
    /// The client reads slower than there is to read.
    TooSlow,
    /// The client did not say which namespace it wants.
    ConnectTimeout,
    /// The application does not want it any more.
    Refused,
    /// The service cannot take it now.
    Overloaded,
    /// The service stops.
    ShuttingDown,
}

impl CloseReason {
    /// Every reason there is.
    pub const ALL: [Self; 11] = [
        Self::ClientLeft,
        Self::TransportLost,
        Self::PingTimeout,
        Self::Malformed,
        Self::TooLarge,
        Self::TooOften,
        Self::TooSlow,
        Self::ConnectTimeout,
        Self::Refused,
        Self::Overloaded,
        Self::ShuttingDown,
    ];

    /// What the client is told: the reason in the websocket's close frame.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::ClientLeft | Self::TransportLost | Self::Refused => "",
            Self::PingTimeout => "No answer to a ping in time",
            Self::Malformed => "Not a packet that a client may send",
            Self::TooLarge => "A packet is larger than maxPayload",
            Self::TooOften => "Too many CONNECT packets on one connection",
            Self::TooSlow => "The client reads more slowly than it is sent",
            Self::ConnectTimeout => "No CONNECT packet in time",
            Self::Overloaded => "Overloaded: come back later",
            Self::ShuttingDown => "The service stops: come back",
        }
    }

    /// The name in metrics and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::TransportLost => "transport_lost",
            Self::PingTimeout => "ping_timeout",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::TooOften => "too_often",
            Self::TooSlow => "too_slow",
            Self::ConnectTimeout => "connect_timeout",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
        }
    }
}
