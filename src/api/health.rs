//! The health of the service.

use schemars::JsonSchema;
use serde::Serialize;

/// The service is well.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HealthResponse {
    /// `ok` for a process that answers, `ready` for a service that takes requests.
    pub status: HealthStatus,
}

/// How the service is.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum HealthStatus {
    /// The process answers.
    Ok,
    /// The service takes requests.
    Ready,
    /// It does not.
    Unavailable,
}

/// The service does not take requests.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UnavailableResponse {
    /// Always `unavailable`.
    pub status: HealthStatus,
    /// Why.
    pub reasons: Vec<String>,
}
