//! `GET /operator/webhooks` and `GET /operator/tenants/{tenant}/webhooks`: endpoints, and how each is doing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix_web::{HttpResponse, web};
use amoiq_actors::webhooks::{LaneStatus, WebhookEndpoint};
use amoiq_events::{TenantId, WebhookId, tenant::Tenant};
use serde_json::{Value, json};

use super::{
    super::{OperatorError, OperatorServices, services},
    view, with,
};
use crate::api::webhooks::WebhookStatusResponse;

/// How long lanes are waited for: the list is shown without their word rather than not at all.
const PATIENCE: Duration = Duration::from_secs(5);

type Standings = HashMap<(TenantId, WebhookId), WebhookStatusResponse>;

/// `GET /operator/webhooks`: everybody's.
pub async fn all(services: web::Data<OperatorServices>) -> HttpResponse {
    let standings = standings(&services).await;
    let snapshot = services.snapshot();
    let mut all: Vec<_> = snapshot.all().collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    let shown: Vec<_> = all.into_iter().flat_map(|(id, tenant)| views(id, tenant, &standings)).collect();
    HttpResponse::Ok().json(json!({ "webhooks": shown }))
}

/// `GET /operator/tenants/{tenant}/webhooks`
///
/// # Errors
/// When there is no such tenant.
pub async fn of_tenant(
    services: web::Data<OperatorServices>,
    path: web::Path<String>,
) -> Result<HttpResponse, OperatorError> {
    let id = services::tenant_id(&path)?;
    let tenant = services.tenant(&id)?;
    let shown = views(&id, &tenant, &standings(&services).await);
    Ok(HttpResponse::Ok().json(json!({ "webhooks": shown })))
}

/// A tenant's endpoints, the oldest first. One that was just made has no standing yet.
fn views(id: &TenantId, tenant: &Tenant, standings: &Standings) -> Vec<Value> {
    let mut known: Vec<_> = tenant.webhooks().collect();
    known.sort_by_key(|(_, webhook)| webhook.registered.position);
    let shown = known.into_iter().map(|(webhook_id, webhook)| {
        let standing = standings.get(&(id.clone(), webhook_id.clone()));
        with(view(id, webhook_id, webhook), "standing", json!(standing))
    });
    shown.collect()
}

async fn standings(services: &OperatorServices) -> Standings {
    let Ok(all) = tokio::time::timeout(PATIENCE, services.webhooks.statuses()).await else {
        tracing::warn!("the lanes of webhooks do not say how they are");
        return Standings::new();
    };
    let of = |(endpoint, standing): &(Arc<WebhookEndpoint>, LaneStatus)| {
        (
            (endpoint.tenant.clone(), endpoint.id.clone()),
            WebhookStatusResponse::of(standing, &*services.tenants.store),
        )
    };
    all.iter().map(of).collect()
}
