//! A database with a log, leases and deliveries; nodes in this process; tenants and messages.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use amoiq_actors::{
    tenants::{TenantHandle, TenantRegistry},
    webhooks::{
        DeliveryOutcome, DeliveryStore, LaneSettings, RetrySchedule, ThrottleSettings, WebhookEndpoint,
        WebhookPayload, WebhookSender, WebhookServices, WebhooksHandle,
    },
};
use amoiq_events::{
    Ambient, Event, EventLog, MessageText, Position, SessionId, StreamName, TenantId, WebhookId,
    cluster::{ClusterLeases, ClusterOptions, NodeDescription, PostgresLeases},
    event::EventCause,
    postgres::PostgresOptions,
    session::{MessageCreated, MessageSender, SessionEvent},
    store::{Epoch, ExpectedVersion, postgres::PostgresStore},
    tenant::{DesiredTenant, ManagedBy, TenantCommand, TenantSettings},
    webhook::{WebhookCommand, WebhookSecret, WebhookSettings},
};
use amoiq_testkit::PostgresServer;

/// The term of leases: longer than a busy machine stops a process.
pub(crate) const TERM: Duration = Duration::from_secs(3);

/// What all nodes share.
pub(crate) struct SharedDatabase {
    pub(crate) options: PostgresOptions,
    pub(crate) log: Arc<PostgresStore>,
}

/// A running node.
pub(crate) struct GivenNode {
    pub(crate) leases: Arc<dyn ClusterLeases>,
    pub(crate) deliveries: DeliveryStore,
    pub(crate) webhooks: WebhooksHandle,
}

impl SharedDatabase {
    pub(crate) fn new() -> Self {
        let server = PostgresServer::shared();
        Self::on(PostgresOptions { schema: server.new_schema(), ..PostgresOptions::new(&server.address()) })
    }

    pub(crate) fn on(options: PostgresOptions) -> Self {
        let log = Arc::new(PostgresStore::open(&options, &Ambient::system()).expect("the log opens"));
        Self { options, log }
    }

    pub(crate) fn leases(&self, name: &str, directory: &Path) -> Arc<dyn ClusterLeases> {
        let joined = PostgresLeases::open(ClusterOptions {
            database: self.log.database().expect("the database"),
            node: NodeDescription::named(name),
            epoch: self.log.epoch(),
            directory: directory.to_owned(),
            ambient: Ambient::system(),
            term: TERM,
        });
        Arc::new(joined.expect("joined"))
    }

    pub(crate) fn deliveries(&self) -> DeliveryStore {
        DeliveryStore::shared(self.log.database().expect("the database")).expect("the outbox opens")
    }

    /// The log goes on in another epoch, as if another node had found that it lost its end.
    pub(crate) fn go_on_in(&self, epoch: Epoch) {
        let (schema, epoch) = (&self.options.schema, epoch.0);
        PostgresServer::shared().ask(&format!(
            "INSERT INTO {schema}.epochs SELECT 2, {epoch}, s.epoch, s.epoch, 0 FROM {schema}.store s;
             UPDATE {schema}.store SET epoch = {epoch}"
        ));
    }

    /// Starts a node on the caller's thread.
    pub(crate) async fn start(
        &self,
        name: &str,
        directory: &Path,
        sender: Arc<dyn WebhookSender>,
    ) -> GivenNode {
        let (leases, deliveries) = (self.leases(name, directory), self.deliveries());
        deliveries.adopt(self.log.epoch(), self.log.head()).await.expect("its log");
        let services = WebhookServices {
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            ambient: Ambient::system(),
            registry: self.registry().await,
            deliveries: deliveries.clone(),
            leases: Arc::clone(&leases),
            sender,
        };
        let webhooks = WebhooksHandle::start_here(lane_settings(), services);
        leases.serve();
        GivenNode { leases, deliveries, webhooks }
    }

    pub(crate) async fn registry(&self) -> Arc<TenantRegistry> {
        Arc::new(TenantRegistry::load(&*self.log, false).await.expect("tenants"))
    }

    /// The tenant with these endpoints.
    pub(crate) async fn found(&self, endpoints: &[&str]) {
        let log = Arc::clone(&self.log) as Arc<dyn EventLog>;
        let handle = TenantHandle::start(tenant(), log, Ambient::system(), self.registry().await);
        let settings =
            TenantSettings { name: String::new(), origins: Vec::new(), source: ManagedBy::Configuration };
        let desired = DesiredTenant { settings: Some(settings), ..DesiredTenant::default() };
        handle.execute(TenantCommand::Reconcile(desired), cause()).await.expect("a tenant");
        for name in endpoints {
            let register = WebhookCommand::Register {
                settings: WebhookSettings {
                    url: "https://a.example".to_owned(),
                    events: vec!["message.created".to_owned()],
                    description: None,
                    headers: BTreeMap::new(),
                    rate_per_second: None,
                },
                secret: WebhookSecret::new("whsec_a".to_owned()),
                source: ManagedBy::Api,
            };
            let command = TenantCommand::Webhook(webhook(name), register);
            handle.execute(command, cause()).await.expect("an endpoint");
        }
    }

    /// Appends a message.
    pub(crate) async fn say(&self, session: &str, text: &str) -> Position {
        let ambient = Ambient::system();
        let message = MessageCreated {
            message_id: ambient.message_id(),
            seq: 1,
            text: MessageText::parse(text, 100).expect("a text"),
            sender: MessageSender::User,
            author: None,
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: None,
            client_timestamp: None,
            page: None,
            conversation_id: None,
        };
        let event = Event::Session(SessionEvent::MessageCreated(message)).envelope(&ambient, &cause());
        let stream = StreamName::session(&tenant(), &SessionId::parse(session).expect("an id"));
        let appended = self.log.append(stream, ExpectedVersion::Any, vec![event]).await;
        appended.expect("it is stored").position
    }
}

/// A receiver that answers with one status.
pub(crate) struct UsualAnswer(pub(crate) u16);

impl WebhookSender for UsualAnswer {
    fn send(
        &self,
        _: Arc<WebhookEndpoint>,
        _: WebhookPayload,
    ) -> std::pin::Pin<Box<dyn Future<Output = DeliveryOutcome> + Send + 'static>> {
        let status = self.0;
        let error = (status >= 300).then(|| "refused".to_owned());
        Box::pin(async move { DeliveryOutcome { status: Some(status), error, ..DeliveryOutcome::default() } })
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").expect("an id")
}

pub(crate) fn webhook(id: &str) -> WebhookId {
    WebhookId::parse(id).expect("an id")
}

pub(crate) fn cause() -> EventCause {
    EventCause { causation: "request".into(), actor: "test".into() }
}

/// Waits until a condition is true.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + amoiq_testkit::waiting::PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn lane_settings() -> LaneSettings {
    LaneSettings {
        schedule: RetrySchedule { waits: vec![Duration::from_millis(200); 10_000], jitter_percent: 10 },
        throttle: ThrottleSettings {
            in_flight: 8,
            breaker_failures: 5,
            breaker_min: Duration::from_millis(100),
            breaker_max: Duration::from_millis(500),
        },
        attempt_timeout: Duration::from_secs(5),
        in_flight: 64,
        pending: 1_000,
        refused_hold: Duration::from_mins(5),
        disable_after: Duration::from_hours(100),
    }
}
