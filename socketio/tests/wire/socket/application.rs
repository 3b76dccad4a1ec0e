//! What the echo server does not do: ask clients for acknowledgements, and close their connections.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use actix_web::App;
use amoiq_connections::{AddressLimiter, ErrorBodies, ListenerConnections, ListenerSettings, ServeSettings};
use amoiq_socketio::{
    engine::{ConnectionNotice, Engine, EngineSettings},
    random::RandomSource,
    socket::{
        AcceptedSocket, Application, ClientEvent, ConnectError, ConnectRequest, EventOutcome, LocalFuture,
        NamespaceServer, OutgoingEvent, SocketId, SocketNotice, SocketProtocol, SocketSettings,
    },
};
use serde_json::{Value, json};

use crate::harness::{
    echo_server::PATIENCE,
    engine_session::{SOCKET, opened, opening_target},
    raw_http::RawHttp,
    websocket_client::WebSocket,
};

/// The shortest hold.
const HOLD: Duration = Duration::from_millis(300);

/// The bodies of answers that no handler writes.
const ERROR_BODIES: ErrorBodies =
    ErrorBodies { head_timeout: "", address_limit: "", overloaded: "", malformed: "", head_too_large: "" };

/// Asks its clients for acknowledgements, and closes their connections once it is closed.
struct AskingApplication {
    is_closed: Arc<AtomicBool>,
}

/// Where notices to a client go.
struct AskedSocket {
    socket: SocketId,
    recipient: actix::Recipient<ConnectionNotice<SocketNotice>>,
}

impl Application for AskingApplication {
    type Socket = AskedSocket;

    const NAMESPACES: &'static [&'static str] = &["/"];

    fn connect(
        self: &Rc<Self>,
        request: ConnectRequest,
    ) -> LocalFuture<Result<AcceptedSocket<AskedSocket>, ConnectError>> {
        let ConnectRequest { outlet, recipient, auth, .. } = request;
        let answer = if auth.contains_key("busy") {
            Err(ConnectError::NotNow)
        } else {
            Ok(AcceptedSocket::new(AskedSocket { socket: outlet.id(), recipient }))
        };
        Box::pin(std::future::ready(answer))
    }

    /// Asks the client with the same arguments, and acknowledges with its answer.
    fn event(
        self: &Rc<Self>,
        guest: AskedSocket,
        event: ClientEvent,
    ) -> LocalFuture<(AskedSocket, EventOutcome)> {
        Box::pin(async move {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let question = Arc::new(OutgoingEvent::with_args("question", &event.args(), Vec::new()));
            let ask =
                ConnectionNotice(SocketNotice::EmitWithAck { to: guest.socket, event: question, reply });
            guest.recipient.send(ask).await.expect("the connection is open");
            let ack = answer.await.ok().map(|answer| answer.args.to_string());
            (guest, EventOutcome { ack, ..EventOutcome::default() })
        })
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        json!({ "wait": retry_after_ms })
    }

    fn review(&self, _: &AskedSocket) -> Result<(), Value> {
        if self.is_closed.load(Ordering::SeqCst) { Err(json!("closed")) } else { Ok(()) }
    }
}

/// A server of such an application, on a thread of its own that ends with this process.
fn serve(
    settings: SocketSettings,
) -> (SocketAddr, Arc<AtomicBool>, Engine<SocketProtocol<AskingApplication>>) {
    let random = RandomSource::system();
    let engine =
        Engine::new(EngineSettings { hold: HOLD..=2 * HOLD, ..EngineSettings::default() }, random.clone());
    serve_on(engine, settings, random)
}

fn serve_on(
    engine: Engine<SocketProtocol<AskingApplication>>,
    settings: SocketSettings,
    random: RandomSource,
) -> (SocketAddr, Arc<AtomicBool>, Engine<SocketProtocol<AskingApplication>>) {
    let (is_closed, ours) = (Arc::new(AtomicBool::new(false)), engine.clone());
    let (bound, address) = mpsc::sync_channel(1);
    let closed = Arc::clone(&is_closed);
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let last_socket = Arc::default();
            let app = move || {
                let host = AskingApplication { is_closed: Arc::clone(&closed) };
                let server =
                    NamespaceServer::new(host, settings.clone(), random.clone(), Arc::clone(&last_socket));
                let client = |_: &actix_web::HttpRequest| [127, 0, 0, 1].into();
                App::new().configure(|routes| {
                    engine.configure(
                        SOCKET,
                        routes,
                        Rc::new(client),
                        Rc::new(move |handshake| server.protocol(handshake)),
                    );
                })
            };
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            bound.send(listener.local_addr().expect("its address")).expect("somebody waits");
            let limits =
                ListenerSettings { max_connections: 100, health_reserve: 0, error_bodies: ERROR_BODIES };
            let connections = ListenerConnections::new(&AddressLimiter::new(0, Vec::new()), limits);
            let settings = ServeSettings { workers: 1, drain_seconds: 1, connections };
            amoiq_connections::serve(listener, settings, app).expect("a server").await.expect("it serves");
        });
    });
    (address.recv_timeout(PATIENCE).expect("it is bound"), is_closed, ours)
}

