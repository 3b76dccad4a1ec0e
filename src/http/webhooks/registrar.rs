//! Carries out what changes an endpoint: commands to the tenant's actor. An endpoint is shown as it is
//! after its command, also when others came in between.

use std::sync::Arc;

use amoiq_actors::{TenantRegistry, tenant::TenantHandle, webhooks::Endpoint};
use amoiq_events::{
    Ambient, EventStore, TenantId, WebhookId,
    event::Cause,
    tenant::{Source, TenantCommand},
    webhook::{WebhookCommand, WebhookSecret, WebhookSettings},
};

use super::Manager;
use crate::{
    http::send::PATIENCE,
    problem::Problem,
    webhooks::{Destinations, signature},
};

/// Makes and changes endpoints.
pub struct Registrar {
    /// Takes what happened.
    pub store: Arc<dyn EventStore>,
    /// Ids, secrets, time.
    pub ambient: Ambient,
    /// Where what follows is published.
    pub registry: Arc<TenantRegistry>,
    /// Where deliveries may go.
    pub destinations: Destinations,
    /// `webhooks.endpoints_per_tenant`
    pub limit: usize,
    /// `webhooks.previous_secret_hours`
    pub previous_secret_hours: u32,
}

impl Registrar {
    /// Makes an endpoint.
    ///
    /// # Errors
    /// [`Problem::WebhookLimit`], and when the store does not take it.
    pub async fn register(&self, manager: &Manager, settings: WebhookSettings) -> Result<Endpoint, Problem> {
        let id = format!("wh-{}", self.ambient.uuid());
        let id = WebhookId::parse(&id).map_err(|_invalid| Problem::Internal)?;
        let (secret, limit) = (self.secret(), self.limit);
        let command = TenantCommand::RegisterWebhook { id: id.clone(), settings, secret, limit };
        self.execute(manager, &id, command).await
    }

    /// Does something to an endpoint that is there.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], and when the store does not take it.
    pub async fn command(
        &self,
        manager: &Manager,
        id: &WebhookId,
        command: WebhookCommand,
    ) -> Result<Endpoint, Problem> {
        self.execute(manager, id, TenantCommand::Webhook(id.clone(), command)).await
    }

    /// Ends an endpoint for good.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], and when the store does not take it.
    pub async fn delete(&self, manager: &Manager, id: &WebhookId) -> Result<(), Problem> {
        let command = TenantCommand::Webhook(id.clone(), WebhookCommand::Delete);
        self.carry_out(&manager.principal.tenant_id, command, manager.cause.clone()).await
    }

    /// A secret that nobody had before.
    #[must_use]
    pub fn secret(&self) -> WebhookSecret {
        signature::new_secret(&self.ambient)
    }

    async fn execute(
        &self,
        manager: &Manager,
        id: &WebhookId,
        command: TenantCommand,
    ) -> Result<Endpoint, Problem> {
        let tenant_id = &manager.principal.tenant_id;
        self.carry_out(tenant_id, command, manager.cause.clone()).await?;
        let snapshot = self.registry.current();
        let tenant = snapshot.tenant(tenant_id).ok_or(Problem::TenantNotFound)?;
        let (id, webhook) =
            tenant.webhooks().find(|(known, _)| *known == id).ok_or(Problem::WebhookNotFound)?;
        Ok(Endpoint { tenant: tenant_id.clone(), id: id.clone(), webhook: webhook.clone() })
    }

    async fn carry_out(&self, id: &TenantId, command: TenantCommand, cause: Cause) -> Result<(), Problem> {
        let (store, registry) = (Arc::clone(&self.store), Arc::clone(&self.registry));
        let tenant = TenantHandle::start(id.clone(), store, self.ambient.clone(), registry);
        match tokio::time::timeout(PATIENCE, tenant.execute(command, cause)).await {
            Ok(carried_out) => Ok(carried_out.map(drop)?),
            Err(_elapsed) => Err(Problem::StoreUnavailable),
        }
    }
}

/// Lets only what was made by API or command line be changed.
///
/// # Errors
/// [`Problem::WebhookConfigured`].
pub fn check_changeable(endpoint: &Endpoint) -> Result<(), Problem> {
    match endpoint.webhook.source {
        Source::Api | Source::Operator => Ok(()),
        Source::Configuration | Source::Builtin => Err(Problem::WebhookConfigured),
    }
}
