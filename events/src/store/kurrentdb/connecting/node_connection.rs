//! A connection to one node: the client's own, and a second one for what the client does not do.

use std::{fs, sync::Arc, time::Duration};

use amoiq_kurrentdb_protocol::{
    Empty,
    gossip::gossip_client::GossipClient,
    operations::{ScavengeResp, StartScavengeReq, operations_client::OperationsClient, start_scavenge_req},
    streams::{ReadReq, ReadResp, append_resp, streams_client::StreamsClient},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use eventstore::{Client, ClientSettings, Credentials};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{
    cluster_address::{ClusterAddress, NodeAddress},
    node_call_error::NodeCallError,
    timing,
    wire_requests::{self, StreamPage, StreamWrite},
};
use crate::store::kurrentdb::records::{log_names::LogNames, log_record::WireRecord};

/// The largest answer that is taken: several times what an append may have.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How nodes are reached, and as whom.
pub(in crate::store::kurrentdb) struct NodeAccess {
    pub(in crate::store::kurrentdb) cluster: ClusterAddress,
    pub(in crate::store::kurrentdb) names: LogNames,
    /// For the client, which cannot be given them in an address: it does not decode them.
    pub(in crate::store::kurrentdb) credentials: Option<(String, String)>,
}

/// A connection.
pub(in crate::store::kurrentdb) struct NodeConnection {
    access: Arc<NodeAccess>,
    client: Client,
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
}

impl NodeAccess {
    /// Makes a way to a node, without waiting for it.
    pub(in crate::store::kurrentdb) fn channel(&self, node: &NodeAddress) -> Result<Channel, NodeCallError> {
        let refused = |reason: String| NodeCallError::Refused(reason);
        let scheme = if self.cluster.is_encrypted { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{node}"));
        let mut endpoint = endpoint
            .map_err(|error| refused(error.to_string()))?
            .connect_timeout(timing::CONNECT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(2)))
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(3))
            .initial_stream_window_size(Some(1 << 20))
            .initial_connection_window_size(Some(1 << 22));
        if self.cluster.is_encrypted {
            let tls = match &self.cluster.authorities {
                Some(file) => {
                    let pem =
                        fs::read(file).map_err(|error| refused(format!("{}: {error}", file.display())))?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls.domain_name(&node.host))?;
        }
        Ok(endpoint.connect_lazy())
    }

    /// The client's settings for one node: nothing is left to its own choice.
    fn settings(&self, node: &NodeAddress) -> Result<ClientSettings, NodeCallError> {
        let mut address = format!(
            "esdb://{node}?tls={}&nodePreference=leader&maxDiscoverAttempts=2&discoveryInterval=1&gossipTimeout=1500",
            self.cluster.is_encrypted
        );
        if let Some(file) = &self.cluster.authorities {
            let file = file.to_string_lossy();
            address.push_str("&tlsCaFile=");
            address.extend(utf8_percent_encode(&file, NON_ALPHANUMERIC));
        }
        address.parse().map_err(|error: eventstore::ClientSettingsParseError| {
            NodeCallError::Refused(error.message().to_owned())
        })
    }

    /// The header that says who asks.
    fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        let (user, password) = self.credentials.as_ref()?;
        let mut value = MetadataValue::try_from(format!(
            "Basic {}",
            BASE64_STANDARD.encode(format!("{user}:{password}"))
        ))
        .ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Asks a node who the leader is.
    pub(in crate::store::kurrentdb) async fn members(
        &self,
        node: &NodeAddress,
    ) -> Result<Vec<ClusterMember>, NodeCallError> {
        let mut gossip = GossipClient::new(self.channel(node)?);
        let answer = gossip.read(Empty {}).await?.into_inner();
        Ok(answer.members.into_iter().filter_map(ClusterMember::read).collect())
    }
}

/// A node, as the others see it.
#[derive(Debug, Clone)]
pub(in crate::store::kurrentdb) struct ClusterMember {
    pub(in crate::store::kurrentdb) node: NodeAddress,
    pub(in crate::store::kurrentdb) is_alive: bool,
    /// Alive, and the one that takes writes.
    pub(in crate::store::kurrentdb) is_leader: bool,
}

impl ClusterMember {
    fn read(member: amoiq_kurrentdb_protocol::gossip::MemberInfo) -> Option<Self> {
        use amoiq_kurrentdb_protocol::gossip::member_info::VNodeState;
        // A manager only watches over others.
        let has_files = member.state() != VNodeState::Manager;
        let (is_alive, is_leader) =
            (member.is_alive, member.is_alive && member.state() == VNodeState::Leader);
        let end = member.http_end_point.filter(|_| has_files)?;
        let node = NodeAddress { host: end.address, port: u16::try_from(end.port).ok()? };
        Some(Self { node, is_alive, is_leader })
    }
}

impl NodeConnection {
    /// Connects to a node.
    pub(in crate::store::kurrentdb) fn open(
        access: &Arc<NodeAccess>,
        node: &NodeAddress,
    ) -> Result<Self, NodeCallError> {
        let client = Client::new(access.settings(node)?);
        let client = client.map_err(|error| NodeCallError::Refused(error.to_string()))?;
        let (channel, authorization) = (access.channel(node)?, access.authorization());
        Ok(Self { access: Arc::clone(access), client, channel, authorization })
    }

    /// The client, and who asks.
    pub(in crate::store::kurrentdb) fn client(&self) -> (&Client, Option<Credentials>) {
        let credentials = self.access.credentials.as_ref();
        (&self.client, credentials.map(|(user, password)| Credentials::new(user.clone(), password.clone())))
    }

    /// The log's streams in the database.
    pub(in crate::store::kurrentdb) fn names(&self) -> &LogNames {
        &self.access.names
    }

    /// Records of the log from a position on and including it.
    pub(in crate::store::kurrentdb) async fn page(
        &self,
        from: u64,
        count: usize,
    ) -> Result<Vec<WireRecord>, NodeCallError> {
        self.records(wire_requests::read_all(self.access.names.prefixes(), from, count as u64)).await
    }

    /// Records of a stream; none when there is no such stream.
    pub(in crate::store::kurrentdb) async fn stream_page(
        &self,
        page: &StreamPage,
    ) -> Result<Vec<WireRecord>, NodeCallError> {
        match self.records(page.request()).await {
            // An operator has removed it for good.
            Err(NodeCallError::Tombstone) => Ok(Vec::new()),
            records => records,
        }
    }

    async fn records(&self, request: ReadReq) -> Result<Vec<WireRecord>, NodeCallError> {
        let mut answers = self.read(request).await?;
        let mut records = Vec::new();
        while let Some(answer) = answers.message().await? {
            records.extend(wire_requests::record(answer));
        }
        Ok(records)
    }

    /// Writes records after an exact revision.
    pub(in crate::store::kurrentdb) async fn append(&self, write: &StreamWrite) -> Result<(), NodeCallError> {
        let streams = StreamsClient::new(self.channel.clone());
        let mut streams = streams.max_encoding_message_size(MAX_MESSAGE_BYTES);
        let mut request = self.request(write.request());
        request.set_timeout(timing::CALL);
        let answer = streams.append(request).await.map_err(NodeCallError::of_write)?.into_inner();
        match answer.result {
            Some(append_resp::Result::Success(_)) => Ok(()),
            Some(append_resp::Result::WrongExpectedVersion(_)) => Err(NodeCallError::Moved),
            None => Err(NodeCallError::Broken("an append was answered without a result".to_owned())),
        }
    }

    /// Follows the log from after a position on.
    pub(in crate::store::kurrentdb) async fn subscribe(
        &self,
        after: u64,
    ) -> Result<Streaming<ReadResp>, NodeCallError> {
        self.read(wire_requests::subscribe(self.access.names.prefixes(), after)).await
    }

    async fn read(&self, message: ReadReq) -> Result<Streaming<ReadResp>, NodeCallError> {
        let streams = StreamsClient::new(self.channel.clone());
        let mut streams = streams.max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = self.request(message);
        Ok(streams.read(request).await?.into_inner())
    }

    /// Starts a scavenge of this node.
    pub(in crate::store::kurrentdb) async fn scavenge(&self) -> Result<ScavengeResp, NodeCallError> {
        let mut operations = OperationsClient::new(self.channel.clone());
        let options = start_scavenge_req::Options { thread_count: 1, start_from_chunk: 0 };
        let mut request = self.request(StartScavengeReq { options: Some(options) });
        request.metadata_mut().remove("requires-leader");
        Ok(operations.start_scavenge(request).await?.into_inner())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("requires-leader", MetadataValue::from_static("true"));
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}
