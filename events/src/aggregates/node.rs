//! What a process of the service records about itself.

use serde::{Deserialize, Serialize};

/// A process started on this store: everybody who was online before it is offline now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStarted {
    /// The version of the program.
    pub release: String,
}

/// An event of a `node:` stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeEvent {
    /// `node.started`
    Started(NodeStarted),
}
