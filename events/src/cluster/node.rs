//! Nodes: what each says of itself when it joins, and who is there.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    Timestamp,
    cluster::lease::{FencingNumber, LeaseName, NodeMembership},
};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// Its name, which no other node has.
    pub name: Arc<str>,
    /// Where it can be reached, for people.
    pub address: String,
    /// What its release reads. A release that has new kinds of events raises it, and writes them only once every node has
    /// the new level.
    pub level: u32,
    /// The fingerprint of the secret that it signs tokens with.
    pub signing: String,
    /// The fingerprints of all secrets that it accepts.
    pub verifying: Vec<String>,
}

impl NodeDescription {
    /// A node that says nothing but its name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            address: String::new(),
            level: 1,
            signing: String::new(),
            verifying: vec![String::new()],
        }
    }
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
    /// It can do work.
    pub serves: bool,
    /// It leaves soon, and takes no more leases.
    pub is_draining: bool,
}

impl NodeRecord {
    /// Whether it takes leases.
    pub(crate) fn takes_leases(&self) -> bool {
        self.serves && !self.is_silent && !self.is_draining
    }
}

/// The nodes as this one saw them last.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// This node's own membership; the last one when it lost it.
    pub own: Option<Arc<NodeMembership>>,
    /// Every registered node, this one too, by name.
    pub nodes: Vec<NodeRecord>,
    /// Changes when a lease was given back.
    pub releases: u64,
    /// When the register was asked for this; nothing where it is always up to date.
    pub read_at: Option<Instant>,
}

impl ClusterView {
    /// Until when this is known to be true: while the database is away, nobody knows who has come or gone.
    #[must_use]
    pub fn is_true_at(&self) -> Instant {
        self.read_at.unwrap_or_else(Instant::now)
    }

    /// What every node reads.
    #[must_use]
    pub fn lowest_level(&self) -> Option<u32> {
        self.nodes.iter().map(|node| node.description.level).min()
    }

    /// Whether a lease is rather for this node than for another that takes leases. Every node comes to the same conclusion,
    /// each has about as many, and when one comes or goes only its own leases move.
    #[must_use]
    pub fn is_preferred(&self, lease: &LeaseName) -> bool {
        let taking = self.nodes.iter().filter(|node| node.takes_leases());
        let preferred = taking.max_by_key(|node| weight(&node.description.name, lease));
        let own = self.own.as_ref().map(|own| own.fencing());
        preferred.is_none_or(|node| Some(node.fencing) == own)
    }
}

/// How much a lease is for a node, the same on every node.
fn weight(node: &str, lease: &LeaseName) -> [u8; 32] {
    Sha256::digest(format!("{node} {lease}")).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::store::Epoch;

    fn view(names: &[&str], own: u64) -> ClusterView {
        let fencing = |number| FencingNumber { epoch: Epoch(1), number };
        let node = |(number, name): (u64, &&str)| NodeRecord {
            description: NodeDescription::named(name),
            fencing: fencing(number),
            joined_at: Timestamp::from_millis(0),
            is_silent: false,
            serves: true,
            is_draining: false,
        };
        ClusterView {
            own: Some(Arc::new(NodeMembership::permanent(fencing(own)))),
            nodes: (0..).zip(names).map(node).collect(),
            ..ClusterView::default()
        }
    }

    fn shares(names: &[&str]) -> HashMap<u32, Vec<u64>> {
        let preferring = |number: u32| {
            let lease = LeaseName::new("test", &number.to_string());
            (0..names.len() as u64).filter(|own| view(names, *own).is_preferred(&lease)).collect()
        };
        (0..300).map(|number| (number, preferring(number))).collect()
    }

    #[test]
    fn whoever_drains_is_preferred_for_nothing_unless_nobody_stays() {
        let lease = LeaseName::new("test", "lease");
        let preferring = |draining: &[usize]| {
            let is_for = |own: &u64| {
                let mut view = view(&["a", "b"], *own);
                draining.iter().for_each(|node| view.nodes[*node].is_draining = true);
                view.is_preferred(&lease)
            };
            (0..2).filter(is_for).collect::<Vec<_>>()
        };
        assert_eq!((preferring(&[0]), preferring(&[1])), (vec![1], vec![0]));
        assert_eq!(preferring(&[0, 1]), [0, 1], "each keeps what it has");
    }

    #[test]
    fn each_lease_is_for_one_node_and_moves_only_when_that_node_goes() {
        let (three, two) = (shares(&["a", "b", "c"]), shares(&["a", "b"]));
        assert!(three.values().chain(two.values()).all(|nodes| nodes.len() == 1));
        for (number, nodes) in &three {
            assert!(nodes[0] == 2 || two[number] == *nodes);
        }
        for own in 0..3 {
            let count = three.values().filter(|nodes| nodes[0] == own).count();
            assert!((60..140).contains(&count), "{count}");
        }
    }
}
