//! Builds the service and runs it until it is told to stop.

mod erasure;
mod listeners;
mod parts;
mod service_manager;
mod signals;
mod sockets;
mod webhooks;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, dev::Server, middleware::from_fn};
use amoiq_actors::{inbox::InboxView, tenants::TenantRegistry, webhooks::WebhooksHandle};
use amoiq_events::{
    Ambient, EventStore, NewEvent, StreamName,
    event::{Event, EventCause},
    node::{NodeEvent, NodeStarted},
    store::{ExpectedVersion, sqlite::SqliteStore},
};
use anyhow::Context;

pub use self::listeners::Listeners;
pub(crate) use self::parts::{check_secrets, directory_settings};
use self::{
    parts::Parts, service_manager::ServiceManager, signals::Stop, sockets::SocketServer,
    webhooks::WebhookServer,
};
use crate::{
    access::key_uses::KeyUses,
    access::tenants,
    config::{Config, MOST_THREADS, environment},
    connections::{self, Serving},
    http,
    operator::{OperatorServer, server::Place},
    telemetry::logging::{self, Greeting, Losses},
    telemetry::metrics::{Metrics, RequestMeter},
};

/// How long requests and deliveries in flight may take after the signal to stop.
const DRAIN_SECONDS: u64 = 3;

/// How long closing the store may take after that.
const CLOSE_PATIENCE: Duration = Duration::from_millis(1_500);

/// Over how long sockets are closed when the service stops, so that clients do not all come back at once.
const SPREAD: Duration = Duration::from_millis(1_500);

/// How long a start waits for another process that has the store: a service that stops, `amoiq rebuild`.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the text says why.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let lines = logging::start(&config.log)?;
    for warning in environment::lookalikes(std::env::vars_os()) {
        tracing::warn!("{warning}");
    }
    let system = actix::System::new();
    let served = system.block_on(async {
        signals::ignore_others()?;
        let service = Service::start(config, lines.losses()).await?;
        // Before the greeting: whoever waits for it may stop the service at once.
        let stop = Stop::listen()?;
        let manager = ServiceManager::from_environment();
        manager.ready(&format!("listens on {}", service.address));
        lines.greet(&service.greeting());
        service.run(stop, manager).await
    });
    // Actors that are left, those of a start that failed among them, run a last time when they are dropped, and
    // set their timers.
    let context = system.runtime().tokio_runtime().handle().clone();
    let _entered = context.enter();
    drop(system);
    served
}

/// The running service.
pub struct Service {
    address: SocketAddr,
    serves_demo: bool,
    server: Server,
    sockets: SocketServer,
    webhooks: WebhookServer,
    operator: OperatorServer,
    inbox: InboxView,
    key_uses: KeyUses,
    store: Arc<SqliteStore>,
}

impl Service {
    /// Opens the store, starts the actors and listens.
    ///
    /// # Errors
    /// When a part cannot start; the text says which and why.
    pub async fn start(config: Config, losses: Losses) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let listeners = Listeners::of(&config);
        let directory = &config.store.path;
        let opening = || SqliteStore::open_within(directory, &ambient, LOCK_PATIENCE);
        let embedded = Arc::new(opening().with_context(|| format!("store.path {}", directory.display()))?);
        let store: Arc<dyn EventStore> = Arc::clone(&embedded) as _;
        // Before anything is appended: what is from now on is for every endpoint.
        let outbox = webhooks::outbox(directory, &*store).await?;
        amoiq_actors::erasure::finish_erasures(&*store).await?;
        let registry = TenantRegistry::load(&*store, tenants::allows_demo(config.server.bind)).await?;
        let registry = Arc::new(registry);
        let key_uses = KeyUses::start(Arc::clone(&registry), directory);
        let (bind, webhooks) = (config.server.bind, &config.webhooks);
        tenants::reconcile(&config.tenants, bind, webhooks, &store, &ambient, &registry).await?;
        let (online, signals) = parts::presence(&config, &store, &ambient);
        announce(&*store, &ambient).await?;

