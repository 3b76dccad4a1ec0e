//! A change of some of an endpoint's settings. It is applied to the settings when it is decided, so two changes at the same
//! time do not undo each other.

use std::collections::BTreeMap;

use super::WebhookSettings;

/// The new value of each setting; one that is absent keeps its value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookChange {
    /// The address.
    pub url: Option<String>,
    /// The event types it receives.
    pub events: Option<Vec<String>>,
    /// The note for people; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// All headers that are sent with each delivery.
    pub headers: Option<BTreeMap<String, String>>,
    /// Deliveries a second; `Some(None)` is no limit.
    pub rate_per_second: Option<Option<u32>>,
}

impl WebhookChange {
    /// The settings after the change.
    #[must_use]
    pub fn of(&self, before: &WebhookSettings) -> WebhookSettings {
        WebhookSettings {
            url: self.url.clone().unwrap_or_else(|| before.url.clone()),
            events: self.events.clone().unwrap_or_else(|| before.events.clone()),
            description: self.description.clone().unwrap_or_else(|| before.description.clone()),
            headers: self.headers.clone().unwrap_or_else(|| before.headers.clone()),
            rate_per_second: self.rate_per_second.unwrap_or(before.rate_per_second),
        }
    }
}
