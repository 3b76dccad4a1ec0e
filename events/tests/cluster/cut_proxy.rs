//! A way to the database that can be cut.

use std::net::Ipv4Addr;

use amoiq_testkit::PostgresServer;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutState {
    Open,
    /// Connections are closed, and new ones too.
    Closed,
    /// Nothing passes, and nobody is told.
    Silent,
}

/// Passes connections on to a server.
pub(crate) struct CutProxy {
    port: u16,
    state: watch::Sender<CutState>,
}

impl CutProxy {
    pub(crate) async fn start(server: &PostgresServer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let (state, states) = watch::channel(CutState::Open);
        let server = server.port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, states.clone()));
            }
        });
        Self { port, state }
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://amoiq@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn set(&self, state: CutState) {
        self.state.send_replace(state);
    }
}

async fn pass(mut client: TcpStream, server: u16, mut states: watch::Receiver<CutState>) {
    let mut there = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.expect("the server listens");
    loop {
        let state = *states.borrow_and_update();
        match state {
            CutState::Open => tokio::select! {
                _ = copy_bidirectional(&mut client, &mut there) => return,
                changed = states.changed() => if changed.is_err() { return },
            },
            CutState::Closed => return,
            CutState::Silent => {
                if states.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
