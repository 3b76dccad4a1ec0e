//! The numbers of the nodes that write one log, as this node sees them.

use std::sync::Arc;

use amoiq_events::cluster::ClusterLeases;

use crate::telemetry::metrics::{Collected, MetricCollector, MetricFamilies};

pub(super) struct ClusterCollector(pub(super) Arc<dyn ClusterLeases>);

impl MetricCollector for ClusterCollector {
    fn collect<'a>(&'a self, families: &'a mut MetricFamilies) -> Collected<'a> {
        let view = self.0.view().borrow().clone();
        let silent = view.nodes.iter().filter(|node| node.is_silent).count();
        let states = [("member", view.nodes.len() - silent), ("silent", silent)];
        families.gauges("amoiq_cluster_nodes", "Nodes that are registered", "state", states);
        let is_member = view.own.as_ref().is_some_and(|own| own.is_valid());
        families.gauge(
            "amoiq_cluster_member",
            "1 while this node may rely on what it was granted",
            is_member,
        );
        let own = view.own.as_ref().map(|own| own.fencing());
        let level =
            view.nodes.iter().find(|node| own == Some(node.fencing)).map(|node| node.description.level);
        families.gauge(
            "amoiq_cluster_level",
            "What this node's release reads",
            u64::from(level.unwrap_or(0)),
        );
        families.gauge(
            "amoiq_cluster_lowest_level",
            "What every node's release reads",
            u64::from(view.lowest_level().unwrap_or(0)),
        );
        Box::pin(async {})
    }
}
