//! How a connection is made, what it is told first, and what its failures mean.

pub(super) mod call_failure;
pub(super) mod open_error;
pub(super) mod server_address;
pub(super) mod server_check;
pub(super) mod session;
pub(super) mod timing;
pub(super) mod tls;
