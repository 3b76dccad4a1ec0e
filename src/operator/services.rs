//! What the routes of the operator interface work with.

use std::{fmt::Display, sync::Arc};

use actix_web::web;
use amoiq_actors::{
    inbox::InboxView, projections::RebuildHandle, tenants::TenantSnapshot, webhooks::WebhooksHandle,
};
use amoiq_events::{
    TenantId,
    cluster::ClusterLeases,
    tenant::{Tenant, TenantCommand, TenantRefusal},
};

use super::{OperatorError, OperatorIdentity};
use crate::{
    access::{
        tenants::{DEMO_TENANT, TenantService},
        visitor_notes::VisitorNotes,
    },
    api::problem::Problem,
    http::webhooks::WebhookRegistrar,
};

/// What the routes of the operator interface work with.
pub struct OperatorServices {
    /// Changes tenants.
    pub tenants: TenantService,
    /// The rules for webhooks, which are those of the management API.
    pub registrar: web::Data<WebhookRegistrar>,
    /// The statuses of webhooks.
    pub webhooks: WebhooksHandle,
    /// The projections that can be rebuilt.
    pub rebuilds: Vec<RebuildHandle>,
    /// How far this node is.
    pub inbox: InboxView,
    /// What pages said of visitors who have not written.
    pub notes: VisitorNotes,
    /// The nodes of the log, and what each does.
    pub leases: Arc<dyn ClusterLeases>,
}

impl OperatorServices {
    /// Executes a command and returns the number of its events. Afterwards the change is in the log and in effect in every
    /// worker.
    ///
    /// # Errors
    /// An [`OperatorError`].
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

    /// A tenant, or `*`, which holds the keys for every tenant.
    ///
    /// # Errors
    /// When the tenant does not exist.
    pub fn tenant(&self, id: &TenantId) -> Result<Arc<Tenant>, OperatorError> {
        match self.tenants.registry.current().of_log(id) {
            Some(tenant) if tenant.settings().is_some() || id.is_every() => Ok(Arc::clone(tenant)),
            None if id.is_every() => Ok(Arc::default()),
            _ => Err(OperatorError::Tenant(TenantRefusal::NotFound)),
        }
    }

    /// The current snapshot of all tenants.
    #[must_use]
    pub fn snapshot(&self) -> Arc<TenantSnapshot> {
        Arc::clone(&self.tenants.registry.current())
    }

    /// Whether a tenant is served: the demo tenant is not while there is another one.
    #[must_use]
    pub fn serves(&self, id: &TenantId) -> bool {
        self.tenants.registry.current().tenant(id).is_some()
    }
}

/// The tenant in a path. `*` holds the keys for every tenant.
///
/// # Errors
/// When it is not a valid id.
pub fn tenant_id(text: &str) -> Result<TenantId, Problem> {
    path_id("tenant", TenantId::try_from(text.to_owned()))
}

/// An id in a path.
///
/// # Errors
/// When it is not a valid id; the error names the part of the path.
pub fn path_id<T, E: Display>(name: &'static str, parsed: Result<T, E>) -> Result<T, Problem> {
    parsed.map_err(|error| Problem::field(name, error.to_string()))
}

/// The id of a tenant that is to be created.
///
/// # Errors
/// When it is the id of the demo tenant, or an address with it would name another resource.
pub fn new_tenant_id(id: TenantId) -> Result<TenantId, OperatorError> {
    match id.as_str() {
        DEMO_TENANT => Err(OperatorError::Reserved),
        "." | ".." => {
            Err(Problem::field("id", "must not be `.` or `..`: no address could contain it").into())
        }
        _ => Ok(id),
    }
}
