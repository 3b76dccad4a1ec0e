//! Every route of the operator interface, with its handler and its description.

use actix_web::{HttpResponse, web};
use serde_json::Value;

use crate::{
    api::{
        openapi::{DocumentInfo, Operation, document},
        operator::{
            cluster::ClusterResponse,
            erasure::{EraseRequest, EraseResponse},
            keys::{IssueKeyRequest, KeyIssuedResponse, KeyRevokedResponse, KeysResponse},
            rebuilds::{RebuildsResponse, StartRebuildRequest},
            tenants::{CreateTenantRequest, TenantResponse, TenantSettingsRequest, TenantsResponse},
        },
        problem::{ErrorCode, Problem},
        webhooks::{
            DisableWebhookRequest, OperatorWebhookResponse, OperatorWebhooksResponse, WebhookDeletedResponse,
            WithSecret,
            settings::{RotateSecretRequest, WebhookSettingsRequest},
        },
    },
    http::endpoint::Endpoint,
    operator::{METRICS, cluster, erasure, keys, rebuilds, tenants, webhooks},
};

use super::scrape;

const INFO: DocumentInfo = DocumentInfo {
    title: "amoiq operator interface",
    description: "Tenants, keys and webhooks of the running service, on an address of its own (`operator.bind`). The \
                  token is in `operator.json` in the data directory and is new with each start. The header \
                  `X-Operator` names who makes a change. A body has at most 64 KiB. `/metrics` needs no token on this \
                  machine and in `operator.metrics_networks`.",
    security_schemes: &[("operatorToken", "The token in operator.json.")],
};

/// Errors of every route.
const CALLER: &[ErrorCode] = &[
    ErrorCode::InvalidOperatorToken,
    ErrorCode::ValidationFailed,
    ErrorCode::InternalError,
    ErrorCode::Overloaded,
];

/// Errors of routes that change something.
const CHANGE: &[ErrorCode] = &[
    ErrorCode::MalformedJson,
    ErrorCode::PayloadTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::ManagedByConfiguration,
    ErrorCode::ManagedByProgram,
    ErrorCode::StoreUnavailable,
    ErrorCode::OutcomeUnknown,
];

/// Registers every route there is.
pub(super) fn configure(routes: &mut web::ServiceConfig) {
    for endpoint in endpoints() {
        endpoint.register(routes);
    }
    routes.default_service(web::to(not_found));
}

/// The OpenAPI document of the operator interface.
#[must_use]
pub fn openapi() -> Value {
    let endpoints = endpoints();
    document(&INFO, endpoints.iter().flat_map(Endpoint::operations))
}

fn read(id: &'static str, summary: &'static str, tag: &'static str) -> Operation {
    Operation::new(id, summary, tag).security(&["operatorToken"]).errors(CALLER)
}

fn change(id: &'static str, summary: &'static str, tag: &'static str) -> Operation {
    read(id, summary, tag).errors(CHANGE)
}

fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = tenant_endpoints();
    endpoints.extend(webhook_endpoints());
    endpoints.extend(service_endpoints());
    endpoints
}

fn tenant_endpoints() -> Vec<Endpoint> {
    let list = read("listTenants", "Lists every tenant.", "tenants").response::<TenantsResponse>(200);
    let create = change("createTenant", "Creates a tenant.", "tenants")
        .body::<CreateTenantRequest>()
        .response::<TenantResponse>(201)
        .errors(&[ErrorCode::TenantExists]);
    let show = read("readTenant", "Shows a tenant.", "tenants")
        .response::<TenantResponse>(200)
        .errors(&[ErrorCode::TenantNotFound]);
    let update = change("changeTenant", "Changes a tenant's name and sites.", "tenants")
        .body::<TenantSettingsRequest>()
        .response::<TenantResponse>(200)
        .errors(&[ErrorCode::TenantNotFound]);
    let list_keys = read("listKeys", "Lists a tenant's keys.", "keys")
        .response::<KeysResponse>(200)
        .errors(&[ErrorCode::TenantNotFound]);
    let issue = change("issueKey", "Issues a key and tells it, once.", "keys")
        .body::<IssueKeyRequest>()
        .response::<KeyIssuedResponse>(201)
        .errors(&[ErrorCode::TenantNotFound]);
    let revoke = change("revokeKey", "Revokes a key, and everything that it opened.", "keys")
        .response::<KeyRevokedResponse>(200)
        .errors(&[ErrorCode::TenantNotFound, ErrorCode::KeyNotFound]);
    vec![
        Endpoint::at("/operator/tenants").get(tenants::list, list).post(tenants::create, create),
        Endpoint::at("/operator/tenants/{tenant}").get(tenants::show, show).patch(tenants::update, update),
        Endpoint::at("/operator/tenants/{tenant}/keys").get(keys::list, list_keys).post(keys::issue, issue),
        Endpoint::at("/operator/tenants/{tenant}/keys/{key}").delete(keys::revoke, revoke),
    ]
}

