//! The server that the protocol's authors describe for conformance tests: it sends back what it receives.
//!
//! `/engine.io/` echoes every message. `/socket.io/` has the namespaces `/` and `/custom`: it emits `auth` with the
//! client's credentials, answers `message` with `message-back`, and acknowledges `message-with-ack`, both with the same
//! arguments, binary included. A client whose credentials have a `refuse` is refused with its value.
//!
//! ```sh
//! cargo run -p amoiq-socketio --example echo_server -- --port 3000
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::{
    App, Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
};
use amoiq_connections::{
    AddressLimiter, ErrorBodies, ListenerConnections, ListenerSettings, RequestTracker, ServeSettings,
};
use amoiq_socketio::{
    engine::{CloseReason, ConnectionLink, Engine, EngineMessage, EngineSettings, OutgoingPacket, Protocol},
    random::RandomSource,
    socket::{
        AcceptedSocket, Application, ClientEvent, ConnectError, ConnectRefusal, ConnectRequest, EventOutcome,
        LocalFuture, NamespaceServer, OutgoingEvent, SocketProtocol, SocketSettings,
    },
};
use clap::Parser;
use serde_json::{Value, json};

/// Echoes, for conformance tests.
#[derive(Parser)]
struct EchoArguments {
    /// The port on loopback. 0: a free one, which it prints.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// In milliseconds.
    #[arg(long, default_value_t = 300)]
    ping_interval: u64,
    /// In milliseconds.
    #[arg(long, default_value_t = 200)]
    ping_timeout: u64,
    /// In bytes.
    #[arg(long, default_value_t = 1_000_000)]
    max_payload: usize,
    /// In milliseconds.
    #[arg(long, default_value_t = 1_000)]
    connect_timeout: u64,
    /// In milliseconds.
    #[arg(long, default_value_t = 10_000)]
    upgrade_timeout: u64,
    /// 0: no limit.
    #[arg(long, default_value_t = 0)]
    max_connections: usize,
    /// Connections over the limit that are held.
    #[arg(long, default_value_t = 0)]
    held_connections: usize,
    /// The shortest hold, in milliseconds; the longest is three times as long.
    #[arg(long, default_value_t = 5_000)]
    hold: u64,
    /// The name of this server.
    #[arg(long)]
    node: Option<Box<str>>,
}

/// Echoes the engine's messages.
struct EngineEcho;

impl Protocol for EngineEcho {
    type Notice = ();

    fn opened(&mut self, _: &mut ConnectionLink<'_, Self>) {}

    fn received(&mut self, message: EngineMessage, link: &mut ConnectionLink<'_, Self>) {
        link.send(OutgoingPacket::message(&message));
    }

    fn notified(&mut self, (): (), _: &mut ConnectionLink<'_, Self>) {}

    fn closed(&mut self, _: CloseReason, _: &mut ConnectionLink<'_, Self>) {}
}

/// Echoes events.
struct SocketEcho;

impl Application for SocketEcho {
    type Socket = ();

    const NAMESPACES: &'static [&'static str] = &["/", "/custom"];

    fn connect(
        self: &Rc<Self>,
        request: ConnectRequest,
    ) -> LocalFuture<Result<AcceptedSocket<()>, ConnectError>> {
        if let Some(refuse) = request.auth.get("refuse") {
            let refusal = ConnectRefusal { message: "REFUSED".into(), data: refuse.clone() };
            return Box::pin(std::future::ready(Err(ConnectError::Refused(refusal))));
        }
        let mut accepted = AcceptedSocket::new(());
        accepted.first_events.push(Arc::new(OutgoingEvent::new("auth", &request.auth)));
        Box::pin(std::future::ready(Ok(accepted)))
    }

    fn event(self: &Rc<Self>, (): (), event: ClientEvent) -> LocalFuture<((), EventOutcome)> {
        let args = event.args();
        let outcome = match &*event.name {
            "message" => {
                let echo = OutgoingEvent::with_args("message-back", &args, event.attachments);
                EventOutcome { emit: vec![Arc::new(echo)], ..EventOutcome::default() }
            }
            "message-with-ack" => {
                EventOutcome { ack: Some(args), attachments: event.attachments, ..EventOutcome::default() }
            }
            _ => EventOutcome::default(),
        };
        Box::pin(std::future::ready(((), outcome)))
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        json!({ "retryAfterMs": retry_after_ms })
    }
}

#[expect(clippy::print_stdout, reason = "the tests read the address from it")]
#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let arguments = EchoArguments::parse();
    let settings = EngineSettings {
        ping_interval: Duration::from_millis(arguments.ping_interval),
        ping_timeout: Duration::from_millis(arguments.ping_timeout),
        max_payload: arguments.max_payload,
        upgrade_timeout: Duration::from_millis(arguments.upgrade_timeout),
        max_connections: arguments.max_connections,
        held_connections: arguments.held_connections,
        hold: Duration::from_millis(arguments.hold)..=Duration::from_millis(3 * arguments.hold),
        node: arguments.node,
        ..EngineSettings::default()
    };
    let socket_settings = SocketSettings {
        connect_timeout: Duration::from_millis(arguments.connect_timeout),
        max_event_bytes: arguments.max_payload,
        ..SocketSettings::default()
    };
    let random = RandomSource::system();
    let engine = Engine::<EngineEcho>::new(settings.clone(), random.clone());
    let sockets = Engine::<SocketProtocol<SocketEcho>>::new(settings, random.clone());
    let last_socket = Arc::default();
    let app = move || {
        let server = NamespaceServer::new(
            SocketEcho,
            socket_settings.clone(),
            random.clone(),
            Arc::clone(&last_socket),
        );
        App::new().wrap(from_fn(track)).configure(|routes| {
            engine.configure("/engine.io/", routes, Rc::new(peer), Rc::new(|_| EngineEcho));
            sockets.configure(
                "/socket.io/",
                routes,
                Rc::new(peer),
                Rc::new(move |handshake| server.protocol(handshake)),
            );
        })
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port))?;
    println!("echo server listens on http://{}", listener.local_addr()?);
    let limits = ListenerSettings { max_connections: 100_000, health_reserve: 0, error_bodies: ERROR_BODIES };
    let connections = ListenerConnections::new(&AddressLimiter::new(0, Vec::new()), limits);
    amoiq_connections::serve(listener, ServeSettings { workers: 2, drain_seconds: 1, connections }, app)?
        .await
}

/// The bodies of answers that no handler writes.
const ERROR_BODIES: ErrorBodies =
    ErrorBodies { head_timeout: "", address_limit: "", overloaded: "", malformed: "", head_too_large: "" };

/// Tells the connection where a request starts and where it is answered.
async fn track<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let tracker = RequestTracker::start(&request);
    let response = next.call(request).await?;
    tracker.answered(response.status());
    Ok(response)
}

fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
