//! Builds the service and runs it until it is told to stop.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use amoiq_actors::{
    Directory, DirectorySettings, Inbox, Projector, SessionSettings, TenantRegistry, Views, idle::IdleCloser,
    inbox::InboxProjection,
};
use amoiq_events::{
    Ambient, EventStore, NewEvent, StreamName,
    event::{Cause, Event},
    node::{NodeEvent, NodeStarted},
    store::{Expected, sqlite::SqliteStore},
};
use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    auth::{Authenticator, TokenKeys},
    config::Config,
    http::{self, access::Policy, body::BodyLimit, limits::Gate, send::MessageLimits, tokens::AnonymousTtl},
    logging,
    rate_limit::RateLimiter,
    secret::Secret,
    tenants,
};

/// How long requests in flight may take after the signal to stop.
const DRAIN_SECONDS: u64 = 3;

/// How long closing the store may take after that.
const CLOSE_PATIENCE: Duration = Duration::from_millis(1_500);

/// How long a read waits for its projection.
const READ_PATIENCE: Duration = Duration::from_secs(2);

/// How long a client may take to send a request's head.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection without requests is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Runs the service until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot start; the text says why.
pub fn serve(config: Config) -> anyhow::Result<()> {
    let _lines = logging::start(&config.log)?;
    actix::System::new().block_on(async move {
        let service = Service::start(config).await?;
        service.greet()?;
        service.run().await
    })
}

/// The running service.
pub struct Service {
    address: SocketAddr,
    serves_demo: bool,
    server: Server,
    store: Arc<SqliteStore>,
}

impl Service {
    /// Opens the store, starts the actors and listens.
    ///
    /// # Errors
    /// When a part cannot start; the text says which and why.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let ambient = Ambient::system();
        let directory = &config.store.path;
        let opening = || SqliteStore::open(directory, &ambient);
        let embedded = Arc::new(opening().with_context(|| format!("store.path {}", directory.display()))?);
        let store: Arc<dyn EventStore> = Arc::clone(&embedded) as _;
        let registry = TenantRegistry::load(&*store, tenants::allows_demo(config.server.bind)).await?;
        let registry = Arc::new(registry);
        tenants::reconcile(&config.tenants, config.server.bind, &store, &ambient, &registry).await?;
        announce(&*store, &ambient).await?;

        let listener = TcpListener::bind(config.server.bind)
            .with_context(|| format!("server.bind {}", config.server.bind))?;
        let address = listener.local_addr()?;
        let serves_demo = tenants::serves_demo(&registry);
        let parts = Parts::build(&config, directory, &store, &ambient, registry)?;
        let server = listen(&config, listener, parts)?;
        Ok(Self { address, serves_demo, server, store: embedded })
    }

    /// Says where the service is and, for the demo, how to try it.
    fn greet(&self) -> anyhow::Result<()> {
        let address = self.address;
        let mut out = std::io::stdout().lock();
        writeln!(out, "amoiq {} listens on http://{address}", env!("CARGO_PKG_VERSION"))?;
        if self.serves_demo {
            writeln!(out, "{}", tenants::demo_lines(address))?;
        }
        Ok(out.flush()?)
    }

    /// Serves until the process is told to stop, then finishes what is in flight.
    async fn run(self) -> anyhow::Result<()> {
        let handle = self.server.handle();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        actix::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: finishing what is in flight");
            handle.stop(true).await;
        });
        self.server.await?;
        close(self.store).await;
        tracing::info!("stopped");
        Ok(())
    }
}

/// Closes the store. What was acknowledged is on disk already, so a disk that hangs is not waited for.
async fn close(store: Arc<SqliteStore>) {
    let (closed, waits) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        store.close();
        let _stopped_waiting = closed.send(());
    });
    if tokio::time::timeout(CLOSE_PATIENCE, waits).await.is_err() {
        tracing::warn!("the store did not close in time; the next start mends its index");
    }
}

/// What the routes are given, each by its own type.
#[derive(Clone)]
struct Parts {
    gate: web::Data<Gate>,
    body_limit: web::Data<BodyLimit>,
    message_limits: web::Data<MessageLimits>,
    anonymous_ttl: web::Data<AnonymousTtl>,
    directory: web::Data<Directory>,
    inbox: web::Data<Inbox>,
    store: web::Data<dyn EventStore>,
    ambient: web::Data<Ambient>,
}

