//! What an application can do that the echo server does not: ask its clients, and send them away.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use actix_web::{App, HttpServer};
use amoiq::realtime::{
    engine::{Engine, Settings, link::Told},
    socket::{
        Accepted, Application, ConnectError, Connecting, Emission, Event, Note, Outcome, SocketId,
        SocketProtocol, SocketSettings, Sockets, Work,
    },
};
use amoiq_events::Ambient;
use serde_json::{Value, json};

use super::{
    client::Http,
    frames::WebSocket,
    server::PATIENCE,
    session::{SOCKET, opened, opening_target},
};

/// How long a client is held at the least.
const HOLD: Duration = Duration::from_millis(300);

/// Asks its clients, and sends them away when nobody is welcome any more.
struct Host {
    is_closed: Arc<AtomicBool>,
}

/// The way to a client.
struct Guest {
    socket: SocketId,
    recipient: actix::Recipient<Told<Note>>,
}

impl Application for Host {
    type Socket = Guest;

    const NAMESPACES: &'static [&'static str] = &["/"];

    fn connect(self: &Rc<Self>, connecting: Connecting) -> Work<Result<Accepted<Guest>, ConnectError>> {
        let Connecting { socket, recipient, auth, .. } = connecting;
        let answer = if auth.contains_key("busy") {
            Err(ConnectError::NotNow)
        } else {
            Ok(Accepted::new(Guest { socket, recipient }))
        };
        Box::pin(std::future::ready(answer))
    }

    /// Asks the client the same, and acknowledges with what it says.
    fn event(self: &Rc<Self>, guest: Guest, event: Event) -> Work<(Guest, Outcome)> {
        Box::pin(async move {
            let (reply, answer) = tokio::sync::oneshot::channel();
            let emission = Arc::new(Emission::with_args("question", &event.args(), Vec::new()));
            let ask = Told(Note::Ask { to: guest.socket, emission, reply });
            guest.recipient.send(ask).await.expect("it is here");
            let ack = answer.await.ok().map(|answer| answer.args.to_string());
            (guest, Outcome { ack, ..Outcome::default() })
        })
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        json!({ "wait": retry_after_ms })
    }

    fn review(&self, _: &Guest) -> Result<(), Value> {
        if self.is_closed.load(Ordering::SeqCst) { Err(json!("closed")) } else { Ok(()) }
    }
}

/// A server of such an application, on a thread of its own that ends with this process.
fn serve(settings: SocketSettings) -> (SocketAddr, Arc<AtomicBool>, Engine<SocketProtocol<Host>>) {
    let ambient = Ambient::system();
    let engine = Engine::new(Settings { hold: HOLD..=2 * HOLD, ..Settings::default() }, ambient.clone());
    serve_on(engine, settings, ambient)
}

fn serve_on(
    engine: Engine<SocketProtocol<Host>>,
    settings: SocketSettings,
    ambient: Ambient,
) -> (SocketAddr, Arc<AtomicBool>, Engine<SocketProtocol<Host>>) {
    let (is_closed, ours) = (Arc::new(AtomicBool::new(false)), engine.clone());
    let (bound, address) = mpsc::sync_channel(1);
    let closed = Arc::clone(&is_closed);
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let numbers = Arc::default();
            let server = HttpServer::new(move || {
                let host = Host { is_closed: Arc::clone(&closed) };
                let sockets = Sockets::new(host, settings.clone(), ambient.clone(), Arc::clone(&numbers));
                let client = |_: &actix_web::HttpRequest| [127, 0, 0, 1].into();
                App::new().configure(|routes| {
                    engine.configure(
                        SOCKET,
                        routes,
                        Rc::new(client),
                        Rc::new(move |said| sockets.speak(said)),
                    );
                })
            });
            let server = server.workers(1).disable_signals().bind("127.0.0.1:0").expect("a port");
            bound.send(server.addrs()[0]).expect("somebody waits");
            server.run().await.expect("it serves");
        });
    });
    (address.recv_timeout(PATIENCE).expect("it is bound"), is_closed, ours)
}

fn guest(address: SocketAddr) -> WebSocket {
    let mut websocket = WebSocket::upgrade(Http::at(address), &opening_target(SOCKET, "websocket"));
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
fn an_acknowledgement_that_nobody_asked_for_is_passed_over() {
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
fn whoever_is_not_welcome_any_more_hears_why_before_the_connection_is_closed() {
    let (address, is_closed, engine) = serve(SocketSettings::default());
    let (mut one, mut other) = (guest(address), guest(address));
    is_closed.store(true, Ordering::SeqCst);
    actix_web::rt::System::new().block_on(engine.tell_all(|| Note::Review));
    for socket in [&mut one, &mut other] {
        assert_eq!(socket.text(), r#"42["error","closed"]"#);
        assert_eq!(socket.close_code(), None, "it may come back");
    }
}

#[test]
fn a_server_that_cannot_let_anybody_in_now_leaves_them_without_an_answer_for_a_while_and_refuses_nobody() {
    let (address, ..) = serve(SocketSettings::default());
    let mut websocket = WebSocket::upgrade(Http::at(address), &opening_target(SOCKET, "websocket"));
    opened(&websocket.text());
    websocket.send_text(r#"40{"busy":true}"#);
    let since = Instant::now();
    // Nothing is heard of it meanwhile, whatever it says.
    websocket.send_text("40");
    websocket.send_text(r#"42["ask"]"#);
    let (code, text) = websocket.close();
    assert_eq!((code, text.as_str()), (Some(1013), "Overloaded: come back later"));
    assert!(since.elapsed() >= HOLD, "closed after {:?}", since.elapsed());
}

#[test]
fn a_server_that_has_no_room_for_clients_to_wait_refuses_them() {
    let ambient = Ambient::system();
    let settings = Settings { max_connections: 1, held_connections: 9, ..Settings::default() };
    let has_room = Arc::new(AtomicBool::new(true));
    let may_hold = Arc::clone(&has_room);
    let may_hold = Box::new(move || may_hold.load(Ordering::SeqCst));
    let engine = Engine::holding_while(settings, ambient.clone(), may_hold);
    let (address, ..) = serve_on(engine, SocketSettings::default(), ambient);
    let knock = || {
        let mut http = Http::at(address);
        http.send("GET", &opening_target(SOCKET, "polling"), &[], None);
        http.answer()
    };
    let served = guest(address);
    assert_eq!(knock().status, 200, "it waits");
    has_room.store(false, Ordering::SeqCst);
    let refused = knock();
    assert_eq!(refused.refusal(), (503, 4));
    assert!(refused.header("retry-after").is_some());
    drop(served);
}

#[test]
fn an_event_over_the_limit_is_not_taken_and_the_client_is_told() {
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
