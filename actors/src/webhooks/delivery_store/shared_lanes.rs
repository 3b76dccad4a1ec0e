//! What only nodes that share lanes need.

use amoiq_events::{TenantId, WebhookId};
use uuid::Uuid;

use super::{
    DeliveryBackend, DeliveryStore, DeliveryStoreError, LaneId, LaneReply, LaneRequest, RecordedLane,
    TakenRequest,
};

/// Without other nodes there is never another node's lane.
impl DeliveryStore {
    /// The lane of an endpoint as it was recorded, when it may be another node's.
    pub(in crate::webhooks) async fn recorded_lane(
        &self,
        tenant: &TenantId,
        webhook: &WebhookId,
    ) -> Result<Option<RecordedLane>, DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(_) => Ok(None),
            DeliveryBackend::Postgres(deliveries) => deliveries.find_lane(tenant, webhook).await,
        }
    }

    /// Asks the node that has a lane for something, under an id that nothing else has, and waits for its answer. Nothing when
    /// none comes in time.
    pub(in crate::webhooks) async fn ask(
        &self,
        id: Uuid,
        lane: LaneId,
        request: LaneRequest,
    ) -> Result<Option<LaneReply>, DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(_) => Ok(None),
            DeliveryBackend::Postgres(deliveries) => deliveries.ask(id, lane, request).await,
        }
    }

    /// Whether other nodes may ask for something.
    pub(in crate::webhooks) fn is_shared(&self) -> bool {
        matches!(self.0, DeliveryBackend::Postgres(_))
    }

    /// Takes what other nodes ask of these lanes. Nobody else gets it.
    pub(in crate::webhooks) async fn take_requests(
        &self,
        lanes: &[LaneId],
    ) -> Result<Vec<TakenRequest>, DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(_) => Ok(Vec::new()),
            DeliveryBackend::Postgres(deliveries) => deliveries.take_requests(lanes).await,
        }
    }

    /// Answers a request.
    pub(in crate::webhooks) async fn reply(
        &self,
        id: Uuid,
        reply: LaneReply,
    ) -> Result<(), DeliveryStoreError> {
        match &self.0 {
            DeliveryBackend::Sqlite(_) => Ok(()),
            DeliveryBackend::Postgres(deliveries) => deliveries.reply(id, reply).await,
        }
    }
}
