//! The settings of a webhook as its owner or the operator writes them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use amoiq_events::{
    TenantId,
    webhook::{WebhookChange, WebhookSettings},
};
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    api::{
        field::{Field, FieldValue, Validation},
        problem::Problem,
    },
    webhooks::{DestinationPolicy, custom_headers::extra_headers},
};

/// The event types that a webhook can ask for; one that does not say gets the first.
const EVENT_TYPES: [&str; 1] = ["message.created"];

/// The longest description, and the longest reason, in characters.
const NOTE_CHARACTERS: usize = 1_000;

/// How many headers of its own a webhook has, and how long a value is, in bytes.
const MAX_HEADERS: usize = 20;
const HEADER_BYTES: usize = 1_024;

/// The highest rate: above it a limit limits nothing.
const MAX_RATE: u32 = 1_000;

/// Creates or changes a webhook. In a change a field that is absent keeps its value, and `null` removes it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct WebhookSettingsRequest {
    /// The tenant, where the credential is good for several.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub tenant_id: Field<TenantId>,
    /// The address that deliveries are sent to. Required when a webhook is created.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub url: Field<String>,
    /// The event types that it receives.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub events: Field<EventTypes>,
    /// A note for people, at most 1,000 characters.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub description: Field<String>,
    /// Headers that are sent with each delivery, at most 20.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub headers: Field<DeliveryHeaders>,
    /// The most deliveries in a second, 1 to 1,000.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub rate_per_second: Field<u32>,
}

/// Replaces a webhook's secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RotateSecretRequest {
    /// The tenant, where the credential is good for several.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub tenant_id: Field<TenantId>,
    /// Whether the secret before leaked: it signs nothing any more.
    #[serde(skip_serializing_if = "Field::is_absent")]
    pub expire_previous: Field<bool>,
}

impl WebhookSettingsRequest {
    /// The settings of a new webhook.
    ///
    /// # Errors
    /// [`Problem::Validation`].
    pub fn settings(self, destinations: &DestinationPolicy) -> Result<WebhookSettings, Problem> {
        let mut validation = Validation::new();
        let change = self.read(&mut validation, destinations);
        let url = validation.present("url", change.url);
        validation.finish()?;
        Ok(WebhookSettings {
            url: url.ok_or(Problem::Internal)?,
            events: change.events.unwrap_or_else(default_event_types),
            description: change.description.flatten(),
            headers: change.headers.unwrap_or_default(),
            rate_per_second: change.rate_per_second.flatten(),
        })
    }

    /// A change of settings.
    ///
    /// # Errors
    /// [`Problem::Validation`].
    pub fn change(self, destinations: &DestinationPolicy) -> Result<WebhookChange, Problem> {
        let mut validation = Validation::new();
        let change = self.read(&mut validation, destinations);
        validation.finish()?;
        Ok(change)
    }

    fn read(self, validation: &mut Validation, destinations: &DestinationPolicy) -> WebhookChange {
        if self.url == Field::Null {
            validation.refuse("url", "is required");
        }
        let url = validation.parsed("url", self.url, |text| destinations.parse(&text));
        let events = validation.nullable("events", self.events);
        let description = validation.nullable("description", self.description);
        if let Some(Some(text)) = &description {
            check_note(validation, "description", text);
        }
        let headers = validation.nullable("headers", self.headers);
        let rate_per_second = validation.nullable("ratePerSecond", self.rate_per_second);
        if let Some(Some(rate)) = rate_per_second
            && !(1..=MAX_RATE).contains(&rate)
        {
            validation.refuse("ratePerSecond", format!("must be 1 to {MAX_RATE}"));
        }
        WebhookChange {
            url: url.map(String::from),
            events: events.map(|events| events.map_or_else(default_event_types, |events| events.0)),
            description,
            headers: headers.map(|headers| headers.unwrap_or_default().0),
            rate_per_second,
        }
    }
}

/// Notes what is wrong with a text for people.
pub fn check_note(validation: &mut Validation, name: &'static str, text: &str) {
    if text.chars().count() > NOTE_CHARACTERS {
        validation.refuse(name, format!("must be at most {NOTE_CHARACTERS} characters"));
    }
    if text.contains('\0') {
        validation.refuse(name, "must not contain NUL or a lone surrogate");
    }
}

fn default_event_types() -> Vec<String> {
    EVENT_TYPES.iter().take(1).map(|&event| event.to_owned()).collect()
}

/// Event types that exist, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct EventTypes(Vec<String>);

impl FieldValue for EventTypes {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        let Value::Array(listed) = value else { return Err("must be a list of event types".into()) };
        let wanted: BTreeSet<_> = listed.iter().map(Value::as_str).collect();
        let exists = |event: &Option<&str>| event.is_some_and(|event| EVENT_TYPES.contains(&event));
        if wanted.is_empty() || !wanted.iter().all(exists) {
            return Err(format!("must name at least one of: {}", EVENT_TYPES.join(", ")).into());
        }
        Ok(Some(Self(wanted.into_iter().flatten().map(str::to_owned).collect())))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "string", "enum": EVENT_TYPES },
        })
    }
}

/// Headers that may be sent with deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DeliveryHeaders(BTreeMap<String, String>);

impl FieldValue for DeliveryHeaders {
    fn read(value: Value) -> Result<Option<Self>, Cow<'static, str>> {
        const NO_TEXTS: Cow<'static, str> = Cow::Borrowed("must be an object of texts");
        let Value::Object(listed) = value else { return Err(NO_TEXTS) };
        let mut headers = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (name, value) in listed {
            // An error never shows a value: it may be a password.
            let Value::String(value) = value else { return Err(NO_TEXTS) };
            if value.len() > HEADER_BYTES || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
                return Err(
                    format!("`{name}` must be at most {HEADER_BYTES} visible ASCII characters").into()
                );
            }
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(format!("`{name}` is named twice").into());
            }
            headers.insert(name, value);
        }
        if headers.len() > MAX_HEADERS {
            return Err(format!("must be at most {MAX_HEADERS}").into());
        }
        extra_headers(&headers).map_err(|bad| bad.to_string())?;
        Ok(Some(Self(headers)))
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "object",
            "maxProperties": MAX_HEADERS,
            "propertyNames": { "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$" },
            "additionalProperties": { "type": "string", "maxLength": HEADER_BYTES, "pattern": "^[ -~]*$" },
        })
    }
}
