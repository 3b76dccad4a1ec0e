//! Builds the service and runs it until a signal stops it.

mod app_services;
mod configured_tenants;
mod core_services;
mod demo_tenant;
mod erasure;
mod jwt_secrets;
mod listeners;
mod metrics;
mod sockets;
mod supervision;
mod webhooks;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use actix_web::{App, dev::Server, middleware::from_fn};
use amoiq_actors::{
    inbox::InboxView,
    webhooks::{LANE_LEASES, WebhooksHandle},
};
use amoiq_connections::ServeSettings;
use amoiq_events::{
    Ambient, NewEvent, StreamName,
    cluster::ClusterLeases,
    event::{Event, EventCause},
    node::{NodeEvent, NodeStarted},
    store::{ExpectedVersion, OpenedStore, sqlite::DirectoryLock},
};
use anyhow::{Context, bail};

use self::{
    app_services::AppServices,
    core_services::{CoreServices, cluster::JoinedNode, open_log::LogOpening},
    jwt_secrets::TokenSecrets,
    listeners::ServiceListeners,
    sockets::SocketServer,
    supervision::{DrainPeriod, ServiceManager, StopSignals},
    webhooks::WebhookServer,
};
pub(crate) use self::{
    app_services::directory_settings,
    configured_tenants::desired_tenants,
    core_services::{cluster::shared_database, kurrent_log, open_log},
    jwt_secrets::check_secrets,
};
use crate::{
    access::key_uses::KeyUses,
    config::{Config, MOST_THREADS, environment},
    http,
    operator::{OperatorServer, server::OperatorServerSettings},
    telemetry::logging::{self, StartBanner, TelemetryLosses},
    telemetry::metrics::RequestMeter,
};

/// How long a start waits for another process that holds the store: a service that is stopping, or `amoiq rebuild`.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long closing the store may take after that.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The time over which the sockets are closed when the service stops, so that clients do not all reconnect at once.
const SOCKET_CLOSE_SPREAD: Duration = Duration::from_millis(1_500);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the text says why.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let logging = logging::start(&config.log)?;
    for warning in environment::lookalikes(std::env::vars_os()) {
        tracing::warn!("{warning}");
    }
    let system = actix::System::new();
    let served = system.block_on(async {
        supervision::ignore_others()?;
        let service = RunningService::start(config, logging.losses()).await?;
        // Before the banner: whoever waits for it may stop the service at once.
        let stop = StopSignals::listen()?;
        let manager = ServiceManager::from_environment();
        manager.ready(&format!("listens on {}", service.address));
        logging.show_banner(&start_banner(service.address, service.serves_demo));
        service.run(stop, manager).await
    });
    // The remaining actors, also those of a start that failed, run once more when they are dropped, and set timers,
    // which needs a runtime.
    let context = system.runtime().tokio_runtime().handle().clone();
    let _entered = context.enter();
    drop(system);
    served
}

/// The running service.
pub struct RunningService {
    address: SocketAddr,
    serves_demo: bool,
    drain: DrainPeriod,
    server: Server,
    sockets: SocketServer,
    webhooks: WebhookServer,
    operator: OperatorServer,
    inbox: InboxView,
    key_uses: KeyUses,
    log: Arc<dyn OpenedStore>,
    leases: Arc<dyn ClusterLeases>,
    _data_directory: Option<DirectoryLock>,
}

impl RunningService {
    /// Opens the store, starts the actors and listens.
    ///
    /// # Errors
    /// When a part cannot start; the text says which and why.
    pub async fn start(config: Config, losses: TelemetryLosses) -> anyhow::Result<Self> {
        let listeners = ServiceListeners::of(&config);
        let ambient = Ambient::system();
        let LogOpening { log, shared, lock } = open_log::open_log(&config.store, &ambient, LOCK_TIMEOUT)?;
        let secrets = TokenSecrets::load(&config.auth, &config.store.path, &ambient)?;
        let joined = JoinedNode::join(&config, &*log, shared, &secrets, &ambient)?;
        let leases = Arc::clone(&joined.leases);
        let starting = async {
            let core = CoreServices::load(config, log, ambient, secrets, joined).await?;
            Self::start_on(core, listeners, losses, lock).await
        };
        let started = starting.await;
        if started.is_ok() {
            leases.serve();
        } else if !matches!(tokio::time::timeout(CLOSE_TIMEOUT, leases.leave()).await, Ok(Ok(()))) {
            tracing::warn!("other nodes hear only later that this one has not started");
        }
        started
    }

