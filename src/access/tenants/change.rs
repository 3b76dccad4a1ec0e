//! The way from a request to a tenant that it changes: one command, carried out by the tenant's actor, and not
//! waited for without end. What is given up may happen all the same.

use std::{sync::Arc, time::Duration};

use amoiq_actors::tenants::{TenantError, TenantHandle, TenantRegistry};
use amoiq_events::{Ambient, EventStore, TenantId, event::EventCause, tenant::TenantCommand};

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to every tenant. Cheap to clone.
#[derive(Clone)]
pub struct Tenants {
    /// Takes what happened.
    pub store: Arc<dyn EventStore>,
    /// Ids, keys and secrets, time.
    pub ambient: Ambient,
    /// Where what follows is published.
    pub registry: Arc<TenantRegistry>,
}

/// Why a change was not carried out, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The tenant says so.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// The tenant says nothing: the change may happen yet.
    #[error("the tenant did not answer in time")]
    Late,
}

impl Tenants {
    /// Carries a change out and answers with the number of events it took. When it is answered, the log
    /// has it and every worker goes by it.
    ///
    /// # Errors
    /// A [`ChangeError`].
    pub async fn change(
        &self,
        id: &TenantId,
        command: TenantCommand,
        cause: EventCause,
    ) -> Result<usize, ChangeError> {
        let (store, registry) = (Arc::clone(&self.store), Arc::clone(&self.registry));
        let tenant = TenantHandle::start(id.clone(), store, self.ambient.clone(), registry);
        match tokio::time::timeout(PATIENCE, tenant.execute(command, cause)).await {
            Ok(carried_out) => Ok(carried_out?),
            Err(_elapsed) => Err(ChangeError::Late),
        }
    }
}
