//! The keys of the demo tenant, which a service without configuration has.

/// The key of its widgets.
pub const WIDGET_KEY: &str = "wk_demo_0000000000000000";
/// The key of its servers.
pub const SECRET_KEY: &str = "sk_demo_0000000000000000";
/// The key of its bots.
pub const BOT_KEY: &str = "bk_demo_0000000000000000";
