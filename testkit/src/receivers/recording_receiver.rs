//! A small HTTP server that keeps every request and answers as a test tells it.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::Value;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    /// The path of the URL.
    pub path: String,
    headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// A header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

#[derive(Default)]
struct State {
    requests: Vec<ReceivedRequest>,
    /// What is answered, with a body; nothing at all when absent: the sender waits.
    answer: Option<(u16, String)>,
    /// What holds this text is answered so instead.
    refusal: Option<(String, u16, String)>,
    /// Connections that wait for an answer.
    held: Vec<TcpStream>,
}

/// A receiver. It listens until the test process ends.
#[derive(Clone)]
pub struct RecordingReceiver {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl RecordingReceiver {
    /// On a port of its own, answering 200.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(Mutex::new(State { answer: Some((200, String::new())), ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { port, state }
    }

    /// Where deliveries are to be sent.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// From now on it answers with this status and body.
    pub fn answer(&self, status: u16, body: &str) {
        self.state.lock().expect("a lock").answer = Some((status, body.to_owned()));
    }

    /// From now on it answers requests that hold this text with this status and body.
    pub fn refuse(&self, text: &str, status: u16, body: &str) {
        self.state.lock().expect("a lock").refusal = Some((text.to_owned(), status, body.to_owned()));
    }

    /// From now on it answers nothing, so that the sender waits.
    pub fn hang(&self) {
        self.state.lock().expect("a lock").answer = None;
    }

    /// Closes the connections that wait for an answer.
    pub fn release(&self) {
        self.state.lock().expect("a lock").held.clear();
    }

    /// Every request that arrived, in order.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.state.lock().expect("a lock").requests.clone()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    // A connection that ends before a request is whole was given up.
    let Some(request) = read(&mut reader) else { return };
    let mut stream = reader.into_inner();
    let mut state = state.lock().expect("a lock");
    let said = String::from_utf8_lossy(&request.body).into_owned();
    let refusal = state.refusal.clone().filter(|(text, ..)| said.contains(text));
    state.requests.push(request);
    match &refusal.map(|(_, status, body)| (status, body)).or(state.answer.clone()) {
        Some((status, body)) => {
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            // Nobody may be waiting for it any more.
            drop(stream.write_all(answer.as_bytes()));
        }
        None => state.held.push(stream),
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<ReceivedRequest> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let (first, rest) = lines.split_first()?;
    let named =
        |line: &String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: BTreeMap<_, _> = rest.iter().filter_map(named).collect();
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(ReceivedRequest { path: first.split(' ').nth(1)?.to_owned(), headers, body })
}
