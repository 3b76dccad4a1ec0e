//! What a node asks of a lane that another node has, as it is stored: a row that the other looks at, and that its answer
//! goes into. What the kinds mean is decided where lanes are.

use amoiq_events::{MessageId, Position, SessionId};
use uuid::Uuid;

use super::LaneId;
use crate::webhooks::delivery::DeliveryStatus;

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::webhooks) struct LaneRequest {
    pub(in crate::webhooks) kind: String,
    pub(in crate::webhooks) message: Option<MessageId>,
    pub(in crate::webhooks) after: Option<Position>,
    pub(in crate::webhooks) until: Option<Position>,
    pub(in crate::webhooks) status: Option<DeliveryStatus>,
    pub(in crate::webhooks) session: Option<SessionId>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(in crate::webhooks) struct TakenRequest {
    pub(in crate::webhooks) id: Uuid,
    pub(in crate::webhooks) lane: LaneId,
    pub(in crate::webhooks) request: LaneRequest,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::webhooks) struct LaneReply {
    /// How many deliveries were concerned, where that is told.
    pub(in crate::webhooks) count: usize,
    /// Why nothing was done.
    pub(in crate::webhooks) refusal: Option<String>,
}
