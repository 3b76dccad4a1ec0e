//! Why a request is refused, in the protocol's own form: `{"code":n,"message":…}`.

use actix::MailboxError;
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::engine::{connection::PollingError, connection_limits::LimitReached};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum EngineError {
    #[error("Transport unknown")]
    UnknownTransport,
    #[error("Session ID unknown")]
    UnknownSid,
    #[error("Bad handshake method")]
    BadMethod,
    #[error("{0}")]
    BadRequest(&'static str),
    #[error(
        "A websocket needs `Connection: Upgrade` and `Upgrade: websocket`; a proxy may have left them out"
    )]
    NoUpgrade,
    #[error("The body must not be compressed")]
    Encoded,
    #[error("Unsupported protocol version: Engine.IO 4 is spoken here (socket.io-client 3 and newer)")]
    UnsupportedVersion,
    #[error("Payload too large")]
    TooLarge,
    #[error("Too many connections from this address")]
    AddressFull,
    #[error("Too many connections")]
    Full,
    #[error("The service stops")]
    Stopping,
}

impl EngineError {
    /// The protocol's number; the protocol has none for the last three.
    fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSid => 1,
            Self::BadMethod => 2,
            Self::BadRequest(_) | Self::NoUpgrade | Self::Encoded | Self::TooLarge => 3,
            Self::AddressFull | Self::Full | Self::Stopping => 4,
            Self::UnsupportedVersion => 5,
        }
    }
}

impl ResponseError for EngineError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::AddressFull => StatusCode::TOO_MANY_REQUESTS,
            Self::Full | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if matches!(self, Self::AddressFull | Self::Full | Self::Stopping) {
            response.insert_header((header::RETRY_AFTER, 5));
        }
        if matches!(self, Self::Stopping) {
            response.force_close();
        }
        response.json(json!({ "code": self.code(), "message": self.to_string() }))
    }
}

impl From<PollingError> for EngineError {
    fn from(PollingError(why): PollingError) -> Self {
        Self::BadRequest(why)
    }
}

impl From<LimitReached> for EngineError {
    fn from(limit: LimitReached) -> Self {
        match limit {
            LimitReached::Total => Self::Full,
            LimitReached::Address => Self::AddressFull,
        }
    }
}

impl From<MailboxError> for EngineError {
    /// The connection ended while the request was on its way to it.
    fn from(_: MailboxError) -> Self {
        Self::UnknownSid
    }
}
