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
    /// It does for a few seconds more, and then it stops.
    Draining,
}

/// The service does not take requests, or will soon take none.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UnavailableResponse {
    /// `unavailable`, or `draining` for a service that takes requests until it stops, in a few seconds.
    pub status: HealthStatus,
    /// Why.
    pub reasons: Vec<String>,
}
