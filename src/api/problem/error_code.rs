//! The codes of errors, with their statuses: the catalogue.

use actix_web::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The code of an error, which clients decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(inline)]
pub enum ErrorCode {
    /// No credential, or an unknown, revoked or malformed key.
    InvalidApiKey,
    /// A token that does not verify, has expired or lacks a claim.
    InvalidJwtToken,
    /// No operator token, or another one.
    InvalidOperatorToken,
    /// A good credential that may not do this.
    Forbidden,
    /// A widget key on a site that its tenant does not name.
    OriginNotAllowed,
    /// Nothing says which tenant.
    MissingTenantId,
    /// A field is missing, too long or of the wrong type.
    ValidationFailed,
    /// The body is not JSON.
    MalformedJson,
    /// The client id was used before, for another text.
    IdempotencyMismatch,
    /// There is no such tenant.
    TenantNotFound,
    /// There is no such session.
    SessionNotFound,
    /// There is no such user.
    UserNotFound,
    /// There is no such webhook.
    WebhookNotFound,
    /// There is no such key.
    KeyNotFound,
    /// There is no such thing, or no such route.
    NotFound,
    /// The route has other methods; `Allow` names them.
    MethodNotAllowed,
    /// The configuration manages the webhook.
    WebhookConfigured,
    /// The tenant has as many webhooks as it may make.
    WebhookLimitReached,
    /// A replay of the webhook is running.
    ReplayRunning,
    /// The delivery is being tried.
    DeliveryInFlight,
    /// The delivery does not wait.
    DeliverySettled,
    /// There is such a tenant already.
    TenantExists,
    /// The configuration manages it.
    ManagedByConfiguration,
    /// The program manages it: it is the demo tenant's.
    ManagedByProgram,
    /// A rebuild of the projection is running.
    RebuildUnderway,
    /// The body is over the limit.
    PayloadTooLarge,
    /// The body is not JSON, or compressed.
    UnsupportedMediaType,
    /// Too many requests; see `Retry-After`.
    RateLimitExceeded,
    /// A defect, or damage.
    InternalError,
    /// The store does not take writes. The request may have been carried out.
    StoreUnavailable,
    /// A queue is full, or a projection is late. Nothing happened.
    Overloaded,
    /// Nobody knows whether the change was made.
    OutcomeUnknown,
    /// Not everything is erased yet; the service goes on with it.
    ErasureIncomplete,
}

impl ErrorCode {
    /// The code as it is sent.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.entry().0
    }

    /// The status that it comes with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.entry().1
    }

    fn entry(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidApiKey => ("INVALID_API_KEY", StatusCode::UNAUTHORIZED),
            Self::InvalidJwtToken => ("INVALID_JWT_TOKEN", StatusCode::UNAUTHORIZED),
            Self::InvalidOperatorToken => ("INVALID_OPERATOR_TOKEN", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("FORBIDDEN", StatusCode::FORBIDDEN),
            Self::OriginNotAllowed => ("ORIGIN_NOT_ALLOWED", StatusCode::FORBIDDEN),
            Self::MissingTenantId => ("MISSING_TENANT_ID", StatusCode::BAD_REQUEST),
            Self::ValidationFailed => ("VALIDATION_FAILED", StatusCode::BAD_REQUEST),
            Self::MalformedJson => ("MALFORMED_JSON", StatusCode::BAD_REQUEST),
            Self::IdempotencyMismatch => ("IDEMPOTENCY_MISMATCH", StatusCode::UNPROCESSABLE_ENTITY),
            Self::TenantNotFound => ("TENANT_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::SessionNotFound => ("SESSION_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::UserNotFound => ("USER_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::WebhookNotFound => ("WEBHOOK_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::KeyNotFound => ("KEY_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::NotFound => ("NOT_FOUND", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("METHOD_NOT_ALLOWED", StatusCode::METHOD_NOT_ALLOWED),
            Self::WebhookConfigured => ("WEBHOOK_CONFIGURED", StatusCode::CONFLICT),
            Self::WebhookLimitReached => ("WEBHOOK_LIMIT_REACHED", StatusCode::CONFLICT),
            Self::ReplayRunning => ("REPLAY_RUNNING", StatusCode::CONFLICT),
            Self::DeliveryInFlight => ("DELIVERY_IN_FLIGHT", StatusCode::CONFLICT),
            Self::DeliverySettled => ("DELIVERY_SETTLED", StatusCode::CONFLICT),
            Self::TenantExists => ("TENANT_EXISTS", StatusCode::CONFLICT),
            Self::ManagedByConfiguration => ("MANAGED_BY_CONFIGURATION", StatusCode::CONFLICT),
            Self::ManagedByProgram => ("MANAGED_BY_PROGRAM", StatusCode::CONFLICT),
            Self::RebuildUnderway => ("REBUILD_UNDERWAY", StatusCode::CONFLICT),
            Self::PayloadTooLarge => ("PAYLOAD_TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => ("UNSUPPORTED_MEDIA_TYPE", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::RateLimitExceeded => ("RATE_LIMIT_EXCEEDED", StatusCode::TOO_MANY_REQUESTS),
            Self::InternalError => ("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR),
            Self::StoreUnavailable => ("STORE_UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
            Self::Overloaded => ("OVERLOADED", StatusCode::SERVICE_UNAVAILABLE),
            Self::OutcomeUnknown => ("OUTCOME_UNKNOWN", StatusCode::SERVICE_UNAVAILABLE),
            Self::ErasureIncomplete => ("ERASURE_INCOMPLETE", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
