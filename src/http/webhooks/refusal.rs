//! Why a tenant or a lane did not do what was asked, as the caller is told.

use std::future::Future;

use amoiq_actors::{
    tenants::TenantError,
    webhooks::{LaneError, delivery_store::DeliveryStoreError},
};
use amoiq_events::{store::AppendError, tenant::TenantRefusal, webhook::WebhookRefusal};

use crate::{access::tenants::ChangeError, api::problem::Problem, http::send::PATIENCE};

/// Asks a lane, but not for ever.
///
/// # Errors
/// What the lane says; [`Problem::StoreUnavailable`] when it says nothing.
pub async fn ask<T>(asking: impl Future<Output = Result<T, LaneError>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(Problem::StoreUnavailable),
    }
}

impl From<LaneError> for Problem {
    fn from(refusal: LaneError) -> Self {
        match refusal {
            LaneError::NoEndpoint | LaneError::Store(DeliveryStoreError::NoLane) => Self::WebhookNotFound,
            LaneError::NoDelivery => Self::NotKept("no delivery of this message is kept"),
            LaneError::Replaying => Self::ReplayRunning,
            LaneError::InFlight => Self::DeliveryInFlight,
            LaneError::Settled => Self::DeliverySettled,
            LaneError::Full | LaneError::NotStarted | LaneError::Late | LaneError::Gone => Self::Overloaded,
            LaneError::Store(error @ DeliveryStoreError::Database(_)) => {
                tracing::error!(%error, "webhooks' outbox does not answer");
                Self::StoreUnavailable
            }
            LaneError::Store(error) => {
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
