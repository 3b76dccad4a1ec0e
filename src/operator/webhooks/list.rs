//! `GET /operator/webhooks` and `GET /operator/tenants/{tenant}/webhooks`: webhooks, and how their deliveries are getting
//! on.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::web;
use amoiq_actors::webhooks::{LaneStatus, WebhookEndpoint};
use amoiq_events::{TenantId, WebhookId, tenant::Tenant};

use super::super::{OperatorError, OperatorServices, services};
use crate::api::webhooks::{
    OperatorWebhookResponse, OperatorWebhookWithStatusResponse, OperatorWebhooksResponse,
    WebhookStatusResponse,
};

/// How long the list waits for the lanes. Afterwards it is shown without their statuses.
const TIMEOUT: Duration = Duration::from_secs(5);

type LaneStatuses = HashMap<(TenantId, WebhookId), WebhookStatusResponse>;

/// `GET /operator/webhooks`: the webhooks of every tenant.
pub async fn all(services: web::Data<OperatorServices>) -> web::Json<OperatorWebhooksResponse> {
    let statuses = statuses(&services).await;
    let snapshot = services.snapshot();
    let mut all: Vec<_> = snapshot.all().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let webhooks = all.into_iter().flat_map(|(id, tenant)| of(id, tenant, &statuses)).collect();
    web::Json(OperatorWebhooksResponse { webhooks })
}

/// `GET /operator/tenants/{tenant}/webhooks`
///
/// # Errors
/// When the tenant does not exist.
pub async fn of_tenant(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<web::Json<OperatorWebhooksResponse>, OperatorError> {
    let id = services::tenant_id(&path)?;
    let tenant = services.tenant(&id)?;
    let webhooks = of(&id, &tenant, &statuses(&services).await);
    Ok(web::Json(OperatorWebhooksResponse { webhooks }))
}

/// A tenant's webhooks, the oldest first. A webhook that was just created has no status yet.
fn of(id: &TenantId, tenant: &Tenant, statuses: &LaneStatuses) -> Vec<OperatorWebhookWithStatusResponse> {
    let mut known: Vec<_> = tenant.webhooks().collect();
    known.sort_by_key(|(_, webhook)| webhook.registered.position);
    let shown = known.into_iter().map(|(webhook_id, webhook)| OperatorWebhookWithStatusResponse {
        webhook: OperatorWebhookResponse::new(id, webhook_id, webhook),
        standing: statuses.get(&(id.clone(), webhook_id.clone())).cloned(),
    });
    shown.collect()
}

async fn statuses(services: &OperatorServices) -> LaneStatuses {
    let Ok(all) = tokio::time::timeout(TIMEOUT, services.webhooks.statuses()).await else {
        tracing::warn!("the webhook lanes do not report their status");
        return LaneStatuses::new();
    };
    let shown = |(endpoint, status): &(Arc<WebhookEndpoint>, LaneStatus)| {
        let key = (endpoint.tenant.clone(), endpoint.id.clone());
        (key, WebhookStatusResponse::of(status, &*services.tenants.store))
    };
    all.iter().map(shown).collect()
}
