//! What every lane works with: the log, the outbox, the courier, and what they share among them.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, EventStore, Position, RecordedEvent, TenantId,
    codec::{self, CodecError},
    event::{Event, EventCause},
    session::SessionEvent,
    store::ReadError,
    stream::StreamKind,
    tenant::TenantCommand,
    webhook::WebhookCommand,
};
use tokio::time::Instant;

use super::{
    Counts,
    courier::{Announcement, Answer, Content, Courier, Endpoint},
    moment::Moment,
    outbox::Outbox,
    places::{Place, Places},
    schedule::Schedule,
    throttle::ThrottleSettings,
};
use crate::tenants::{TenantError, TenantHandle, TenantRegistry};

/// How many lanes read the log for themselves at the same time, of different tenants: the store's readers serve
/// others too.
const READERS: usize = 2;

/// How many events one reading takes.
const READ_EVENTS: usize = 1_000;

/// Of the attempts at the same time, those of one tenant are at most one in so many.
const TENANT_PART: usize = 8;

/// How lanes work.
#[derive(Debug, Clone)]
pub struct LaneSettings {
    /// When a delivery is tried again.
    pub schedule: Schedule,
    /// The limits of one endpoint.
    pub throttle: ThrottleSettings,
    /// How long an attempt may take, from connecting to the answer's end.
    pub attempt_timeout: Duration,
    /// Attempts at the same time, to all endpoints together.
    pub in_flight: usize,
    /// Deliveries of one endpoint that wait; at the limit its lane reads no further.
    pub pending: usize,
    /// How long a message that the endpoint refuses holds its session at the most, while the endpoint takes others.
    pub refused_hold: Duration,
    /// An endpoint that failed everything for so long is disabled.
    pub disable_after: Duration,
}

/// What lanes share.
pub(super) struct Desk {
    pub(super) settings: LaneSettings,
    pub(super) store: Arc<dyn EventStore>,
    pub(super) ambient: Ambient,
    pub(super) registry: Arc<TenantRegistry>,
    pub(super) outbox: Outbox,
    pub(super) courier: Arc<dyn Courier>,
    pub(super) counts: Arc<Counts>,
    /// Attempts of all lanes. Whoever waits longest is next, and a lane asks for one at a time. A tenant has
    /// its part of them, so that endpoints that take their time do not take all of them.
    in_flight: Places<TenantId>,
    readers: Places<TenantId>,
}

/// An attempt that was made.
pub(super) struct Tried {
    pub(super) answer: Answer,
    pub(super) at: amoiq_events::Timestamp,
    pub(super) duration: Duration,
}

impl Desk {
    pub(super) fn new(
        settings: LaneSettings,
        store: Arc<dyn EventStore>,
        ambient: Ambient,
        registry: Arc<TenantRegistry>,
        outbox: Outbox,
        courier: Arc<dyn Courier>,
    ) -> Self {
        // Enough for one endpoint that does well.
        let part = (settings.in_flight / TENANT_PART).max(settings.throttle.in_flight);
        let in_flight = Places::new(settings.in_flight, part);
        let (counts, readers) = (Arc::default(), Places::new(READERS, 1));
        Self { settings, store, ambient, registry, outbox, courier, counts, in_flight, readers }
    }

    /// The events after a position, when it is this lane's turn among its tenant's, and then its tenant's.
    pub(super) async fn read(
        &self,
        tenant: &TenantId,
        after: Position,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let _turn = self.readers.take(tenant).await;
        self.store.read_all(after, READ_EVENTS).await
    }

    /// The message at a position; nothing when it was erased.
    pub(super) async fn fetch(
        &self,
        tenant: &TenantId,
        position: Position,
    ) -> Result<Option<Arc<Announcement>>, Unreadable> {
        let before = Position::from_u64(position.as_u64().saturating_sub(1));
        let events = self.store.read_all(before, 1).await?;
        let Some(event) = events.first().filter(|event| event.position == position) else { return Ok(None) };
        Ok(announce(event)?.filter(|announcement| announcement.tenant == *tenant))
    }

    /// A place for an attempt, when it is this tenant's turn.
    pub(super) async fn place(&self, tenant: &TenantId) -> Place {
        self.in_flight.take(tenant).await
    }

    /// A place for an attempt, if one is free.
    pub(super) fn free_place(&self, tenant: &TenantId) -> Option<Place> {
        self.in_flight.try_take(tenant)
    }

    /// Makes one attempt, and holds its place for as long.
    pub(super) async fn attempt(&self, endpoint: Arc<Endpoint>, content: Content, _place: Place) -> Tried {
        let (at, begun) = (self.ambient.now(), Instant::now());
        let delivering = self.courier.deliver(endpoint, content);
        let answer = match tokio::time::timeout(self.settings.attempt_timeout, delivering).await {
            Ok(answer) => answer,
            Err(_elapsed) => Answer { error: Some(self.late()), ..Answer::default() },
        };
        let tried = Tried { answer, at, duration: begun.elapsed() };
        self.counts.tried(tried.answer.is_success(), tried.duration);
        tried
    }

    fn late(&self) -> String {
        format!("no answer within {} ms", self.settings.attempt_timeout.as_millis())
    }

    /// Disables an endpoint, as an event.
    pub(super) async fn disable(&self, endpoint: &Endpoint, reason: String) -> Result<(), TenantError> {
        let (store, registry) = (Arc::clone(&self.store), Arc::clone(&self.registry));
        let tenant = TenantHandle::start(endpoint.tenant.clone(), store, self.ambient.clone(), registry);
        let cause = EventCause { causation: "delivery".into(), actor: "service:webhooks".into() };
        let command = WebhookCommand::Disable { reason };
        tenant.execute(TenantCommand::Webhook(endpoint.id.clone(), command), cause).await?;
        Ok(())
    }

    /// The moment of asking, by both clocks.
    pub(super) fn now(&self) -> Moment {
        Moment::now(&self.ambient)
    }

    /// A number that nobody foresees, for the jitter.
    pub(super) fn random(&self) -> u64 {
        u64::from_le_bytes(self.ambient.bytes())
    }
}

/// Why the log does not say what a delivery is of.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It does not answer.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A newer release wrote the event.
    #[error(transparent)]
    Newer(#[from] CodecError),
}

/// What an event says to endpoints; nothing when they do not hear of it.
///
/// # Errors
/// When a newer release wrote it: what endpoints would hear of it is known once that runs again. One that no
/// release can read is passed by.
pub(super) fn announce(recorded: &RecordedEvent) -> Result<Option<Arc<Announcement>>, CodecError> {
    if recorded.event.kind != "message.created" {
        return Ok(None);
    }
    let Some(StreamKind::Session(tenant, session)) = recorded.stream.kind() else { return Ok(None) };
    match codec::decode(recorded) {
        Ok(Event::Session(SessionEvent::MessageCreated(message))) => Ok(Some(Arc::new(Announcement {
            event_id: recorded.event.id,
            position: recorded.position,
            time: recorded.event.time,
            tenant,
            session,
            message,
        }))),
        Ok(_) => Ok(None),
        Err(error @ CodecError::UnknownSchema { .. }) => Err(error),
        Err(error) => {
            tracing::error!(position = %recorded.position, %error, "an event cannot be read and is not delivered");
            Ok(None)
        }
    }
}
