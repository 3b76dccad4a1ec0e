//! Webhooks as their owners and the operator read them. A secret is in two answers only: the one that creates the
//! webhook, and the one that replaces its secret.

use std::collections::BTreeMap;

use amoiq_actors::webhooks::{LaneStatus, WebhookEndpoint};
use amoiq_events::{
    EventLog, TenantId, Timestamp, WebhookId,
    tenant::ManagedBy,
    webhook::{Webhook, WebhookStatus},
};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    field::{Field, Validation},
    problem::Problem,
    schema::{IdSchema, ManagedBySchema, TimestampSchema},
};

pub mod deliveries;
pub mod settings;

/// Whether a webhook is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookState {
    /// Deliveries are sent.
    Enabled,
    /// Its owner paused it.
    Paused,
    /// It failed for too long, answered 410, or the operator disabled it.
    Disabled,
}

impl From<&WebhookStatus> for WebhookState {
    fn from(status: &WebhookStatus) -> Self {
        match status {
            WebhookStatus::Enabled => Self::Enabled,
            WebhookStatus::Paused => Self::Paused,
            WebhookStatus::Disabled { .. } => Self::Disabled,
        }
    }
}

/// A webhook as everybody is shown it who may see it, with the headers in the form for that reader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSummary<H> {
    /// Its id, `wh-…`.
    #[schemars(with = "IdSchema")]
    pub id: WebhookId,
    /// The address that deliveries are sent to.
    pub url: String,
    /// The event types that it receives.
    pub events: Vec<String>,
    /// A note for people.
    pub description: Option<String>,
    /// The headers that are sent with each delivery; the operator reads only their names.
    pub headers: H,
    /// The most deliveries in a second; without it there is no limit.
    pub rate_per_second: Option<u32>,
    /// Whether it is served.
    pub status: WebhookState,
    /// Why it is disabled, when it is.
    pub disabled_reason: Option<String>,
    /// Who manages it.
    #[schemars(with = "ManagedBySchema")]
    pub source: ManagedBy,
    /// When it was created.
    #[schemars(with = "TimestampSchema")]
    pub created_at: Timestamp,
}

impl<H> WebhookSummary<H> {
    fn of(id: &WebhookId, webhook: &Webhook, headers: H) -> Self {
        let settings = &webhook.settings;
        Self {
            id: id.clone(),
            url: settings.url.clone(),
            events: settings.events.clone(),
            description: settings.description.clone(),
            headers,
            rate_per_second: settings.rate_per_second,
            status: WebhookState::from(&webhook.status),
            disabled_reason: webhook.status.reason().map(str::to_owned),
            source: webhook.source,
            created_at: webhook.registered.time,
        }
    }
}

/// A webhook as its owner reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookResponse {
    #[serde(flatten)]
    summary: WebhookSummary<BTreeMap<String, String>>,
}

impl WebhookResponse {
    /// Shows the webhook with this id.
    #[must_use]
    pub fn new(id: &WebhookId, webhook: &Webhook) -> Self {
        Self { summary: WebhookSummary::of(id, webhook, webhook.settings.headers.clone()) }
    }
}

impl From<&WebhookEndpoint> for WebhookResponse {
    fn from(endpoint: &WebhookEndpoint) -> Self {
        Self::new(&endpoint.id, &endpoint.webhook)
    }
}

/// A tenant's webhooks, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhooksResponse {
    /// The webhooks.
    pub webhooks: Vec<WebhookResponse>,
}

/// How deliveries to a webhook are getting on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookStatusResponse {
    /// How many events of the whole log it has not passed yet, not only those that it receives.
    pub lag_events: u64,
    /// Deliveries that wait in order, with those that are being tried.
    pub pending: usize,
    /// Deliveries that the endpoint refused and that are retried out of order.
    pub refused: usize,
    /// Attempts that are being made.
    pub in_flight: usize,
    /// Since when every attempt has failed.
    #[schemars(with = "Option<TimestampSchema>")]
    pub failing_since: Option<Timestamp>,
    /// Before this time nothing is sent.
    #[schemars(with = "Option<TimestampSchema>")]
    pub not_before: Option<Timestamp>,
}

