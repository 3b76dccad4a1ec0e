//! What every lane works with: the log, the outbox, the courier, and what they share among them.

use std::{sync::Arc, time::Duration};

use amoiq_events::{
    Ambient, EventStore, Position, RecordedEvent, TenantId, codec,
    event::{Cause, Event},
    session::SessionEvent,
    store::ReadError,
    stream::StreamKind,
    tenant::TenantCommand,
    webhook::WebhookCommand,
};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Counts,
    courier::{Announcement, Answer, Content, Courier, Endpoint},
    outbox::Outbox,
    schedule::Schedule,
    throttle::ThrottleSettings,
};
use crate::{
    TenantRegistry,
    tenant::{TenantError, TenantHandle},
};

/// How many lanes read the log for themselves at the same time: the store's readers serve others too.
const READERS: usize = 2;

/// How many events one reading takes.
const READ_EVENTS: usize = 1_000;

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
    /// Attempts of all lanes. Whoever waits longest is next, and a lane in trouble asks for one at a time, so
    /// that endpoints that hang do not take all of them.
    in_flight: Semaphore,
    readers: Semaphore,
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
        let in_flight = Semaphore::new(settings.in_flight);
        let (counts, readers) = (Arc::default(), Semaphore::new(READERS));
        Self { settings, store, ambient, registry, outbox, courier, counts, in_flight, readers }
    }

    /// The events after a position, when it is this lane's turn to read.
    pub(super) async fn read(&self, after: Position) -> Result<Vec<RecordedEvent>, ReadError> {
        let _turn = self.readers.acquire().await;
        self.store.read_all(after, READ_EVENTS).await
    }

    /// The message at a position; nothing when it was erased.
    pub(super) async fn fetch(
        &self,
        tenant: &TenantId,
        position: Position,
    ) -> Result<Option<Arc<Announcement>>, ReadError> {
        let before = Position::from_u64(position.as_u64().saturating_sub(1));
        let events = self.store.read_all(before, 1).await?;
        let found = events.first().filter(|event| event.position == position).and_then(announce);
        Ok(found.filter(|announcement| announcement.tenant == *tenant))
    }

    /// Makes one attempt.
    pub(super) async fn attempt(&self, endpoint: Arc<Endpoint>, content: Content) -> Tried {
        let _place = self.in_flight.acquire().await;
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
        let cause = Cause { causation: "delivery".into(), actor: "service:webhooks".into() };
        let command = WebhookCommand::Disable { reason };
        tenant.execute(TenantCommand::Webhook(endpoint.id.clone(), command), cause).await?;
        Ok(())
    }

    /// A number that nobody foresees, for the jitter.
    pub(super) fn random(&self) -> u64 {
        u64::from_le_bytes(self.ambient.bytes())
    }
}

/// What an event says to endpoints; nothing when they do not hear of it.
pub(super) fn announce(recorded: &RecordedEvent) -> Option<Arc<Announcement>> {
    if recorded.event.kind != "message.created" {
        return None;
    }
    let StreamKind::Session(tenant, session) = recorded.stream.kind()? else { return None };
    match codec::decode(recorded) {
        Ok(Event::Session(SessionEvent::MessageCreated(message))) => Some(Arc::new(Announcement {
            event_id: recorded.event.id,
            position: recorded.position,
            time: recorded.event.time,
            tenant,
            session,
            message,
        })),
        Ok(_) => None,
        Err(error) => {
            tracing::error!(position = %recorded.position, %error, "an event cannot be read and is not delivered");
            None
        }
    }
}
