//! The nodes that write one log, as the operator reads them.

use amoiq_events::{
    Timestamp,
    cluster::{ClusterView, LeaseRecord, NodeRecord},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema::TimestampSchema;

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It does.
    Member,
    /// It has not renewed its membership in time. Another node takes over its work unless it does.
    Silent,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeResponse {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// What its release reads. A release that has new kinds of events raises it, and writes them only once every node has
    /// the new level.
    pub level: u32,
    /// Whether it takes part.
    pub state: NodeState,
    /// When it joined, by the database's clock.
    #[schemars(with = "TimestampSchema")]
    pub joined_at: Timestamp,
    /// How many leases it has.
    pub leases: usize,
    /// How many events its inbox is behind the log. Only the node that answers knows its own.
    pub lag_events: Option<u64>,
}

/// A piece of work that one node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaseResponse {
    /// The kind of work, and of what: `KIND/OF`.
    pub name: String,
    /// The node that has it.
    pub node: String,
    /// When it was granted, by the database's clock.
    #[schemars(with = "TimestampSchema")]
    pub granted_at: Timestamp,
}

/// The nodes of one log and their leases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClusterResponse {
    /// The node that answers; absent while it is not registered.
    pub node: Option<String>,
    /// Every registered node, by name.
    pub nodes: Vec<NodeResponse>,
    /// Every lease, by name.
    pub leases: Vec<LeaseResponse>,
}

impl ClusterResponse {
    /// Shows what a node sees, and how far it is behind itself.
    #[must_use]
    pub fn new(view: &ClusterView, leases: &[LeaseRecord], own_lag_events: u64) -> Self {
        let own = view.own.as_ref().map(|membership| membership.fencing());
        let shown = |node: &NodeRecord| NodeResponse {
            name: node.description.name.to_string(),
            address: node.description.address.clone(),
            level: node.description.level,
            state: if node.is_silent { NodeState::Silent } else { NodeState::Member },
            joined_at: node.joined_at,
            leases: leases.iter().filter(|lease| lease.node == node.description.name).count(),
            lag_events: (own == Some(node.fencing)).then_some(own_lag_events),
        };
        let answering = view.nodes.iter().find(|node| own == Some(node.fencing));
        Self {
            node: answering.map(|node| node.description.name.to_string()),
            nodes: view.nodes.iter().map(shown).collect(),
            leases: leases.iter().map(LeaseResponse::of).collect(),
        }
    }
}

impl LeaseResponse {
    fn of(lease: &LeaseRecord) -> Self {
        Self { name: lease.name.to_string(), node: lease.node.to_string(), granted_at: lease.granted_at }
    }
}
