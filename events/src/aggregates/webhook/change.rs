//! A change of an endpoint's settings: of what it names, and of nothing else. It is held against the
//! settings when it is decided, so that two changes at the same time do not undo each other.

use std::collections::BTreeMap;

use super::WebhookSettings;

/// What becomes of each setting; what is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebhookChange {
    /// The address.
    pub url: Option<String>,
    /// The types it wants.
    pub events: Option<Vec<String>>,
    /// For people; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// All that is sent with each delivery.
    pub headers: Option<BTreeMap<String, String>>,
    /// Deliveries a second; `Some(None)` is no limit.
    pub rate_per_second: Option<Option<u32>>,
}

impl WebhookChange {
    /// The settings as they are after it.
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
