//! Changes tenants: each command is carried out by the tenant's actor. A change that takes too long may happen all
//! the same.

use std::{sync::Arc, time::Duration};

use amoiq_actors::tenants::{TenantError, TenantHandle, TenantRegistry};
use amoiq_events::{
    Ambient, EventLog, TenantId,
    event::EventCause,
    store::AppendError,
    tenant::{TenantCommand, TenantRefusal},
    webhook::WebhookRefusal,
};

use crate::api::problem::Problem;

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Changes any tenant. Cheap to clone.
#[derive(Clone)]
pub struct TenantService {
    /// The log, which takes the events.
    pub store: Arc<dyn EventLog>,
    /// Ids, keys and secrets, time.
    pub ambient: Ambient,
    /// Where the changed tenant is published.
    pub registry: Arc<TenantRegistry>,
}

/// Why a change was not carried out, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum TenantChangeError {
    /// The tenant says so.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The tenant did not answer: the change may still happen.
    #[error("the tenant did not answer in time")]
    Late,
}

impl TenantService {
    /// Carries a change out and answers with the number of events it took. When it is answered, the log
    /// has it and every worker goes by it.
    ///
    /// # Errors
    /// A [`TenantChangeError`].
    pub async fn change(
        &self,
        id: &TenantId,
        command: TenantCommand,
        cause: EventCause,
    ) -> Result<usize, TenantChangeError> {
        let (store, registry) = (Arc::clone(&self.store), Arc::clone(&self.registry));
        let tenant = TenantHandle::start(id.clone(), store, self.ambient.clone(), registry);
        match tokio::time::timeout(PATIENCE, tenant.execute(command, cause)).await {
            Ok(carried_out) => Ok(carried_out?),
            Err(_elapsed) => Err(TenantChangeError::Late),
        }
    }
}

impl From<TenantChangeError> for Problem {
    fn from(error: TenantChangeError) -> Self {
        let error = match error {
            TenantChangeError::Tenant(error) => error,
            TenantChangeError::Late => return Self::StoreUnavailable,
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
