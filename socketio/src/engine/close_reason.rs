//! Why a connection ended.

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
    /// The client sent too many CONNECT packets.
    TooOften,
    /// The client reads more slowly than it is sent.
    TooSlow,
    /// The client did not say which namespace it wants.
    ConnectTimeout,
    /// The application closes it for good.
    Refused,
    /// The server has no room for it now.
    Overloaded,
    /// The server stops.
    ShuttingDown,
}

impl CloseReason {
    /// Every reason.
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

    /// What the client reads: the reason in the websocket's close frame.
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

    /// Whether the client still receives what waits for it.
    pub(super) fn delivers_queue(self) -> bool {
        matches!(self, Self::Refused | Self::ShuttingDown)
    }
}
