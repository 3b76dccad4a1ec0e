//! Tenants and endpoints by name.

use amoiq_events::{TenantId, WebhookId, event::EventCause, webhook::WebhookSettings};

use super::EndpointName;

pub(super) fn endpoints() -> [EndpointName; 3] {
    let name = |tenant, webhook| (tenant_id(tenant), WebhookId::parse(webhook).expect("an id"));
    [name("acme", "wh-1"), name("acme", "wh-2"), name("umbrella", "wh-1")]
}

pub(super) fn endpoint_settings(url: &str) -> WebhookSettings {
    WebhookSettings {
        url: url.to_owned(),
        events: vec!["message.created".to_owned()],
        description: None,
        headers: std::collections::BTreeMap::new(),
        rate_per_second: None,
    }
}

pub(super) fn tenant_id(text: &str) -> TenantId {
    TenantId::parse(text).expect("an id")
}

pub(super) fn cause() -> EventCause {
    EventCause { causation: "simulation".into(), actor: "world".into() }
}
