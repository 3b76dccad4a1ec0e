//! Why an operator's request was not carried out, in the form that every error has.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use amoiq_actors::{erasure::EraseError, tenants::TenantError};
use amoiq_events::{store::AppendError, tenant::TenantRefusal, webhook::WebhookRefusal};
use serde_json::json;

use crate::{access::tenants::TenantChangeError, api::problem::Problem};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// As for every other client.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The token is absent or another one.
    #[error("Invalid operator token: it stands in operator.json in the data directory")]
    Token,
    /// The tenant says no.
    #[error(transparent)]
    Tenant(TenantRefusal),
    /// Nobody can say whether it happened.
    #[error("it may have happened, now or in a moment: list, and revoke or delete what you do not know")]
    Unknown,
    /// A rebuild is under way.
    #[error("{0} is being rebuilt already: wait for it, or cancel it")]
    Underway(&'static str),
    /// Somebody could not be erased everywhere.
    #[error("not everything is erased yet; the service goes on with it: {0}")]
    Erasure(#[from] EraseError),
    /// The id is the demo tenant's.
    #[error("`demo` is the tenant that comes with the program: choose another id")]
    Reserved,
}

impl OperatorError {
    /// The catalogue.
    fn entry(&self) -> (&'static str, StatusCode) {
        match self {
            Self::Problem(problem) => (problem.code(), problem.status_code()),
            Self::Token => ("INVALID_OPERATOR_TOKEN", StatusCode::UNAUTHORIZED),
            Self::Unknown => ("OUTCOME_UNKNOWN", StatusCode::SERVICE_UNAVAILABLE),
            Self::Underway(_) => ("REBUILD_UNDERWAY", StatusCode::CONFLICT),
            Self::Erasure(_) => ("ERASURE_INCOMPLETE", StatusCode::SERVICE_UNAVAILABLE),
            Self::Reserved => ("VALIDATION_FAILED", StatusCode::BAD_REQUEST),
            Self::Tenant(refusal) => match refusal {
                TenantRefusal::NotFound => ("TENANT_NOT_FOUND", StatusCode::NOT_FOUND),
                TenantRefusal::Exists => ("TENANT_EXISTS", StatusCode::CONFLICT),
                TenantRefusal::Configured => ("MANAGED_BY_CONFIGURATION", StatusCode::CONFLICT),
                TenantRefusal::Demo => ("MANAGED_BY_PROGRAM", StatusCode::CONFLICT),
                TenantRefusal::KeyNotFound => ("KEY_NOT_FOUND", StatusCode::NOT_FOUND),
                TenantRefusal::Webhook(WebhookRefusal::NotFound) => {
                    ("WEBHOOK_NOT_FOUND", StatusCode::NOT_FOUND)
                }
                // Ids are made here, and operators make as many endpoints as they want: defects.
                TenantRefusal::KeyTaken
                | TenantRefusal::Webhook(WebhookRefusal::Taken | WebhookRefusal::TooMany { .. }) => {
                    (Problem::Internal.code(), StatusCode::INTERNAL_SERVER_ERROR)
                }
            },
        }
    }
}

impl ResponseError for OperatorError {
    fn status_code(&self) -> StatusCode {
        self.entry().1
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Problem(problem) = self {
            return problem.error_response();
        }
        let (code, status) = self.entry();
        HttpResponse::build(status).json(json!({ "error": self.to_string(), "code": code, "details": {} }))
    }
}

impl From<TenantChangeError> for OperatorError {
    fn from(error: TenantChangeError) -> Self {
        let error = match error {
            TenantChangeError::Tenant(error) => error,
            TenantChangeError::Late => return Self::Unknown,
        };
        match error {
            TenantError::Refused(refusal) => Self::Tenant(refusal),
            TenantError::Append(AppendError::Unavailable(_)) => Self::Unknown,
            // Somebody else changed the tenant at the same time: nothing happened.
            TenantError::Append(AppendError::Overloaded | AppendError::Conflict { .. }) => {
                Problem::Overloaded.into()
            }
            error => {
                tracing::error!(%error, "a tenant failed");
                Problem::Internal.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_know_whether_it_happened_is_told_to_look() {
        let unsaid = AppendError::Unavailable("the disk is gone".to_owned());
        for error in [TenantChangeError::Late, TenantError::Append(unsaid).into()] {
            let refusal = OperatorError::from(error);
            assert_eq!(refusal.entry(), ("OUTCOME_UNKNOWN", StatusCode::SERVICE_UNAVAILABLE));
            let said = refusal.to_string();
            assert!(said.contains("list") && !said.contains("clientMessageId"), "{said}");
        }
    }
}