    /// Starts what works with the log.
    async fn start_on(
        core: CoreServices,
        listeners: ServiceListeners,
        losses: TelemetryLosses,
        lock: Option<DirectoryLock>,
    ) -> anyhow::Result<Self> {
        let key_uses = KeyUses::start(Arc::clone(&core.registry), core.data_directory());
        configured_tenants::reconcile(&core).await?;
        let (presence, signals) = app_services::start_presence(&core);
        announce(&core).await?;

        let bind = core.config.server.bind;
        let listener = TcpListener::bind(bind).with_context(|| format!("server.bind {bind}"))?;
        let address = listener.local_addr()?;
        let services = AppServices::start(&core, presence)?;
        let sockets = SocketServer::start(&core, &services, &listeners.service, signals);
        let webhooks = WebhookServer::start(&core)?;
        let eraser = erasure::start(&core, &services, webhooks.lanes());
        let metrics = metrics::metrics(&core, &services, &sockets, webhooks.lanes());
        let metrics = metrics.with(metrics::connections(&listeners)).with(metrics::losses(losses));
        let requests = metrics.requests();
        let operator_settings = OperatorServerSettings {
            bind: core.config.operator.bind,
            service: address,
            metrics_networks: core.config.operator.metrics_networks.clone(),
            directory: core.data_directory(),
            listener: Arc::clone(&listeners.operator),
        };
        let operator_services = webhooks.operator_services(&core, &services);
        let operator = OperatorServer::start(&operator_settings, operator_services, eraser, metrics)?;
        let inbox = (**services.inbox).clone();
        let drain = DrainPeriod::of(&core.config, &services.drain);
        // Only once the start is certain: a start that fails reports nothing but its failure.
        listeners.warn(&core.config.realtime);
        let serving = listeners.serve_settings(threads(core.config.server.workers), drain.finish());
        let app = AppFactory { services, sockets: sockets.clone(), webhooks: webhooks.clone(), requests };
        let server = app.serve(listener, serving)?;
        let serves_demo = demo_tenant::is_served(&core.registry);
        Ok(Self {
            address,
            serves_demo,
            drain,
            server,
            sockets,
            webhooks,
            operator,
            inbox,
            key_uses,
            log: core.opened,
            leases: core.node.leases,
            _data_directory: lock,
        })
    }

    /// Serves until a signal arrives and load balancers had their time to notice, or the log goes on as another one; then
    /// finishes what is in flight.
    async fn run(self, mut stop: StopSignals, manager: ServiceManager) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let webhooks = self.webhooks.lanes();
        let (replaced, leases) = (self.log.replaced(), Arc::clone(&self.leases));
        let stopping = actix::spawn(async move {
            // All that this process holds in memory is of the history that ended: it starts anew with the next process.
            let next_epoch = tokio::select! {
                () = stop.received() => None,
                epoch = replaced => Some(epoch),
            };
            manager.stopping(self.drain.length());
            if next_epoch.is_none() {
                hand_over(Arc::clone(&leases), self.drain.length());
                self.drain.run(&mut stop).await;
            }
            tracing::info!("stopping: finishing what is in flight");
            // No connection is accepted any more while the open ones are closed.
            let deliveries = self.webhooks.drain(self.drain.finish());
            tokio::join!(handle.stop(true), self.sockets.drain(SOCKET_CLOSE_SPREAD), deliveries);
            next_epoch
        });
        let (operator, connection_file) = self.operator.run();
        let served = self.server.await;
        connection_file.remove();
        operator.stop(false).await;
        served?;
        let next_epoch = stopping.await?;
        let closing = async {
            if let Err(error) = self.leases.leave().await {
                tracing::warn!(%error, "other nodes take over only when this one's time is up");
            }
            close(self.log, self.key_uses, &self.inbox, &webhooks).await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("the databases did not close in time; the next start recovers them");
        }
        tracing::info!("stopped");
        match next_epoch {
            None => Ok(()),
            Some(epoch) => bail!(
                "the log lost acknowledged events or was restored, and goes on in the epoch {epoch}: start the service \
                 again, which rebuilds what was derived from it"
            ),
        }
    }
}

