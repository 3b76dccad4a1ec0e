//! Carries out what changes an endpoint: commands to the tenant's actor. An endpoint is shown as it is
//! after its command, also when others came in between.

use amoiq_actors::webhooks::WebhookEndpoint;
use amoiq_events::{
    WebhookId,
    tenant::{ManagedBy, TenantCommand},
    webhook::{WebhookCommand, WebhookSecret, WebhookSettings},
};

use super::WebhookAdmin;
use crate::{
    access::tenants::{TenantService, previous_until},
    api::problem::Problem,
    webhooks::{DestinationPolicy, signature},
};

/// Makes and changes endpoints.
pub struct WebhookRegistrar {
    /// The way to every tenant.
    pub tenants: TenantService,
    /// Where deliveries may go.
    pub destinations: DestinationPolicy,
    /// `webhooks.endpoints_per_tenant`
    pub limit: usize,
    /// `webhooks.previous_secret_hours`
    pub previous_secret_hours: u32,
}

impl WebhookRegistrar {
    /// Makes an endpoint.
    ///
    /// # Errors
    /// [`Problem::WebhookLimit`], and when the store does not take it.
    pub async fn register<R>(
        &self,
        admin: &WebhookAdmin<R>,
        settings: WebhookSettings,
    ) -> Result<WebhookEndpoint, Problem> {
        let id = self.new_id()?;
        let (secret, limit) = (self.new_secret(), self.limit);
        let command = TenantCommand::RegisterWebhook { id: id.clone(), settings, secret, limit };
        self.execute(admin, &id, command).await
    }

    /// Does something to an endpoint that is there.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], and when the store does not take it.
    pub async fn command<R>(
        &self,
        admin: &WebhookAdmin<R>,
        id: &WebhookId,
        command: WebhookCommand,
    ) -> Result<WebhookEndpoint, Problem> {
        self.execute(admin, id, TenantCommand::Webhook(id.clone(), command)).await
    }

    /// Ends an endpoint for good.
    ///
    /// # Errors
    /// [`Problem::WebhookNotFound`], and when the store does not take it.
    pub async fn delete<R>(&self, admin: &WebhookAdmin<R>, id: &WebhookId) -> Result<(), Problem> {
        let command = TenantCommand::Webhook(id.clone(), WebhookCommand::Delete);
        self.tenants.change(&admin.0.principal.tenant_id, command, admin.0.cause.clone()).await?;
        Ok(())
    }

    /// An id that no endpoint had before.
    ///
    /// # Errors
    /// [`Problem::Internal`], never.
    pub fn new_id(&self) -> Result<WebhookId, Problem> {
        let id = format!("wh-{}", self.tenants.ambient.uuid());
        WebhookId::parse(&id).map_err(|_invalid| Problem::Internal)
    }

    /// A secret that nobody had before.
    #[must_use]
    pub fn new_secret(&self) -> WebhookSecret {
        signature::new_secret(&self.tenants.ambient)
    }

    /// Replaces an endpoint's secret. The one before signs beside it for a while, unless it leaked.
    #[must_use]
    pub fn rotation(&self, is_leaked: bool) -> WebhookCommand {
        let hours = if is_leaked { 0 } else { self.previous_secret_hours };
        let previous_until = previous_until(hours, &self.tenants.ambient);
        WebhookCommand::RotateSecret { secret: self.new_secret(), previous_until }
    }

    async fn execute<R>(
        &self,
        admin: &WebhookAdmin<R>,
        id: &WebhookId,
        command: TenantCommand,
    ) -> Result<WebhookEndpoint, Problem> {
        let tenant_id = &admin.0.principal.tenant_id;
        self.tenants.change(tenant_id, command, admin.0.cause.clone()).await?;
        let snapshot = self.tenants.registry.current();
        let tenant = snapshot.tenant(tenant_id).ok_or(Problem::TenantNotFound)?;
        let webhook = tenant.webhook(id).ok_or(Problem::WebhookNotFound)?;
        Ok(WebhookEndpoint { tenant: tenant_id.clone(), id: id.clone(), webhook: webhook.clone() })
    }
}

/// Lets only what was made by API or command line be changed.
///
/// # Errors
/// [`Problem::WebhookConfigured`].
pub fn check_changeable(endpoint: &WebhookEndpoint) -> Result<(), Problem> {
    match endpoint.webhook.source {
        ManagedBy::Api | ManagedBy::Operator => Ok(()),
        ManagedBy::Configuration | ManagedBy::Builtin => Err(Problem::WebhookConfigured),
    }
}
