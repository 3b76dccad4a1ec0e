//! Why a request to the operator interface failed, in the form of every error.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use amoiq_actors::{erasure::EraseError, tenants::TenantError};
use amoiq_events::{store::AppendError, tenant::TenantRefusal, webhook::WebhookRefusal};

use crate::{
    access::tenants::TenantChangeError,
    api::problem::{ErrorCode, ErrorDetails, ErrorResponse, Problem},
};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A problem that any other client can have too.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The token is missing or wrong.
    #[error("Invalid operator token: the valid one is in operator.json in the data directory")]
    Token,
    /// The tenant refuses the command.
    #[error(transparent)]
    Tenant(TenantRefusal),
    /// Nobody knows whether the change happened.
    #[error(
        "the change may have happened, or may still happen: list, and revoke or delete what you do not recognise"
    )]
    Unknown,
    /// A rebuild is under way already.
    #[error("{0} is being rebuilt already: wait for it, or cancel it")]
    RebuildUnderway(&'static str),
    /// Something could not be erased everywhere.
    #[error("not everything is erased yet; the service continues: {0}")]
    Erasure(#[from] EraseError),
    /// The id belongs to the demo tenant.
    #[error("`demo` is the id of the built-in demo tenant: choose another id")]
    Reserved,
}

impl OperatorError {
    /// The code that clients decide by.
    fn code(&self) -> ErrorCode {
        match self {
            Self::Problem(problem) => problem.code(),
            Self::Token => ErrorCode::InvalidOperatorToken,
            Self::Unknown => ErrorCode::OutcomeUnknown,
            Self::RebuildUnderway(_) => ErrorCode::RebuildUnderway,
            Self::Erasure(_) => ErrorCode::ErasureIncomplete,
            Self::Reserved => ErrorCode::ValidationFailed,
            Self::Tenant(refusal) => match refusal {
                TenantRefusal::NotFound => ErrorCode::TenantNotFound,
                TenantRefusal::Exists => ErrorCode::TenantExists,
                TenantRefusal::Configured => ErrorCode::ManagedByConfiguration,
                TenantRefusal::Demo => ErrorCode::ManagedByProgram,
                TenantRefusal::KeyNotFound => ErrorCode::KeyNotFound,
                TenantRefusal::Webhook(WebhookRefusal::NotFound) => ErrorCode::WebhookNotFound,
                // Ids are generated here, and the number of an operator's webhooks is not limited: these are defects.
                TenantRefusal::KeyTaken
                | TenantRefusal::Webhook(WebhookRefusal::Taken | WebhookRefusal::TooMany { .. }) => {
                    ErrorCode::InternalError
                }
            },
        }
    }
}

impl ResponseError for OperatorError {
    fn status_code(&self) -> StatusCode {
        self.code().status()
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Problem(problem) = self {
            return problem.error_response();
        }
        let (code, error) = (self.code(), self.to_string());
        HttpResponse::build(code.status()).json(ErrorResponse {
            code,
            details: ErrorDetails::default(),
            error,
        })
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
            // Somebody else changed the tenant at the same time: nothing was changed here.
            TenantError::Append(AppendError::Overloaded | AppendError::Conflict { .. }) => {
                Problem::Overloaded.into()
            }
            error => {
                tracing::error!(%error, "the actor of a tenant failed");
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
            assert_eq!(refusal.code(), ErrorCode::OutcomeUnknown);
            let said = refusal.to_string();
            assert!(said.contains("list") && !said.contains("clientMessageId"), "{said}");
        }
    }
}