impl WebhookStatusResponse {
    /// Shows a lane's status against its log.
    #[must_use]
    pub fn of(standing: &LaneStatus, log: &dyn EventLog) -> Self {
        Self {
            lag_events: log.events_after(standing.cursor),
            pending: standing.pending,
            refused: standing.refused,
            in_flight: standing.in_flight,
            failing_since: standing.failing_since,
            not_before: standing.not_before,
        }
    }
}

/// A webhook, with how its deliveries are getting on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookWithStatusResponse {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookResponse,
    /// Its deliveries.
    pub standing: WebhookStatusResponse,
}

/// A webhook with its secret, which no other answer tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{W}WithSecret")]
pub struct WithSecret<W> {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: W,
    /// The secret that signs deliveries, `whsec_…`.
    pub secret: String,
    /// Only after a rotation: until when the secret before signs as well, or `null` when it no longer does.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "null_or_time")]
    #[schemars(with = "Option<TimestampSchema>")]
    pub previous_secret_valid_until: Option<Option<Timestamp>>,
}

/// Reads a member that is there: `null` is a value too.
fn null_or_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl<W> WithSecret<W> {
    /// Shows a webhook that was just created.
    #[must_use]
    pub fn created(shown: W, webhook: &Webhook) -> Self {
        let secret = webhook.secret.expose().to_owned();
        Self { webhook: shown, secret, previous_secret_valid_until: None }
    }

    /// Shows a webhook whose secret was just replaced.
    #[must_use]
    pub fn rotated(shown: W, webhook: &Webhook) -> Self {
        let until = webhook.previous.as_ref().map(|(_, until)| *until);
        Self { previous_secret_valid_until: Some(until), ..Self::created(shown, webhook) }
    }
}

/// A webhook as the operator reads it. The values of headers are left out: they may be the customer's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorWebhookResponse {
    /// The tenant that it belongs to.
    #[schemars(with = "IdSchema")]
    pub tenant: TenantId,
    /// What its owner is shown too.
    #[serde(flatten)]
    pub summary: WebhookSummary<Vec<String>>,
}

impl OperatorWebhookResponse {
    /// Shows a tenant's webhook.
    #[must_use]
    pub fn new(tenant: &TenantId, id: &WebhookId, webhook: &Webhook) -> Self {
        Self {
            tenant: tenant.clone(),
            summary: WebhookSummary::of(id, webhook, webhook.settings.headers.keys().cloned().collect()),
        }
    }
}

/// A webhook as the operator reads it in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorWebhookWithStatusResponse {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: OperatorWebhookResponse,
    /// Its deliveries; `null` for a webhook that was just created, and while no lane answers.
    pub standing: Option<WebhookStatusResponse>,
}

/// Webhooks as the operator lists them: by tenant, then the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OperatorWebhooksResponse {
    /// The webhooks.
    pub webhooks: Vec<OperatorWebhookWithStatusResponse>,
}

/// A webhook that the operator deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDeletedResponse {
    /// Its id.
    #[schemars(with = "IdSchema")]
    pub id: WebhookId,
    /// Always true.
    pub deleted: bool,
}

/// Disables a webhook.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DisableWebhookRequest {
    /// The reason, for people; at most 1,000 characters.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub reason: Field<String>,
}

impl DisableWebhookRequest {
    /// The reason; a general one when the request names none.
    ///
    /// # Errors
    /// [`Problem::Validation`].
    pub fn reason(self) -> Result<String, Problem> {
        let mut validation = Validation::new();
        let reason = validation.optional("reason", self.reason);
        if let Some(reason) = &reason {
            settings::check_note(&mut validation, "reason", reason);
        }
        validation.finish()?;
        Ok(reason.unwrap_or_else(|| "an operator disabled it".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_written_in_the_order_in_which_it_always_was() {
        let text = concat!(
            r#"{"id":"wh-1","url":"https://a.example/","events":["message.created"],"description":null,"#,
            r#""headers":{"x-a":"b"},"ratePerSecond":null,"status":"enabled","disabledReason":null,"#,
            r#""source":"api","createdAt":"2024-01-15T10:30:00.000Z"}"#,
        );
        let webhook: WebhookResponse = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&webhook).unwrap(), text);
    }
}
