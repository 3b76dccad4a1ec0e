//! What the service tells operators about itself.
//!
//! | module | holds |
//! |---|---|
//! | [`logging`] | log lines and spans |
//! | [`metrics`] | what Prometheus scrapes |

pub mod logging;
pub mod metrics;
