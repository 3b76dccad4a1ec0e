//! stub
#![allow(missing_docs, clippy::all)]
use super::delivery::*;
use amoiq_events::{store::Epoch, *};
#[derive(Clone)]
pub struct Outbox;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(i64);
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct OutboxError;
pub struct DeliveriesQuery {
    pub status: Option<DeliveryStatus>,
    pub before: Option<Position>,
    pub limit: u32,
}
impl Outbox {
    pub async fn adopt(&self, _epoch: Epoch, _head: Position) -> Result<(), OutboxError> {
        Ok(())
    }
    pub async fn lane(
        &self,
        _t: &TenantId,
        _w: &WebhookId,
        _s: Position,
    ) -> Result<(LaneId, Marks), OutboxError> {
        Err(OutboxError)
    }
    pub async fn lanes(&self) -> Result<Vec<(LaneId, TenantId, WebhookId)>, OutboxError> {
        Err(OutboxError)
    }
    pub async fn remove(&self, _lane: LaneId) -> Result<(), OutboxError> {
        Ok(())
    }
    pub async fn pending(&self, _lane: LaneId) -> Result<Vec<Delivery>, OutboxError> {
        Err(OutboxError)
    }
    pub async fn settled_after(
        &self,
        _lane: LaneId,
        _p: Position,
    ) -> Result<std::collections::BTreeSet<Position>, OutboxError> {
        Err(OutboxError)
    }
    pub async fn record(
        &self,
        _lane: LaneId,
        _marks: Marks,
        _entries: Vec<(Delivery, Option<Attempt>)>,
    ) -> Result<(), OutboxError> {
        Ok(())
    }
    pub async fn deliveries(
        &self,
        _lane: LaneId,
        _query: DeliveriesQuery,
    ) -> Result<Vec<(Delivery, Vec<Attempt>)>, OutboxError> {
        Err(OutboxError)
    }
    pub async fn find(&self, _lane: LaneId, _message: MessageId) -> Result<Option<Delivery>, OutboxError> {
        Err(OutboxError)
    }
}
