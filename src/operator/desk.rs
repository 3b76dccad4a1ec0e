//! What the operator's routes work with: the way to every tenant, and the newest snapshot of all.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{Rebuilds, TenantRegistry, registry::Snapshot, tenant::TenantHandle};
use amoiq_events::{
    Ambient, EventStore, TenantId,
    tenant::{Tenant, TenantCommand, TenantRefusal},
};

use super::{Operator, Refusal};
use crate::{problem::Problem, tenants::DEMO_TENANT};

/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries changes to the tenants.
pub struct Desk {
    /// The log.
    pub store: Arc<dyn EventStore>,
    /// Time, and randomness for keys.
    pub ambient: Ambient,
    /// Every tenant.
    pub registry: Arc<TenantRegistry>,
    /// How long the secret before signs beside a new one: `webhooks.previous_secret_hours`.
    pub previous_secret: Duration,
    /// The projections that can be made again.
    pub rebuilds: Vec<Rebuilds>,
}

impl Desk {
    /// Carries a change out and answers with the number of events it took. When it is answered, the log
    /// has it and every worker goes by it.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn execute(
        &self,
        tenant: &TenantId,
        command: TenantCommand,
        operator: Operator,
    ) -> Result<usize, Refusal> {
        let (store, ambient) = (Arc::clone(&self.store), self.ambient.clone());
        let actor = TenantHandle::start(tenant.clone(), store, ambient, Arc::clone(&self.registry));
        let by = operator.0.actor.clone();
        let changing = tokio::time::timeout(PATIENCE, actor.execute(command, operator.0));
        let events = changing.await.map_err(|_elapsed| Problem::StoreUnavailable)??;
        if events > 0 {
            tracing::info!(tenant.id = %tenant, by = &*by, events, "an operator changed a tenant");
        }
        Ok(events)
    }

    /// A tenant, or the holder of keys for every tenant, as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn tenant(&self, id: &TenantId) -> Result<Arc<Tenant>, Refusal> {
        let snapshot = self.registry.current();
        let known = snapshot.all().find(|(known, _)| *known == id).map(|(_, tenant)| Arc::clone(tenant));
        match known {
            Some(tenant) if tenant.settings().is_some() || id.is_every() => Ok(tenant),
            None if id.is_every() => Ok(Arc::default()),
            _ => Err(Refusal::Tenant(TenantRefusal::NotFound)),
        }
    }

    /// Everything there is.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.registry.current())
    }

    /// Whether a tenant is served: the demo is not while there is another.
    #[must_use]
    pub fn serves(&self, id: &TenantId) -> bool {
        self.registry.current().tenant(id).is_some()
    }
}

/// The tenant that a path names; `*` holds the keys for every tenant.
///
/// # Errors
/// When it is no id.
pub fn tenant_id(text: &str) -> Result<TenantId, Problem> {
    TenantId::try_from(text.to_owned()).map_err(|error| Problem::field("tenant", error.to_string()))
}

/// The same for a tenant that is to be made.
///
/// # Errors
/// When it is no id, stands for every tenant, or is the demo's.
pub fn new_tenant_id(text: &str) -> Result<TenantId, Refusal> {
    let id = TenantId::parse(text).map_err(|error| Problem::field("id", error.to_string()))?;
    if id.as_str() == DEMO_TENANT { Err(Refusal::Reserved) } else { Ok(id) }
}
