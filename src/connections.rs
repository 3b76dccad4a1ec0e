//! Accepted TCP connections: who gets one, how long it may keep the service waiting, and when it is ended.
//!
//! actix-http limits the time for the first request head of a connection only. So the service does not use
//! `HttpServer`: each accepted stream is wrapped in a [`WatchedStream`], which records what the client sends and
//! takes, and the future that serves it in a `Connection`, whose one timer ends it when the client is too slow
//! (decision 0013).
//!
//! | file | holds |
//! |---|---|
//! | [`descriptors`] | how many files the process may have open, and how many of them are for connections |
//! | [`ledger`] | how many connections there are, in all and for each address |
//! | [`watch`] | what a connection is waiting for, and since when |
//! | [`stream`] | the stream that tells its watch what passes through it |
//! | [`door`] | admits an accepted stream, or displaces one that waits, or refuses it |
//! | [`exchange`] | where a request begins and ends, told by the outermost middleware |
//! | [`body`] | reads a request's body at the pace that is asked for |
//! | [`unparsable`] | the answer to what is not HTTP |

use std::{fmt, io, net::TcpListener, rc::Rc, sync::Arc, time::Duration};

use actix_http::{HttpService, KeepAlive, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, map_config};
use actix_web::{
    body::{BoxBody, MessageBody},
    dev::{AppConfig, Server},
};
use socket2::SockRef;

pub mod body;
pub mod descriptors;
pub mod door;
pub mod exchange;
pub mod ledger;
pub mod stream;
pub mod unparsable;
pub mod watch;

use door::Door;
use ledger::Listener;
use stream::WatchedStream;

/// How long the rest of an unwanted request body is read after its answer, so that the answer is not lost.
const LINGER: Duration = Duration::from_secs(1);

/// How many new connections the kernel keeps until they are accepted, if it may (`net.core.somaxconn`). Of more, the
/// clients try again after a second, after three, after seven.
const BACKLOG: i32 = 4_096;

/// How a listener is served.
pub struct Serving {
    /// Threads.
    pub workers: usize,
    /// How long requests in flight may take after the signal to stop, in seconds.
    pub drain_seconds: u64,
    /// Who gets a connection.
    pub listener: Arc<Listener>,
}

/// Serves an application on a listener.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve<A, I, S, B>(socket: TcpListener, serving: Serving, app: A) -> io::Result<Server>
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
    let Serving { workers, drain_seconds, listener } = serving;
    SockRef::from(&socket).listen(BACKLOG)?;
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(listener.at_most_of_worker(workers))
        .shutdown_timeout(drain_seconds)
        .disable_signals();
    let stops = builder.graceful_shutdown_signal();
    let served = builder.listen("http", socket, move || {
        let stops = stops.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stops = stops.clone();
                async move { stops.notified().await }
            })
            // Its own timers know the first head and an idle connection only; the watch knows everything.
            .keep_alive(KeepAlive::Os)
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            // A poll that is given up ends its connection at once, not at the next ping.
            .h1_allow_half_closed(false)
            .on_connect_ext(|stream: &WatchedStream, data| {
                data.insert(stream.watch());
            })
            .finish(map_config(app(), |()| AppConfig::default()));
        let (http, listener) = (Rc::new(http), Arc::clone(&listener));
        fn_factory(move || {
            let (handler, listener) = (http.new_service(()), Arc::clone(&listener));
            async move { Ok::<_, ()>(Door::new(handler.await?, listener)) }
        })
    })?;
    Ok(served.run())
}