impl Parts {
    fn build(
        config: &Config,
        data: &Path,
        store: &Arc<dyn EventStore>,
        ambient: &Ambient,
        registry: Arc<TenantRegistry>,
    ) -> anyhow::Result<Self> {
        let settings = directory_settings(config);
        let directory = Directory::start(settings, store, ambient);
        let views = Views::open(&data.join("views.db"))?;
        let progress = Projector::<InboxProjection>::start(&views, store);
        let inbox = Inbox::new(views, progress, READ_PATIENCE);
        let close_after_hours = u64::from(config.conversation.close_after_hours);
        if close_after_hours > 0 {
            let close_after = Duration::from_secs(close_after_hours * 3_600);
            let (store, ambient) = (Arc::clone(store), ambient.clone());
            IdleCloser::start(directory.clone(), inbox.clone(), store, ambient, close_after);
        }
        let secret = jwt_secret(&config.auth.jwt_secret, data, ambient)?;
        let tokens =
            TokenKeys::new(&secret, &config.auth.jwt_previous_secrets, &config.auth, ambient.clone());
        let policy = Policy {
            widget_key_reads_history: config.security.widget_key_reads_history,
            widget_origins: config.server.widget_origins.clone(),
        };
        let gate = Gate {
            authenticator: Authenticator::new(registry, tokens),
            requests: RateLimiter::new(),
            misses: RateLimiter::new(),
            limits: config.rate_limit.clone(),
            policy,
            trusted_proxies: config.server.trusted_proxies.clone(),
            ambient: ambient.clone(),
        };
        let message_limits = MessageLimits {
            text_characters: config.limits.text_characters,
            user_info_bytes: config.limits.user_info_bytes,
        };
        Ok(Self {
            gate: web::Data::new(gate),
            body_limit: web::Data::new(BodyLimit(config.limits.body_bytes)),
            message_limits: web::Data::new(message_limits),
            anonymous_ttl: web::Data::new(AnonymousTtl(config.auth.anonymous_token_seconds)),
            directory: web::Data::new(directory),
            inbox: web::Data::new(inbox),
            store: web::Data::from(Arc::clone(store)),
            ambient: web::Data::new(ambient.clone()),
        })
    }

    fn provide(&self, routes: &mut web::ServiceConfig) {
        routes
            .app_data(self.gate.clone())
            .app_data(self.body_limit.clone())
            .app_data(self.message_limits.clone())
            .app_data(self.anonymous_ttl.clone())
            .app_data(self.directory.clone())
            .app_data(self.inbox.clone())
            .app_data(self.store.clone())
            .app_data(self.ambient.clone());
    }
}

fn directory_settings(config: &Config) -> DirectorySettings {
    DirectorySettings {
        arbiters: threads(config.sessions.threads, 2),
        max_sessions: config.sessions.max_in_memory,
        passivate_after: Duration::from_secs(config.sessions.passivate_after_seconds),
        session: SessionSettings { max_events: config.limits.events_per_session },
    }
}

fn listen(config: &Config, listener: TcpListener, parts: Parts) -> anyhow::Result<Server> {
    let app = move || {
        App::new()
            .configure(|routes| parts.provide(routes))
            .configure(http::configure)
            // The last one is the outermost.
            .wrap(from_fn(http::limits::limits))
            .wrap(from_fn(http::cors::cors))
            .wrap(from_fn(http::trace::trace))
    };
    let server = HttpServer::new(app)
        .workers(threads(config.server.workers, 1))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEAD_PATIENCE)
        .shutdown_timeout(DRAIN_SECONDS)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

/// Notes in the log that this process took it over.
async fn announce(store: &dyn EventStore, ambient: &Ambient) -> anyhow::Result<()> {
    let started =
        Event::Node(NodeEvent::Started(NodeStarted { release: env!("CARGO_PKG_VERSION").to_owned() }));
    let cause = Cause { causation: "start".into(), actor: "service:node".into() };
    let envelope: NewEvent = started.envelope(ambient, &cause);
    store.append(StreamName::node("local"), Expected::Any, vec![envelope]).await?;
    Ok(())
}

/// The configured secret, or the one that was made at the first start.
fn jwt_secret(configured: &Secret, data: &Path, ambient: &Ambient) -> anyhow::Result<Secret> {
    if !configured.expose().is_empty() {
        if configured.expose().len() < 32 {
            tracing::warn!("auth.jwt_secret has less than 32 bytes: it can be guessed from a token");
        }
        return Ok(configured.clone());
    }
    let path = data.join("jwt_secret");
    if !path.exists() {
        let secret: String = ambient.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        file.sync_all()?;
    }
    let secret = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    anyhow::ensure!(
        secret.trim().len() >= 32,
        "{} is cut short: delete it to have a new one made",
        path.display()
    );
    Ok(Secret::new(secret.trim().to_owned()))
}

/// So many threads, or one for each `cores_each` cores.
fn threads(configured: usize, cores_each: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if configured > 0 { configured } else { (cores / cores_each).max(1) }
}
