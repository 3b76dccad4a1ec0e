//! The way to the nodes: who the leader is, one connection to it at a time, and calls that end in time.

pub(super) mod cluster_address;
pub(super) mod known_history;
pub(super) mod log_start;
pub(super) mod node_call_error;
pub(super) mod node_connection;
pub(super) mod open_error;
pub(super) mod supervisor;
pub(super) mod timing;
pub(super) mod wire_requests;
