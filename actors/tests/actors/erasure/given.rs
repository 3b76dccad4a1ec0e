//! An eraser under test, with everything from which it erases.

use std::{path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use amoiq_actors::{
    erasure::{EraseError, EraserHandle, ErasureTargets},
    inbox::{InboxProjection, InboxView},
    presence::{PresenceHandle, PresenceSettings, PresenceSignals},
    projections::{DeadLetter, DeadLetters, Projector, ViewStore},
    sessions::ProvenUsers,
    tenants::TenantRegistry,
    webhooks::{
        DeliveryOutcome, DeliveryStore, LaneSettings, RetrySchedule, ThrottleSettings, WebhookEndpoint,
        WebhookPayload, WebhookSender, WebhookServices, WebhooksHandle,
    },
};
use amoiq_events::{
    Event, EventLog, SessionId, StreamName, TenantId, UserId, Version,
    presence::{PresenceEvent, UserOffline},
    store::{ExpectedVersion, ReadDirection},
};
use tempfile::TempDir;

use crate::{
    delivery_store::given::single_node,
    given::{DEADLINE, Given, cause, id, tenant},
    projections::given::until,
};

/// There is no endpoint that could fail.
const BREAKER: Duration = Duration::from_millis(40);

/// Nothing is sent: there is no endpoint.
struct Nobody;

impl WebhookSender for Nobody {
    fn send(
        &self,
        _endpoint: Arc<WebhookEndpoint>,
        _content: WebhookPayload,
    ) -> std::pin::Pin<Box<dyn Future<Output = DeliveryOutcome> + Send>> {
        Box::pin(std::future::ready(DeliveryOutcome::default()))
    }
}

/// An eraser, its targets, and a data directory.
pub(crate) struct Erasing {
    pub(crate) given: Given,
    pub(crate) eraser: EraserHandle,
    pub(crate) inbox: InboxView,
    pub(crate) presence: PresenceHandle,
    pub(crate) data: Rc<TempDir>,
    /// The directory of the databases. After a restart it is another, and they are built again.
    files: TempDir,
}

impl Erasing {
    pub(crate) async fn new(given: Given) -> Self {
        Self::with_letters(given, &[]).await
    }

    /// With a list of events that projections skip.
    pub(crate) async fn with_letters(given: Given, letters: &[DeadLetter]) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let list = serde_json::to_vec(letters).expect("JSON");
        std::fs::write(files.path().join("dead-letters.json"), list).expect("written");
        Self::within(given, files, Rc::new(tempfile::tempdir().expect("a directory"))).await
    }

    /// The events that projections skip, as listed in the file.
    pub(crate) fn letters(&self) -> Vec<DeadLetter> {
        DeadLetters::open(self.files.path()).expect("a list").all()
    }

    /// After a stop: another process on the same log and data directory.
    pub(crate) async fn restarted(&self) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        Self::within(self.given.restarted(), files, Rc::clone(&self.data)).await
    }

    async fn within(given: Given, files: TempDir, data: Rc<TempDir>) -> Self {
        let (store, log) = (given.store.shared(), given.store.shared_log());
        let views = ViewStore::open(&files.path().join("views.db")).expect("views.db");
        let progress = Projector::<InboxProjection>::start(&views, &log);
        let inbox = InboxView::new(views, progress, DEADLINE);
        let registry = Arc::new(TenantRegistry::load(&*store, false).await.expect("tenants"));
        let outbox = DeliveryStore::open(&files.path().join("outbox.db")).expect("outbox.db");
        let settings = LaneSettings {
            schedule: RetrySchedule { waits: vec![Duration::ZERO], jitter_percent: 0 },
            throttle: ThrottleSettings {
                in_flight: 1,
                breaker_failures: 1,
                breaker_min: BREAKER,
                breaker_max: BREAKER,
            },
            attempt_timeout: DEADLINE,
            in_flight: 1,
            pending: 10,
            refused_hold: Duration::from_mins(5),
            disable_after: DEADLINE,
        };
        let ambient = given.ambient.clone();
        outbox.adopt(store.epoch(), store.head()).await.expect("its log");
        let services = WebhookServices {
            log: Arc::clone(&log),
            ambient: ambient.clone(),
            registry,
            deliveries: outbox,
            leases: single_node(),
            sender: Arc::new(Nobody),
        };
        let webhooks = WebhooksHandle::start_here(settings, services);
        let offline_grace = DEADLINE;
        let presence = PresenceSettings { offline_grace, batch: Duration::from_millis(5) };
        let presence = PresenceHandle::start_here(presence, &log, &ambient, &PresenceSignals::new().0);
        let eraser = EraserHandle::start(ErasureTargets {
            presence: presence.clone(),
            directory: given.directory.clone(),
            inbox: inbox.clone(),
            proven: ProvenUsers::default(),
            webhooks,
            store,
            data: Some(data.path().to_owned()),
        });
        Self { given, eraser, inbox, presence, data, files }
    }

    pub(crate) async fn came_and_went(&self, session: &str) {
        self.came_and_went_to(&tenant(), "ann", session).await;
    }

    pub(crate) async fn came_and_went_to(&self, tenant: &TenantId, user: &str, session: &str) {
        let offline = UserOffline {
            user_id: UserId::parse(user).expect("an id"),
            session_id: id(session),
            verified: None,
            node: None,
        };
        let event = Event::Presence(PresenceEvent::Offline(offline));
        let envelope = event.envelope(&self.given.ambient, &cause());
        let appended =
            self.given.store.append(StreamName::presence(tenant), ExpectedVersion::Any, vec![envelope]);
        appended.await.expect("appended");
    }

    /// The versions that are left of a tenant's presence.
    pub(crate) async fn presence(&self, tenant: &TenantId) -> Vec<u64> {
        let (stream, first) = (StreamName::presence(tenant), Version::from_u64(1));
        let events = self.given.store.read_stream(stream, first, ReadDirection::Forward, 10_000).await;
        events.expect("events").iter().map(|event| event.version.as_u64()).collect()
    }

    /// The file that says whom to erase.
    pub(crate) fn marker(&self) -> PathBuf {
        self.data.path().join("erasing")
    }

    /// The database of the read models.
    pub(crate) fn views(&self) -> PathBuf {
        self.files.path().join("views.db")
    }

    /// Waits until all orders are done.
    pub(crate) async fn complete(&self) {
        until(|| !self.marker().exists()).await;
    }

    /// Erases sessions, and a user's presence.
    pub(crate) async fn erase(&self, sessions: &[&str], user: &str) -> Result<Vec<SessionId>, EraseError> {
        let sessions = sessions.iter().map(|session| id(session)).collect();
        self.eraser.erase(tenant(), sessions, UserId::parse(user).ok(), cause()).await
    }
}
