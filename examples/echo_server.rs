//! The server that the protocol's authors describe for conformance tests, from the engine and socket
//! parts alone: what comes in goes out again.
//!
//! `/engine.io/` echoes every message. `/socket.io/` has the namespaces `/` and `/custom`: it emits
//! `auth` with what the client connected with, answers `message` with `message-back`, and
//! acknowledges `message-with-ack`, both with the same arguments, binary included. A client whose
//! credentials have a `refuse` is refused with what that says.
//!
//! ```sh
//! cargo run --example echo_server -- --port 3000
//! ```

use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::{App, HttpRequest, HttpServer};
use amoiq::realtime::{
    engine::{CloseReason, Data, Engine, Link, Outgoing, Protocol, Settings},
    socket::{
        Accepted, Application, ConnectError, Connecting, Emission, Event, Outcome, Refusal, SocketProtocol,
        SocketSettings, Sockets, Work,
    },
};
use amoiq_events::Ambient;
use clap::Parser;
use serde_json::{Value, json};

/// Echoes, for conformance tests.
#[derive(Parser)]
struct Arguments {
    /// Where it listens, on loopback. 0: on a free one, which it prints.
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
    /// How long at the least, in milliseconds; at most three times as long.
    #[arg(long, default_value_t = 5_000)]
    hold: u64,
}

/// Echoes the engine's messages.
struct EngineEcho;

impl Protocol for EngineEcho {
    type Note = ();

    fn opened(&mut self, _: &mut Link<'_, Self>) {}

    fn received(&mut self, data: Data, link: &mut Link<'_, Self>) {
        link.send(Outgoing::message(data));
    }

    fn noted(&mut self, (): (), _: &mut Link<'_, Self>) {}

    fn closed(&mut self, _: CloseReason, _: &mut Link<'_, Self>) {}
}

/// Echoes events.
struct SocketEcho;

impl Application for SocketEcho {
    type Socket = ();

    const NAMESPACES: &'static [&'static str] = &["/", "/custom"];

    fn connect(self: &Rc<Self>, connecting: Connecting) -> Work<Result<Accepted<()>, ConnectError>> {
        if let Some(refuse) = connecting.auth.get("refuse") {
            let refusal = Refusal { message: "REFUSED".into(), data: refuse.clone() };
            return Box::pin(std::future::ready(Err(ConnectError::Refused(refusal))));
        }
        let mut accepted = Accepted::new(());
        accepted.first.push(Arc::new(Emission::new("auth", &connecting.auth)));
        Box::pin(std::future::ready(Ok(accepted)))
    }

    fn event(self: &Rc<Self>, (): (), event: Event) -> Work<((), Outcome)> {
        let args = event.args();
        let outcome = match &*event.name {
            "message" => {
                let echo = Emission::with_args("message-back", &args, event.attachments);
                Outcome { emit: vec![Arc::new(echo)], ..Outcome::default() }
            }
            "message-with-ack" => {
                Outcome { ack: Some(args), attachments: event.attachments, ..Outcome::default() }
            }
            _ => Outcome::default(),
        };
        Box::pin(std::future::ready(((), outcome)))
    }

    fn too_many(&self, retry_after_ms: u64) -> Value {
        json!({ "retryAfterMs": retry_after_ms })
    }
}

#[expect(clippy::print_stdout, reason = "whoever starts it has to know where it listens")]
#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings {
        ping_interval: Duration::from_millis(arguments.ping_interval),
        ping_timeout: Duration::from_millis(arguments.ping_timeout),
        max_payload: arguments.max_payload,
        upgrade_timeout: Duration::from_millis(arguments.upgrade_timeout),
        max_connections: arguments.max_connections,
        held_connections: arguments.held_connections,
        hold: Duration::from_millis(arguments.hold)..=Duration::from_millis(3 * arguments.hold),
        ..Settings::default()
    };
    let socket_settings = SocketSettings {
        connect_timeout: Duration::from_millis(arguments.connect_timeout),
        max_event_bytes: arguments.max_payload,
        ..SocketSettings::default()
    };
    let ambient = Ambient::system();
    let engine = Engine::<EngineEcho>::new(settings.clone(), ambient.clone());
    let sockets = Engine::<SocketProtocol<SocketEcho>>::new(settings, ambient.clone());
    let numbers = Arc::default();
    let server = HttpServer::new(move || {
        let speaks = Sockets::new(SocketEcho, socket_settings.clone(), ambient.clone(), Arc::clone(&numbers));
        App::new().configure(|routes| {
            engine.configure("/engine.io/", routes, Rc::new(peer), Rc::new(|_| EngineEcho));
            sockets.configure("/socket.io/", routes, Rc::new(peer), Rc::new(move |said| speaks.speak(said)));
        })
    })
    .h1_allow_half_closed(false)
    .bind((Ipv4Addr::LOCALHOST, arguments.port))?;
    for address in server.addrs() {
        println!("echo server listens on http://{address}");
    }
    server.run().await
}

fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