fn guest(address: SocketAddr) -> WebSocket {
    let mut websocket = WebSocket::upgrade(RawHttp::at(address), &opening_target(SOCKET, "websocket"));
    opened(&websocket.text());
    websocket.send_text("40");
    assert!(websocket.text().starts_with("40{"));
    websocket
}

#[test]
fn a_client_acknowledges_what_the_server_asks() {
    let (address, ..) = serve(SocketSettings::default());
    let mut guest = guest(address);
    guest.send_text(r#"427["ask",{"a":1}]"#);
    assert_eq!(guest.text(), r#"421["question",{"a":1}]"#);
    guest.send_text(r#"431["yes",2]"#);
    assert_eq!(guest.text(), r#"437["yes",2]"#);
}

#[test]
fn an_acknowledgement_that_nobody_asked_for_is_ignored() {
    let (address, ..) = serve(SocketSettings::default());
    let mut guest = guest(address);
    guest.send_text(r#"4399["what"]"#);
    guest.send_text(r#"420["ask"]"#);
    assert_eq!(guest.text(), r#"421["question"]"#);
}

#[test]
fn events_of_a_socket_are_handled_one_at_a_time_and_in_order() {
    let (address, ..) = serve(SocketSettings::default());
    let mut guest = guest(address);
    guest.send_text(r#"42["ask","first"]"#);
    guest.send_text(r#"42["ask","second"]"#);
    assert_eq!(guest.text(), r#"421["question","first"]"#);
    guest.send_text("431[]");
    assert_eq!(guest.text(), r#"422["question","second"]"#);
}

#[test]
fn a_client_that_may_not_stay_is_told_why_before_its_connection_closes() {
    let (address, is_closed, engine) = serve(SocketSettings::default());
    let (mut one, mut other) = (guest(address), guest(address));
    is_closed.store(true, Ordering::SeqCst);
    actix_web::rt::System::new().block_on(engine.notify_all(|| SocketNotice::Review));
    for socket in [&mut one, &mut other] {
        assert_eq!(socket.text(), r#"42["error","closed"]"#);
        assert_eq!(socket.close_code(), None, "it may come back");
    }
}

#[test]
fn an_application_that_accepts_nobody_now_holds_clients_and_refuses_none() {
    let (address, ..) = serve(SocketSettings::default());
    let mut websocket = WebSocket::upgrade(RawHttp::at(address), &opening_target(SOCKET, "websocket"));
    opened(&websocket.text());
    websocket.send_text(r#"40{"busy":true}"#);
    let since = Instant::now();
    // The application hears nothing of it in the meantime.
    websocket.send_text("40");
    websocket.send_text(r#"42["ask"]"#);
    let (code, text) = websocket.close();
    assert_eq!((code, text.as_str()), (Some(1013), "Overloaded: come back later"));
    assert!(since.elapsed() >= HOLD, "closed after {:?}", since.elapsed());
}

#[test]
fn a_server_without_room_for_held_connections_refuses_clients() {
    let random = RandomSource::system();
    let settings = EngineSettings { max_connections: 1, held_connections: 9, ..EngineSettings::default() };
    let has_room = Arc::new(AtomicBool::new(true));
    let may_hold = Arc::clone(&has_room);
    let may_hold = Box::new(move || may_hold.load(Ordering::SeqCst));
    let engine = Engine::with_hold_policy(settings, random.clone(), may_hold);
    let (address, ..) = serve_on(engine, SocketSettings::default(), random);
    let open_once = || {
        let mut http = RawHttp::at(address);
        http.send("GET", &opening_target(SOCKET, "polling"), &[], None);
        http.answer()
    };
    let served = guest(address);
    assert_eq!(open_once().status, 200, "it waits");
    has_room.store(false, Ordering::SeqCst);
    let refused = open_once();
    assert_eq!(refused.refusal(), (503, 4));
    assert!(refused.header("retry-after").is_some());
    drop(served);
}

#[test]
fn an_event_over_the_rate_is_not_handled_and_the_client_is_told() {
    let settings = SocketSettings { events_per_second: 1, ..SocketSettings::default() };
    let (address, ..) = serve(settings);
    let mut guest = guest(address);
    guest.send_text(r#"42["ask"]"#);
    guest.send_text(r#"425["ask"]"#);
    guest.send_text(r#"42["ask"]"#);
    let mut said = [guest.text(), guest.text(), guest.text()];
    said.sort();
    assert_eq!(said[0], r#"421["question"]"#);
    assert!(said[1].starts_with(r#"42["error",{"wait":"#), "{said:?}");
    assert!(said[2].starts_with(r#"435[{"wait":"#), "{said:?}");
}
