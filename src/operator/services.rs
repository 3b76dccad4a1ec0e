//! What the operator's routes work with: the way to every tenant, and the newest snapshot of all.

use std::sync::Arc;

use actix_web::web;
use amoiq_actors::{projections::RebuildHandle, tenants::TenantSnapshot, webhooks::WebhooksHandle};
use amoiq_events::{
    TenantId,
    tenant::{Tenant, TenantCommand, TenantRefusal},
};

use super::{OperatorError, OperatorIdentity};
use crate::{
    access::tenants::{DEMO_TENANT, TenantService},
    api::problem::Problem,
    http::webhooks::WebhookRegistrar,
};

/// Carries changes to the tenants.
pub struct OperatorServices {
    /// The way to every tenant.
    pub tenants: TenantService,
    /// What an endpoint may be: the same as one that is made by API.
    pub registrar: web::Data<WebhookRegistrar>,
    /// How endpoints are doing.
    pub webhooks: WebhooksHandle,
    /// The projections that can be made again.
    pub rebuilds: Vec<RebuildHandle>,
}

impl OperatorServices {
    /// Carries a change out and answers with the number of events it took. When it is answered, the log
    /// has it and every worker goes by it.
    ///
    /// # Errors
    /// A [`OperatorError`].
    pub async fn execute(
        &self,
        tenant: &TenantId,
        command: TenantCommand,
        operator: OperatorIdentity,
    ) -> Result<usize, OperatorError> {
        let by = operator.0.actor.clone();
        let events = self.tenants.change(tenant, command, operator.0).await?;
        if events > 0 {
            tracing::info!(tenant.id = %tenant, by = &*by, events, "an operator changed a tenant");
        }
        Ok(events)
    }

    /// A tenant, or the holder of keys for every tenant, as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn tenant(&self, id: &TenantId) -> Result<Arc<Tenant>, OperatorError> {
        match self.tenants.registry.current().of_log(id) {
            Some(tenant) if tenant.settings().is_some() || id.is_every() => Ok(Arc::clone(tenant)),
            None if id.is_every() => Ok(Arc::default()),
            _ => Err(OperatorError::Tenant(TenantRefusal::NotFound)),
        }
    }

    /// Everything there is.
    #[must_use]
    pub fn snapshot(&self) -> Arc<TenantSnapshot> {
        Arc::clone(&self.tenants.registry.current())
    }

    /// Whether a tenant is served: the demo is not while there is another.
    #[must_use]
    pub fn serves(&self, id: &TenantId) -> bool {
        self.tenants.registry.current().tenant(id).is_some()
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
/// When it is no id, stands for every tenant, is the demo's, or means another place in an address.
pub fn new_tenant_id(text: &str) -> Result<TenantId, OperatorError> {
    let id = TenantId::parse(text).map_err(|error| Problem::field("id", error.to_string()))?;
    match id.as_str() {
        DEMO_TENANT => Err(OperatorError::Reserved),
        "." | ".." => Err(Problem::field("id", "must not be `.` or `..`: no address could name it").into()),
        _ => Ok(id),
    }
}
