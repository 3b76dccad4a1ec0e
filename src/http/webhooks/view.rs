//! An endpoint as its owner is shown it: never with its secret.

use std::collections::BTreeMap;

use amoiq_actors::webhooks::WebhookEndpoint;
use amoiq_events::{Timestamp, WebhookId, tenant::ManagedBy, webhook::Webhook};
use serde::Serialize;

/// An endpoint.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointView<'a> {
    id: &'a WebhookId,
    url: &'a str,
    events: &'a [String],
    description: Option<&'a str>,
    headers: &'a BTreeMap<String, String>,
    rate_per_second: Option<u32>,
    status: &'static str,
    disabled_reason: Option<&'a str>,
    source: ManagedBy,
    created_at: Timestamp,
}

impl<'a> EndpointView<'a> {
    /// Shows an endpoint.
    #[must_use]
    pub fn of(endpoint: &'a WebhookEndpoint) -> Self {
        Self::new(&endpoint.id, &endpoint.webhook)
    }

    /// Shows the endpoint with this id.
    #[must_use]
    pub fn new(id: &'a WebhookId, webhook: &'a Webhook) -> Self {
        let settings = &webhook.settings;
        Self {
            id,
            url: &settings.url,
            events: &settings.events,
            description: settings.description.as_deref(),
            headers: &settings.headers,
            rate_per_second: settings.rate_per_second,
            status: webhook.status.as_str(),
            disabled_reason: webhook.status.reason(),
            source: webhook.source,
            created_at: webhook.registered.time,
        }
    }
}

/// An endpoint in one of the two answers that tell its secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretView<'a> {
    #[serde(flatten)]
    endpoint: EndpointView<'a>,
    secret: &'a str,
    /// In the answer of a rotation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_secret_valid_until: Option<Option<Timestamp>>,
}

impl<'a> SecretView<'a> {
    /// Shows an endpoint that was just made.
    #[must_use]
    pub fn of_new(endpoint: &'a WebhookEndpoint) -> Self {
        let secret = endpoint.webhook.secret.expose();
        Self { endpoint: EndpointView::of(endpoint), secret, previous_secret_valid_until: None }
    }

    /// Shows an endpoint whose secret was just replaced.
    #[must_use]
    pub fn of_rotated(endpoint: &'a WebhookEndpoint) -> Self {
        let until = endpoint.webhook.previous.as_ref().map(|(_, until)| *until);
        Self { previous_secret_valid_until: Some(until), ..Self::of_new(endpoint) }
    }
}
