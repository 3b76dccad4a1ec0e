//! Presence: who is online according to connections, and the list that is folded from it.

mod connections;
mod failures;
mod forgetting;
pub(crate) mod given;
mod model;
mod online_list;
mod signals;
mod two_nodes;
