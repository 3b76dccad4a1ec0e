//! A way to the database on which an answer gets lost: the call was carried out, and the connection ends.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use amoiq_testkit::PostgresServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Which answer is lost, once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LostAnswer {
    /// The one to a request with these bytes in it.
    To(&'static str),
    /// One with these bytes in it.
    With(&'static str),
}

/// Passes connections on to the server.
pub(crate) struct LosingProxy {
    port: u16,
    next: Arc<Mutex<Option<LostAnswer>>>,
}

impl LosingProxy {
    pub(crate) fn start(server: &PostgresServer) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let (port, server) = (listener.local_addr().expect("its address").port(), server.port());
        let next = Arc::<Mutex<Option<LostAnswer>>>::default();
        let lost = Arc::clone(&next);
        // On a thread of its own: whoever opens a database blocks.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, server, Arc::clone(&lost)));
                }
            });
        });
        Self { port, next }
    }

    pub(crate) fn address(&self) -> String {
        format!("postgres://amoiq@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) fn lose(&self, answer: LostAnswer) {
        *self.next.lock().expect("a lock") = Some(answer);
    }

    /// Whether it was lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.next.lock().expect("a lock").is_none()
    }
}

async fn pass(mut client: TcpStream, server: u16, lost: Arc<Mutex<Option<LostAnswer>>>) {
    let mut there = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.expect("the server listens");
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_lost = false;
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                let Ok(count @ 1..) = count else { return };
                is_lost |= takes(&lost, |answer| matches!(answer, LostAnswer::To(text) if has(&asked[..count], text)));
                if there.write_all(&asked[..count]).await.is_err() { return }
            }
            count = there.read(&mut answered) => {
                let Ok(count @ 1..) = count else { return };
                is_lost |= takes(&lost, |answer| matches!(answer, LostAnswer::With(text) if has(&answered[..count], text)));
                if is_lost || client.write_all(&answered[..count]).await.is_err() { return }
            }
        }
    }
}

/// Whether this is the answer that is to be lost.
fn takes(lost: &Mutex<Option<LostAnswer>>, is_it: impl FnOnce(LostAnswer) -> bool) -> bool {
    lost.lock().expect("a lock").take_if(|answer| is_it(*answer)).is_some()
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