fn webhook_endpoints() -> Vec<Endpoint> {
    let one = |id, summary| {
        change(id, summary, "webhooks").errors(&[ErrorCode::TenantNotFound, ErrorCode::WebhookNotFound])
    };
    let all = read("listAllWebhooks", "Lists the webhooks of every tenant.", "webhooks")
        .response::<OperatorWebhooksResponse>(200);
    let list = read("listTenantWebhooks", "Lists a tenant's webhooks.", "webhooks")
        .response::<OperatorWebhooksResponse>(200)
        .errors(&[ErrorCode::TenantNotFound]);
    let register = change("createTenantWebhook", "Creates a webhook and tells its secret, once.", "webhooks")
        .body_with_fields::<WebhookSettingsRequest>(&["url"])
        .response::<WithSecret<OperatorWebhookResponse>>(201)
        .errors(&[ErrorCode::TenantNotFound]);
    let update = one("changeTenantWebhook", "Changes the settings that the body names.")
        .body::<WebhookSettingsRequest>()
        .response::<OperatorWebhookResponse>(200);
    let delete = one("deleteTenantWebhook", "Deletes a webhook.").response::<WebhookDeletedResponse>(200);
    let pause = one("pauseTenantWebhook", "Pauses deliveries.").response::<OperatorWebhookResponse>(200);
    let resume = one("resumeTenantWebhook", "Resumes deliveries.").response::<OperatorWebhookResponse>(200);
    let disable = one("disableTenantWebhook", "Stops deliveries, with a reason.")
        .optional_body::<DisableWebhookRequest>()
        .response::<OperatorWebhookResponse>(200);
    let rotate = one("rotateTenantWebhookSecret", "Replaces the secret and tells the new one, once.")
        .optional_body::<RotateSecretRequest>()
        .response::<WithSecret<OperatorWebhookResponse>>(200);
    vec![
        Endpoint::at("/operator/webhooks").get(webhooks::list::all, all),
        Endpoint::at("/operator/tenants/{tenant}/webhooks")
            .get(webhooks::list::of_tenant, list)
            .post(webhooks::register, register),
        Endpoint::at("/operator/tenants/{tenant}/webhooks/{webhook}")
            .patch(webhooks::update, update)
            .delete(webhooks::delete, delete),
        Endpoint::at("/operator/tenants/{tenant}/webhooks/{webhook}/pause").post(webhooks::pause, pause),
        Endpoint::at("/operator/tenants/{tenant}/webhooks/{webhook}/resume").post(webhooks::resume, resume),
        Endpoint::at("/operator/tenants/{tenant}/webhooks/{webhook}/disable")
            .post(webhooks::disable, disable),
        Endpoint::at("/operator/tenants/{tenant}/webhooks/{webhook}/rotate-secret")
            .post(webhooks::rotate_secret, rotate),
    ]
}

fn service_endpoints() -> Vec<Endpoint> {
    let rebuild = |id, summary| read(id, summary, "rebuilds");
    let show = rebuild("readRebuilds", "Shows the last rebuild of each projection.")
        .response::<RebuildsResponse>(200);
    let start = change("startRebuild", "Rebuilds projections from the whole log.", "rebuilds")
        .optional_body::<StartRebuildRequest>()
        .response::<RebuildsResponse>(202)
        .errors(&[ErrorCode::RebuildUnderway]);
    let cancel =
        rebuild("cancelRebuilds", "Cancels the rebuilds under way.").response::<RebuildsResponse>(200);
    let erase = change("erase", "Erases a session, or every session of a user.", "erasure")
        .body::<EraseRequest>()
        .response::<EraseResponse>(200)
        .errors(&[ErrorCode::TenantNotFound, ErrorCode::SessionNotFound, ErrorCode::ErasureIncomplete]);
    let cluster = read("readCluster", "Lists the nodes of the log and their leases.", "service")
        .response::<ClusterResponse>(200)
        .errors(&[ErrorCode::StoreUnavailable]);
    let metrics = Operation::new("readMetrics", "The metrics, for Prometheus.", "service")
        .text("text/plain")
        .errors(&[ErrorCode::InvalidOperatorToken, ErrorCode::InternalError, ErrorCode::Overloaded]);
    let this = read("describe", "This document.", "service").response::<Value>(200);
    vec![
        Endpoint::at("/operator/rebuild")
            .get(rebuilds::show, show)
            .post(rebuilds::start, start)
            .delete(rebuilds::cancel, cancel),
        Endpoint::at("/operator/erase").post(erasure::erase, erase),
        Endpoint::at("/operator/cluster").get(cluster::show, cluster),
        Endpoint::at(METRICS).get(scrape::scrape, metrics),
        Endpoint::at("/operator/openapi.json").get(describe, this),
    ]
}

async fn describe() -> HttpResponse {
    HttpResponse::Ok().json(openapi())
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::endpoint::checks::{check_committed, check_methods};

    #[test]
    fn the_committed_document_is_what_the_program_serves() {
        check_committed("docs/openapi-operator.json", &openapi());
    }

    #[actix_web::test]
    async fn every_path_has_the_methods_that_the_document_gives_it() {
        check_methods(configure, &openapi()).await;
    }
}
