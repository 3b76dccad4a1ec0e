//! Why a tenant or a lane did not do what was asked, as the caller is told.

use std::future::Future;

use amoiq_actors::{
    tenants::TenantError,
    webhooks::{LaneRefusal, outbox::OutboxError},
};
use amoiq_events::{store::AppendError, tenant::TenantRefusal, webhook::WebhookRefusal};

use crate::{access::tenants::ChangeError, api::problem::Problem, http::send::PATIENCE};

/// Asks a lane, but not for ever.
///
/// # Errors
/// What the lane says; [`Problem::StoreUnavailable`] when it says nothing.
pub async fn ask<T>(asking: impl Future<Output = Result<T, LaneRefusal>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(Problem::StoreUnavailable),
    }
}

impl From<LaneRefusal> for Problem {
    fn from(refusal: LaneRefusal) -> Self {
        match refusal {
            LaneRefusal::NoEndpoint | LaneRefusal::Outbox(OutboxError::NoLane) => Self::WebhookNotFound,
            LaneRefusal::NoDelivery => Self::NotKept("no delivery of this message is kept"),
            LaneRefusal::Replaying => Self::ReplayRunning,
            LaneRefusal::InFlight => Self::DeliveryInFlight,
            LaneRefusal::Settled => Self::DeliverySettled,
            LaneRefusal::Full | LaneRefusal::NotStarted | LaneRefusal::Gone => Self::Overloaded,
            LaneRefusal::Outbox(error @ OutboxError::Database(_)) => {
                tracing::error!(%error, "webhooks' outbox does not answer");
                Self::StoreUnavailable
            }
            LaneRefusal::Outbox(error) => {
                tracing::error!(%error, "webhooks' outbox cannot be used");
                Self::Internal
            }
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let error = match error {
            ChangeError::Tenant(error) => error,
            ChangeError::Late => return Self::StoreUnavailable,
        };
        match error {
            TenantError::Refused(TenantRefusal::Webhook(WebhookRefusal::NotFound)) => Self::WebhookNotFound,
            TenantError::Refused(TenantRefusal::Webhook(WebhookRefusal::TooMany { limit })) => {
                Self::WebhookLimit { limit }
            }
            TenantError::Refused(TenantRefusal::Configured) => Self::WebhookConfigured,
            // So many others came in between.
            TenantError::Append(AppendError::Overloaded | AppendError::Conflict { .. }) => Self::Overloaded,
            TenantError::Append(AppendError::Unavailable(_)) => Self::StoreUnavailable,
            error => {
                tracing::error!(%error, "a tenant failed");
                Self::Internal
            }
        }
    }
}
