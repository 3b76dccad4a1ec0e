//! Nodes: what each says of itself when it joins, and who is there.

use std::sync::Arc;

use crate::{
    Timestamp,
    cluster::lease::{FencingNumber, NodeMembership},
};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its name, which no other node has.
    pub name: Arc<str>,
    /// Where it can be reached, for people.
    pub address: String,
    /// What its release reads: new kinds of events are written only once every node reads them.
    pub level: u32,
    /// The fingerprint of the secret that it signs tokens with.
    pub signing: String,
    /// The fingerprints of all secrets that it accepts.
    pub verifying: Vec<String>,
}

/// A node that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// What it says of itself.
    pub description: NodeDescription,
    /// Its membership: another one after each start.
    pub fencing: FencingNumber,
    /// When it joined, by the database's clock.
    pub joined_at: Timestamp,
    /// It has not renewed its membership in time, and is removed unless it does.
    pub is_silent: bool,
}

/// The nodes as this one saw them last.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// This node's own membership; the last one when it lost it.
    pub own: Option<Arc<NodeMembership>>,
    /// Every registered node, this one too, by name.
    pub nodes: Vec<NodeRecord>,
}

impl ClusterView {
    /// What every node reads.
    #[must_use]
    pub fn lowest_level(&self) -> Option<u32> {
        self.nodes.iter().map(|node| node.description.level).min()
    }
}
