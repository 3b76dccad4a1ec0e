//! `amoiq cluster`: the nodes that write the same log as the service here, and who does what.

use clap::Args;
use reqwest::Method;

use super::client::{ClientOptions, OperatorClient};
use crate::{
    api::operator::cluster::{ClusterResponse, LeaseResponse, NodeResponse, NodeState},
    cli::output::{cell, table},
    config::Config,
};

/// Show the nodes that write the same log as the service that runs here, and what each does.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClusterCommand {
    #[command(flatten)]
    options: ClientOptions,
}

/// Runs the command.
///
/// # Errors
/// When the service does not answer, or its database with the leases does not.
pub(crate) fn run(config: &Config, command: &ClusterCommand) -> anyhow::Result<()> {
    let client = OperatorClient::find(config, &command.options)?;
    let cluster: ClusterResponse = client.request(Method::GET, &["cluster"])?;
    client.show(&cluster, |cluster| Ok(describe(cluster)))
}

/// The nodes and, if there are any, the leases.
fn describe(cluster: &ClusterResponse) -> String {
    let node = |node: &NodeResponse| {
        let own = if cluster.node.as_ref() == Some(&node.name) { " (this one)" } else { "" };
        let state = match node.state {
            NodeState::Member => "member",
            NodeState::Silent => "silent",
        };
        [
            cell(&node.name),
            cell(&node.address),
            cell(&node.level),
            format!("{state}{own}"),
            cell(&node.joined_at),
            cell(&node.leases),
            cell(&node.lag_events),
        ]
    };
    let headings = ["NODE", "ADDRESS", "LEVEL", "STATE", "JOINED", "LEASES", "LAG"];
    let nodes = table(headings, cluster.nodes.iter().map(node));
    if cluster.leases.is_empty() {
        return nodes;
    }
    let lease = |lease: &LeaseResponse| [cell(&lease.name), cell(&lease.node), cell(&lease.granted_at)];
    format!("{nodes}\n\n{}", table(["LEASE", "NODE", "SINCE"], cluster.leases.iter().map(lease)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use amoiq_events::{
        Timestamp,
        cluster::{
            ClusterView, FencingNumber, LeaseName, LeaseRecord, NodeDescription, NodeMembership, NodeRecord,
        },
        store::Epoch,
    };

    use super::*;

    fn fencing(number: u64) -> FencingNumber {
        FencingNumber { epoch: Epoch(7), number }
    }

    fn time(minute: i64) -> Timestamp {
        Timestamp::from_millis(1_796_000_000_000 + minute * 60_000)
    }

    fn node(name: &str, number: u64, is_silent: bool) -> NodeRecord {
        let description = NodeDescription {
            name: name.into(),
            address: format!("10.0.0.1{number}:4000"),
            level: 1,
            signing: "fingerprint".into(),
            verifying: vec!["fingerprint".into()],
        };
        let joined_at = time(i64::try_from(number).unwrap());
        let (serves, is_draining) = (true, false);
        NodeRecord { description, fencing: fencing(number), joined_at, is_silent, serves, is_draining }
    }

    fn lease(of: &str, node: &str) -> LeaseRecord {
        let name = LeaseName::new("webhook", of);
        LeaseRecord { name, node: node.into(), fencing: fencing(9), granted_at: time(30) }
    }

    fn three_nodes() -> ClusterResponse {
        let view = ClusterView {
            own: Some(Arc::new(NodeMembership::permanent(fencing(1)))),
            nodes: vec![node("a", 1, false), node("b", 2, true), node("c", 3, false)],
            ..ClusterView::default()
        };
        ClusterResponse::new(&view, &[lease("wh-1", "a"), lease("wh-2", "c"), lease("wh-3", "c")], 12)
    }

    #[test]
    fn people_see_nodes_and_leases_in_two_tables() {
        insta::assert_snapshot!("three_nodes", describe(&three_nodes()));
        let alone = ClusterResponse { leases: Vec::new(), ..three_nodes() };
        assert!(!describe(&alone).contains("LEASE "), "no table without leases");
    }

    #[test]
    fn programs_see_the_same_and_only_the_answering_node_tells_its_lag() {
        insta::assert_json_snapshot!("three_nodes_json", three_nodes());
    }
}