/// Lets other nodes take over while this one still serves.
fn hand_over(leases: Arc<dyn ClusterLeases>, drain: Duration) {
    if !drain.is_zero() {
        actix::spawn(async move {
            if let Err(error) = leases.drain(LANE_LEASES).await {
                tracing::warn!(%error, "other nodes take over only when this one has ended");
            }
        });
    }
}

/// Says where the service listens and, if it serves the demo tenant, how to try it.
fn start_banner(address: SocketAddr, serves_demo: bool) -> StartBanner {
    StartBanner {
        message: format!("amoiq {} listens on http://{address}", env!("CARGO_PKG_VERSION")),
        demo: serves_demo.then(|| demo_tenant::instructions(address)),
    }
}

/// Closes the log and checkpoints the other databases. Everything that was acknowledged is on disk already, so a disk
/// that hangs need not be waited for.
async fn close(log: Arc<dyn OpenedStore>, key_uses: KeyUses, inbox: &InboxView, webhooks: &WebhooksHandle) {
    let (closed, waits) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        log.close();
        key_uses.finish();
        let _stopped_waiting = closed.send(());
    });
    // If the thread panics, the panic hook logs it.
    let _closed = waits.await;
    let (views, outbox) = tokio::join!(inbox.truncate_log(), webhooks.truncate_log());
    if let Err(error) = views {
        tracing::warn!(%error, "views.db keeps its write-ahead log");
    }
    if let Err(error) = outbox {
        tracing::warn!(%error, "outbox.db keeps its write-ahead log");
    }
}

/// Makes the application that each worker thread serves.
#[derive(Clone)]
struct AppFactory {
    services: AppServices,
    sockets: SocketServer,
    webhooks: WebhookServer,
    requests: RequestMeter,
}

impl AppFactory {
    fn serve(self, listener: TcpListener, serving: ServeSettings) -> anyhow::Result<Server> {
        let app = move || {
            App::new()
                .app_data(self.requests.worker())
                .configure(|routes| self.services.provide(routes))
                .configure(|routes| self.webhooks.provide(routes))
                // The path of a message comes first: the router asks one path after the other.
                .configure(http::configure)
                .configure(|routes| self.sockets.configure(routes))
                // The last one is the outermost.
                .wrap(from_fn(http::middleware::limits::limits))
                .wrap(from_fn(http::middleware::cors::cors))
                .wrap(from_fn(http::middleware::trace::trace))
        };
        Ok(amoiq_connections::serve(listener, serving, app)?)
    }
}

/// Records in the log that this process has taken it over.
async fn announce(core: &CoreServices) -> anyhow::Result<()> {
    let started =
        Event::Node(NodeEvent::Started(NodeStarted { release: env!("CARGO_PKG_VERSION").to_owned() }));
    let cause = EventCause { causation: "start".into(), actor: "service:node".into() };
    let envelope: NewEvent = started.envelope(&core.ambient, &cause);
    core.log.append(StreamName::node("local"), ExpectedVersion::Any, vec![envelope]).await?;
    Ok(())
}

/// The configured number of threads; if it is 0, one for each core.
fn threads(configured: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if configured > 0 { configured } else { cores.clamp(1, MOST_THREADS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_banner_says_where_the_service_listens_and_how_to_try_it() {
        let banner = start_banner("127.0.0.1:4000".parse().unwrap(), true);
        let text = format!("{}\n{}", banner.message, banner.demo.unwrap_or_default());
        insta::assert_snapshot!("start_banner", text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
        assert_eq!(start_banner("10.0.0.1:4000".parse().unwrap(), false).demo, None);
    }
}
