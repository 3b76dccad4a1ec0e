//! The catalogue of errors: what a caller reads when a request fails, and with which status.
//!
//! Every error has the form `{"error","code","details"}`, over HTTP and over sockets. A cause inside the service is
//! logged and never told.

use std::{borrow::Cow, collections::BTreeMap, future::Future, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod conversions;
mod error_code;

pub use error_code::ErrorCode;

/// What is wrong with each field of a request.
pub type FieldErrors = BTreeMap<&'static str, Cow<'static, str>>;

/// An error as clients read it, over HTTP and over sockets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorResponse {
    /// What clients decide by.
    pub code: ErrorCode,
    /// More about it; empty where there is nothing to add.
    pub details: ErrorDetails,
    /// A text for people.
    pub error: String,
}

/// More about an error.
// In alphabetical order: clients have always been sent the members in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorDetails {
    /// What is wrong with each field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// The limit that was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The largest body, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// The header or field that named the site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_by: Option<String>,
    /// The site that may not use the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Which limit was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// How long a client waits before it asks a service again that could not help, in seconds.
const RETRY_SECONDS: u64 = 1;

/// How long a client waits for the store before it is told that nobody knows.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits for work that needs the store, but not for ever.
///
/// # Errors
/// The work's own; [`Problem::StoreUnavailable`] when it does not end in time. It may be done all the same.
pub async fn in_time<T, E: Into<Problem>>(work: impl Future<Output = Result<T, E>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_elapsed) => Err(Problem::StoreUnavailable),
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No credential, or a key that opens nothing.
    #[error("Invalid API key")]
    InvalidApiKey,
    /// A token that does not verify.
    #[error("Invalid JWT token: {0}")]
    InvalidJwtToken(&'static str),
    /// A good credential that may not do this.
    #[error("Forbidden: {0}")]
    Forbidden(&'static str),
    /// A widget key on a site that its tenant does not name.
    #[error("This site may not use the widget key")]
    OriginNotAllowed {
        /// The site.
        origin: String,
        /// What named it.
        named_by: &'static str,
    },
    /// Nothing says which tenant.
    #[error("Tenant ID is required")]
    MissingTenantId,
    /// Fields that are missing, too long or of another type.
    #[error("Validation failed")]
    Validation(FieldErrors),
    /// The session holds as many events as it may.
    #[error("The session is full")]
    SessionFull {
        /// `limits.events_per_session`
        limit: u64,
    },
    /// The author used the client id before, for another text.
    #[error("The clientMessageId was used before, for another text")]
    IdempotencyMismatch,
    /// The body is not JSON.
    #[error("The body is not valid JSON: {0}")]
    MalformedJson(String),
    /// A key for every tenant, and a tenant that does not exist.
    #[error("Tenant not found")]
    TenantNotFound,
    /// Not in the caller's tenant.
    #[error("Session not found")]
    SessionNotFound,
    /// Not in the caller's tenant.
    #[error("User not found")]
    UserNotFound,
    /// Not in the caller's tenant.
    #[error("Webhook not found")]
    WebhookNotFound,
    /// No delivery of this message, or no replay, is kept.
    #[error("Not found: {0}")]
    NotKept(&'static str),
    /// The configuration manages the webhook.
    #[error("The webhook is managed by the configuration and is changed there")]
    WebhookConfigured,
    /// The tenant has as many endpoints as it may make.
    #[error("The tenant has {limit} webhooks already")]
    WebhookLimit {
        /// `webhooks.endpoints_per_tenant`
        limit: usize,
    },
    /// One replay of an endpoint at a time.
    #[error("A replay of this webhook is running")]
    ReplayRunning,
    /// A delivery that is being tried cannot be skipped.
    #[error("The delivery is being tried: skip it when that has failed")]
    DeliveryInFlight,
    /// A delivery that does not wait cannot be skipped.
    #[error("The delivery does not wait: it was taken, or has failed for good")]
    DeliverySettled,
    /// No such route.
    #[error("Not found")]
    NotFound,
    /// The route has other methods.
    #[error("Method not allowed")]
    MethodNotAllowed {
        /// Which, for the `Allow` header.
        allow: Cow<'static, str>,
    },
    /// The body is over the limit.
    #[error("The body is larger than {limit_bytes} bytes")]
    PayloadTooLarge {
        /// `limits.body_bytes`
        limit_bytes: usize,
    },
    /// The body is not declared as JSON.
    #[error("The content type must be application/json")]
    UnsupportedMediaType,
    /// The body is compressed.
    #[error("The body must not be compressed: no Content-Encoding other than identity")]
    UnsupportedEncoding,
    /// Too often.
    #[error("Rate limit exceeded")]
    RateLimited {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// A defect, or damage; logged where it was found.
    #[error("Internal server error")]
    Internal,
    /// The store does not take writes. What was asked may have happened.
    #[error("The store is unavailable; try again with the same clientMessageId")]
    StoreUnavailable,
    /// A queue is full or a projection is late. Nothing happened.
    #[error("The service is overloaded")]
    Overloaded,
}

impl Problem {
    /// One field and what is wrong with it.
    #[must_use]
    pub fn field(name: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Validation(FieldErrors::from([(name, reason.into())]))
    }

    /// The code that clients decide by.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidApiKey => ErrorCode::InvalidApiKey,
            Self::InvalidJwtToken(_) => ErrorCode::InvalidJwtToken,
            Self::Forbidden(_) => ErrorCode::Forbidden,
            Self::OriginNotAllowed { .. } => ErrorCode::OriginNotAllowed,
            Self::MissingTenantId => ErrorCode::MissingTenantId,
            Self::Validation(_) | Self::SessionFull { .. } => ErrorCode::ValidationFailed,
            Self::IdempotencyMismatch => ErrorCode::IdempotencyMismatch,
            Self::MalformedJson(_) => ErrorCode::MalformedJson,
            Self::TenantNotFound => ErrorCode::TenantNotFound,
            Self::SessionNotFound => ErrorCode::SessionNotFound,
            Self::UserNotFound => ErrorCode::UserNotFound,
            Self::WebhookNotFound => ErrorCode::WebhookNotFound,
            Self::WebhookConfigured => ErrorCode::WebhookConfigured,
            Self::WebhookLimit { .. } => ErrorCode::WebhookLimitReached,
            Self::ReplayRunning => ErrorCode::ReplayRunning,
            Self::DeliveryInFlight => ErrorCode::DeliveryInFlight,
            Self::DeliverySettled => ErrorCode::DeliverySettled,
            Self::NotFound | Self::NotKept(_) => ErrorCode::NotFound,
            Self::MethodNotAllowed { .. } => ErrorCode::MethodNotAllowed,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::UnsupportedMediaType | Self::UnsupportedEncoding => ErrorCode::UnsupportedMediaType,
            Self::RateLimited { .. } => ErrorCode::RateLimitExceeded,
            Self::Internal => ErrorCode::InternalError,
            Self::StoreUnavailable => ErrorCode::StoreUnavailable,
            Self::Overloaded => ErrorCode::Overloaded,
        }
    }

    fn details(&self) -> ErrorDetails {
        let mut details = ErrorDetails::default();
        match self {
            Self::Validation(fields) => {
                let texts = fields.iter().map(|(name, reason)| ((*name).to_owned(), reason.to_string()));
                details.fields = texts.collect();
            }
            Self::SessionFull { limit } => {
                details.reason = Some("session_full".to_owned());
                details.limit = Some(*limit);
            }
            Self::OriginNotAllowed { origin, named_by } => {
                details.origin = Some(origin.clone());
                details.named_by = Some((*named_by).to_owned());
            }
            Self::WebhookLimit { limit } => details.limit = u64::try_from(*limit).ok(),
            Self::PayloadTooLarge { limit_bytes } => details.limit_bytes = u64::try_from(*limit_bytes).ok(),
            Self::RateLimited { retry_after_ms } => details.retry_after_ms = Some(*retry_after_ms),
            _ => {}
        }
        details
    }

    /// `Retry-After`, in seconds, where trying again may help.
    fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } => Some(retry_after_ms.div_ceil(1_000).max(1)),
            Self::StoreUnavailable | Self::Overloaded => Some(RETRY_SECONDS),
            _ => None,
        }
    }

    /// The error as clients read it.
    #[must_use]
    pub fn response(&self) -> ErrorResponse {
        ErrorResponse { code: self.code(), details: self.details(), error: self.to_string() }
    }

    /// The same as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Texts, numbers and names can always be written.
        serde_json::to_value(self.response()).unwrap_or_default()
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.code().status());
        if let Some(seconds) = self.retry_after_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if let Self::MethodNotAllowed { allow } = self {
            response.insert_header((header::ALLOW, allow.as_ref()));
        }
        if matches!(self, Self::UnsupportedEncoding) {
            // What would be taken (RFC 9110, 15.5.16).
            response.insert_header((header::ACCEPT_ENCODING, "identity"));
        }
        response.json(self.response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_of_details_are_in_alphabetical_order() {
        let details = |problem: Problem| serde_json::to_string(&problem.details()).unwrap();
        assert_eq!(details(Problem::SessionFull { limit: 3 }), r#"{"limit":3,"reason":"session_full"}"#);
        let elsewhere =
            Problem::OriginNotAllowed { origin: "https://a.example".to_owned(), named_by: "Origin" };
        assert_eq!(details(elsewhere), r#"{"namedBy":"Origin","origin":"https://a.example"}"#);
    }
}
