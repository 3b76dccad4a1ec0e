//! Why a request of the engine is refused, in the protocol's own form: `{"code":n,"message":…}`.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use super::{polling::BadRequest, sessions::Refusal};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
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

impl Refused {
    /// The protocol's own number; those of the last ones are this server's.
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

impl ResponseError for Refused {
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

impl From<BadRequest> for Refused {
    fn from(BadRequest(why): BadRequest) -> Self {
        Self::BadRequest(why)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Total => Self::Full,
            Refusal::Address => Self::AddressFull,
        }
    }
}
