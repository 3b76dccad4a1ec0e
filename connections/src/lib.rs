//! A bounded accept path for actix-web: who gets a connection, how long its client may keep the server waiting, and
//! when the server ends it.
//!
//! actix-http limits the time for the first request head of a connection only. [`serve`] therefore replaces
//! `HttpServer`: it wraps each accepted stream in a [`WatchedStream`], which reports what the client sends and takes
//! to a [`ConnectionWatch`]. One timer for each connection asks the watch and ends the connection when the client is
//! too slow. The application tells the watch where a request starts and ends with a [`RequestTracker`] in its
//! outermost middleware.
//!
//! | module | holds |
//! |---|---|
//! | [`descriptor_budget`] | how many files the process may open, and how many of them clients may use |
//! | [`connection_limits`] | how many connections there are, in all and for each address |
//! | [`connection_watch`] | what a connection is waiting for, and since when |
//! | [`watched_stream`] | the stream that reports its traffic to the watch |
//! | `accept_service` | admits an accepted stream, displaces an idle one for it, or refuses it |
//! | [`takeover`] | hands a connection over after an upgrade, without anything of HTTP |
//! | [`request`] | where a request starts and ends, and its body at a minimum speed |
//! | [`fixed_responses`] | answers that no handler writes: to what is not HTTP, and to refused connections |
//! | [`log_throttle`] | limits how often a client can cause a log line |

use std::{fmt, future::ready, io, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, map_config};
use actix_web::{
    body::{BoxBody, MessageBody},
    dev::{AppConfig, Server},
};
use socket2::SockRef;

mod accept_service;
pub mod connection_limits;
pub mod connection_watch;
pub mod descriptor_budget;
pub mod fixed_responses;
pub mod log_throttle;
pub mod request;
pub mod takeover;
pub mod watched_stream;

use accept_service::AcceptService;
pub use connection_limits::{AddressLimiter, ListenerConnections, ListenerSettings, client_network};
pub use connection_watch::ConnectionWatch;
pub use descriptor_budget::DescriptorBudget;
pub use fixed_responses::ErrorBodies;
pub use log_throttle::LogThrottle;
pub use request::{BodyError, RequestTracker, is_identity, read_body};
use takeover::UpgradeService;
pub use takeover::{ConnectionLease, ConnectionTakeover, TakenConnection};
pub use watched_stream::WatchedStream;

/// How long the server goes on reading an unwanted request body after it has answered. If it closed the connection at
/// once, the client might lose the answer.
const LINGER: Duration = Duration::from_secs(1);

/// How many new connections the kernel queues until they are accepted, if `net.core.somaxconn` allows as many. Further
/// clients retry after one, three and seven seconds.
const BACKLOG: i32 = 4_096;

/// How to serve a listener.
pub struct ServeSettings {
    /// Threads.
    pub workers: usize,
    /// How long requests in flight may take after the signal to stop, in seconds.
    pub drain_seconds: u64,
    /// Who gets a connection.
    pub connections: Arc<ListenerConnections>,
}

/// Serves an application on a listener.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<A, I, S, B>(socket: TcpListener, settings: ServeSettings, app: A) -> io::Result<Server>
where
    A: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let ServeSettings { workers, drain_seconds, connections } = settings;
    SockRef::from(&socket).listen(BACKLOG)?;
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.max_of_worker(workers))
        .shutdown_timeout(drain_seconds)
        .disable_signals();
    let stops = builder.graceful_shutdown_signal();
    let served = builder.listen("http", socket, move || {
        let (stops, connections) = (stops.clone(), Arc::clone(&connections));
        let app = Rc::new(map_config(app(), |()| AppConfig::default()));
        fn_factory(move || {
            let (stops, connections, app) = (stops.clone(), Arc::clone(&connections), Rc::clone(&app));
            async move {
                let application = app.new_service(()).await;
                let application =
                    Rc::new(application.map_err(|error| tracing::error!(?error, "no application"))?);
                // The same application answers requests for websockets, and may take their connections over.
                let upgrades = Rc::clone(&application);
                let http = HttpService::build()
                    .graceful_shutdown_signal(move || {
                        let stops = stops.clone();
                        async move { stops.notified().await }
                    })
                    // actix-http's own timers cover the first head and idle connections only; the watch covers everything.
                    .keep_alive(KeepAlive::Os)
                    .client_request_timeout(Duration::ZERO)
                    .client_disconnect_timeout(LINGER)
                    // A client that abandons a poll ends its connection at once, not at the next ping.
                    .h1_allow_half_closed(false)
                    .on_connect_ext(|stream: &WatchedStream, data| {
                        data.insert(stream.watch());
                    })
                    .upgrade(fn_factory(move || {
                        ready(Ok::<_, ()>(UpgradeService::new(Rc::clone(&upgrades))))
                    }))
                    .finish(fn_factory(move || ready(Ok::<_, ()>(Rc::clone(&application)))));
                Ok::<_, ()>(AcceptService::new(http.new_service(()).await?, connections))
            }
        })
    })?;
    Ok(served.run())
}
