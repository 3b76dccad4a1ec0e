//! A receiver as a customer's system has one: it verifies the signature and keeps what it was sent.
//!
//! It judges nothing; what must hold of the deliveries is for the tests to say.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use amoiq_events::ambient::SeededEntropy;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{RawRequest, ReceiverBehaviour, ReceiverRuntime, read_request};

/// A delivery that arrived.
#[derive(Debug, Clone)]
pub struct ReceivedDelivery {
    /// `webhook-id`
    pub id: String,
    /// The tenant that the payload names.
    pub tenant: String,
    /// The session that it names.
    pub session: String,
    /// The message that it names.
    pub message: String,
    /// The text of the message.
    pub text: String,
    /// Of the body, to compare repeats: there are too many to keep them.
    pub hash: u64,
    /// The signature is the endpoint's.
    pub is_signed: bool,
    /// It was answered with a whole 2xx.
    pub is_taken: bool,
}

/// One receiver.
#[derive(Clone)]
pub struct VerifyingReceiver {
    /// Where it listens.
    pub address: SocketAddr,
    inside: Arc<Inside>,
}

struct Inside {
    secret: OnceLock<String>,
    arrivals: Mutex<Vec<ReceivedDelivery>>,
    /// The ids of what was taken.
    taken: Mutex<HashSet<String>>,
    /// It behaves as these say while it is wild.
    dice: SeededEntropy,
    is_wild: AtomicBool,
    /// How long it thinks while it is calm, in milliseconds.
    pause_ms: AtomicU64,
    /// How many deliveries it answers.
    answers: watch::Sender<usize>,
}

impl VerifyingReceiver {
    /// A calm one.
    pub fn open(ground: &ReceiverRuntime) -> Self {
        Self::with_dice(ground, SeededEntropy::new(0), false)
    }

    /// One that behaves as its dice say, until it is calmed.
    pub fn wild(ground: &ReceiverRuntime, dice: SeededEntropy) -> Self {
        Self::with_dice(ground, dice, true)
    }

    fn with_dice(ground: &ReceiverRuntime, dice: SeededEntropy, is_wild: bool) -> Self {
        let inside = Inside {
            secret: OnceLock::new(),
            arrivals: Mutex::default(),
            taken: Mutex::default(),
            dice,
            is_wild: AtomicBool::new(is_wild),
            pause_ms: AtomicU64::new(0),
            answers: watch::Sender::new(usize::MAX),
        };
        ground.run(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let mailbox = Self { address: listener.local_addr().expect("bound"), inside: Arc::new(inside) };
            let serving = mailbox.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let serving = serving.clone();
                    tokio::spawn(async move { serving.serve(stream).await });
                }
            });
            mailbox
        })
    }

    /// Where deliveries are to be sent.
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Says by which secret deliveries are signed.
    pub fn trust(&self, secret: &str) {
        self.inside.secret.set(secret.to_owned()).expect("told once");
    }

    /// From now on it takes everything.
    pub fn calm(&self) {
        self.inside.is_wild.store(false, Ordering::SeqCst);
    }

    /// From now on it thinks for so long before it takes something.
    pub fn pause(&self, pause: Duration) {
        let pause_ms = u64::try_from(pause.as_millis()).expect("short");
        self.inside.pause_ms.store(pause_ms, Ordering::SeqCst);
    }

    /// It answers no more than so many deliveries, repeats not counted. The others wait until it may answer more.
    pub fn answer_up_to(&self, count: usize) {
        self.inside.answers.send_replace(count);
    }

    /// Everything that arrived, in order.
    pub fn arrivals(&self) -> Vec<ReceivedDelivery> {
        held(&self.inside.arrivals).clone()
    }

    /// How many deliveries were taken, repeats not counted.
    pub fn taken(&self) -> usize {
        held(&self.inside.taken).len()
    }

    async fn serve(&self, mut stream: TcpStream) {
        while let Ok(request) = read_request(&mut stream).await {
            let temper = self.temper();
            let arrival = self.arrival(&request);
            let id = arrival.id.clone();
            let place = {
                let mut arrivals = held(&self.inside.arrivals);
                arrivals.push(arrival);
                arrivals.len() - 1
            };
            // Noted before the answer, as a customer does: the sender may die before it has read it.
            if temper.takes() {
                held(&self.inside.arrivals)[place].is_taken = true;
                let number = {
                    let mut taken = held(&self.inside.taken);
                    taken.insert(id);
                    taken.len()
                };
                let mut answers = self.inside.answers.subscribe();
                answers.wait_for(|&answers| number <= answers).await.expect("the mailbox is there");
            }
            if !temper.answer(&mut stream).await.unwrap_or(false) {
                return;
            }
        }
    }

    fn temper(&self) -> ReceiverBehaviour {
        if self.inside.is_wild.load(Ordering::SeqCst) {
            return ReceiverBehaviour::throw(&self.inside.dice);
        }
        match self.inside.pause_ms.load(Ordering::SeqCst) {
            0 => ReceiverBehaviour::Good,
            pause_ms => ReceiverBehaviour::Slow(Duration::from_millis(pause_ms)),
        }
    }

    fn arrival(&self, request: &RawRequest) -> ReceivedDelivery {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = |name: &str| body["data"][name].as_str().expect(name).to_owned();
        ReceivedDelivery {
            id: request.header("webhook-id").expect("an id").to_owned(),
            tenant: text("tenantId"),
            session: text("sessionId"),
            message: text("messageId"),
            text: text("text"),
            hash: hash(&request.body),
            is_signed: self.is_signed(request),
            is_taken: false,
        }
    }

    fn is_signed(&self, request: &RawRequest) -> bool {
        let Some(secret) = self.inside.secret.get() else { return false };
        let mut headers = HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let value = HeaderValue::from_str(request.header(name).expect(name)).expect("ASCII");
            headers.insert(HeaderName::from_static(name), value);
        }
        Webhook::new(secret).expect("a secret").verify(&request.body, &headers).is_ok()
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().expect("nobody panicked")
}
