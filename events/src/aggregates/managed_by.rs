//! Who manages a setting, a key or a webhook: each has one manager.

use serde::{Deserialize, Serialize};

/// Who manages a setting, a key or a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// The configuration file: changed there and nowhere else.
    Configuration,
    /// The program itself: the demo tenant.
    Builtin,
    /// The management API.
    Api,
    /// The operator's command line.
    Operator,
}
