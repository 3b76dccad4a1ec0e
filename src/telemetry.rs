//! What the service tells operators about itself.
//!
//! | module | holds |
//! |---|---|
//! | [`last_backup`] | when the last backup was made |
//! | [`logging`] | log lines and spans |
//! | [`metrics`] | what Prometheus scrapes |

pub mod last_backup;
pub mod logging;
pub mod metrics;
