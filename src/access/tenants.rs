//! Changes of tenants, and the rules for their settings.

use std::time::Duration;

use amoiq_events::{Ambient, Timestamp};

pub mod change;
pub mod settings;

pub use change::{TenantChangeError, TenantService};

/// The id of the demo tenant.
pub const DEMO_TENANT: &str = "demo";

/// Until when the old secret of a webhook also signs after a rotation now; `None` if it stops at once.
#[must_use]
pub fn previous_until(hours: u32, ambient: &Ambient) -> Option<Timestamp> {
    (hours > 0).then(|| ambient.now() + Duration::from_hours(hours.into()))
}