        let listener = TcpListener::bind(config.server.bind)
            .with_context(|| format!("server.bind {}", config.server.bind))?;
        let address = listener.local_addr()?;
        let serves_demo = tenants::serves_demo(&registry);
        let parts = Parts::build(&config, directory, &store, &ambient, Arc::clone(&registry), online)?;
        let sources = sockets::Sources { listener: &listeners.service, signals };
        let sockets = SocketServer::start(&config, &parts, &store, &ambient, &registry, sources);
        let webhooks = WebhookServer::start(&config, outbox, &store, &ambient, &registry)?;
        let eraser = erasure::start(&config.retention, directory, &parts, webhooks.lanes(), &store, &ambient);
        let desk = webhooks.desk(parts.rebuilds.clone());
        let metrics_networks = config.operator.metrics_networks.clone();
        let place = Place {
            bind: config.operator.bind,
            service: address,
            metrics_networks,
            directory,
            listener: Arc::clone(&listeners.operator),
        };
        let sources = parts.sources(&embedded, directory, &desk, &sockets, &webhooks, losses);
        let metrics = Metrics::new(sources, listeners.clone());
        let requests = metrics.requests();
        let operator = OperatorServer::start(&place, desk, eraser, metrics)?;
        let inbox = (**parts.inbox).clone();
        // Once it is sure to start: one that cannot says that alone.
        listeners.warn(&config.realtime);
        let serving = listeners.serving(threads(config.server.workers, 1));
        let server = listen(serving, listener, parts, sockets.clone(), webhooks.clone(), requests)?;
        let store = embedded;
        Ok(Self { address, serves_demo, server, sockets, webhooks, operator, inbox, key_uses, store })
    }

    /// Where the service is and, for the demo, how to try it.
    fn greeting(&self) -> Greeting {
        let address = self.address;
        Greeting {
            message: format!("amoiq {} listens on http://{address}", env!("CARGO_PKG_VERSION")),
            demo: self.serves_demo.then(|| tenants::demo_lines(address)),
        }
    }

    /// Serves until the process is told to stop, then finishes what is in flight.
    async fn run(self, mut stop: Stop, manager: ServiceManager) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let webhooks = self.webhooks.lanes();
        let stopping = actix::spawn(async move {
            stop.asked().await;
            manager.stopping();
            tracing::info!("stopping: finishing what is in flight");
            // Nobody is accepted any more while those who are there are sent away.
            let deliveries = self.webhooks.drain(Duration::from_secs(DRAIN_SECONDS));
            tokio::join!(handle.stop(true), self.sockets.drain(SPREAD), deliveries);
        });
        let (operator, door) = self.operator.run();
        let served = self.server.await;
        door.remove();
        operator.stop(false).await;
        served?;
        stopping.await?;
        if tokio::time::timeout(CLOSE_PATIENCE, close(self.store, self.key_uses, &self.inbox, &webhooks))
            .await
            .is_err()
        {
            tracing::warn!("the databases did not close in time; the next start mends what they lack");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Closes the store, and brings each database into its one file. What was acknowledged is on disk already, so
/// a disk that hangs need not be waited for.
async fn close(store: Arc<SqliteStore>, key_uses: KeyUses, inbox: &InboxView, webhooks: &WebhooksHandle) {
    let (closed, waits) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        store.close();
        key_uses.finish();
        let _stopped_waiting = closed.send(());
    });
    // A thread that panicked has said so.
    let _closed = waits.await;
    let (views, outbox) = tokio::join!(inbox.truncate_log(), webhooks.truncate_log());
    if let Err(error) = views {
        tracing::warn!(%error, "views.db keeps its write-ahead log");
    }
    if let Err(error) = outbox {
        tracing::warn!(%error, "outbox.db keeps its write-ahead log");
    }
}

fn listen(
    serving: Serving,
    listener: TcpListener,
    parts: Parts,
    sockets: SocketServer,
    webhooks: WebhookServer,
    requests: RequestMeter,
) -> anyhow::Result<Server> {
    let app = move || {
        App::new()
            .app_data(requests.worker())
            .configure(|routes| parts.provide(routes))
            .configure(|routes| sockets.configure(routes))
            .configure(|routes| webhooks.provide(routes))
            .configure(http::configure)
            // The last one is the outermost.
            .wrap(from_fn(http::limits::limits))
            .wrap(from_fn(http::cors::cors))
            .wrap(from_fn(http::trace::trace))
    };
    Ok(connections::serve(listener, serving, app)?)
}

/// Notes in the log that this process took it over.
async fn announce(store: &dyn EventStore, ambient: &Ambient) -> anyhow::Result<()> {
    let started =
        Event::Node(NodeEvent::Started(NodeStarted { release: env!("CARGO_PKG_VERSION").to_owned() }));
    let cause = EventCause { causation: "start".into(), actor: "service:node".into() };
    let envelope: NewEvent = started.envelope(ambient, &cause);
    store.append(StreamName::node("local"), ExpectedVersion::Any, vec![envelope]).await?;
    Ok(())
}

/// So many threads, or one for each `cores_each` cores.
fn threads(configured: usize, cores_each: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if configured > 0 { configured } else { (cores / cores_each).clamp(1, MOST_THREADS) }
}
