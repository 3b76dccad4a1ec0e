//! What a node says of its cluster, and what operators ask of it.

use std::sync::atomic::Ordering;

use amoiq_kurrentdb_protocol::{
    Empty,
    gossip::{ClusterInfo, EndPoint, MemberInfo, gossip_server::Gossip, member_info::VNodeState},
    operations::{
        ScavengeResp, SetNodePriorityReq, StartScavengeReq, StopScavengeReq, operations_server::Operations,
        scavenge_resp::ScavengeResult,
    },
};
use tonic::{Request, Response, Status};

use super::node_state::NodeState;

#[tonic::async_trait]
impl Gossip for NodeState {
    async fn read(&self, _request: Request<Empty>) -> Result<Response<ClusterInfo>, Status> {
        let cluster = &self.cluster;
        let members = cluster.ports.iter().enumerate().map(|(number, port)| MemberInfo {
            instance_id: None,
            time_stamp: 0,
            state: if cluster.is_leader(number) {
                VNodeState::Leader.into()
            } else {
                VNodeState::Follower.into()
            },
            is_alive: cluster.is_alive(number),
            http_end_point: Some(EndPoint { address: "127.0.0.1".to_owned(), port: (*port).into() }),
        });
        Ok(Response::new(ClusterInfo { members: members.collect() }))
    }
}

#[tonic::async_trait]
impl Operations for NodeState {
    async fn start_scavenge(
        &self,
        _request: Request<StartScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        let number = self.cluster.scavenges.fetch_add(1, Ordering::SeqCst);
        let scavenge_id = format!("scavenge-{number}");
        self.cluster.log().scavenge(self.number, &scavenge_id);
        self.cluster.grew();
        Ok(Response::new(ScavengeResp { scavenge_id, scavenge_result: ScavengeResult::Started.into() }))
    }

    async fn stop_scavenge(
        &self,
        _request: Request<StopScavengeReq>,
    ) -> Result<Response<ScavengeResp>, Status> {
        Err(unasked())
    }

    async fn shutdown(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(unasked())
    }

    async fn merge_indexes(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(unasked())
    }

    async fn resign_node(&self, _request: Request<Empty>) -> Result<Response<Empty>, Status> {
        Err(unasked())
    }

    async fn set_node_priority(
        &self,
        _request: Request<SetNodePriorityReq>,
    ) -> Result<Response<Empty>, Status> {
        Err(unasked())
    }

    async fn restart_persistent_subscriptions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Empty>, Status> {
        Err(unasked())
    }
}

fn unasked() -> Status {
    Status::unimplemented("nobody asks this of a test's server")
}
