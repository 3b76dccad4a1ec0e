//! HTTP/1.1 without a library: sends what a test wrote and reads strictly.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
};

use serde_json::Value;

use super::echo_server::{EchoServer, PATIENCE};

/// A TCP connection that speaks HTTP and stays open between answers.
pub struct RawHttp {
    stream: BufReader<TcpStream>,
}

/// A whole answer.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl RawHttp {
    pub fn connect(server: &EchoServer) -> Self {
        Self::at(server.address)
    }

    /// Connects to any server.
    pub fn at(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request; a body has its length declared.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: Option<&[u8]>) {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if let Some(body) = body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.write(&[head.as_bytes(), body.unwrap_or_default()].concat());
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("written");
    }

    /// Sends bytes to a server that may have closed the connection.
    pub fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Closes the writing half (FIN).
    pub fn finish(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("a FIN");
    }

    /// Reads an answer: `content-length`, or chunks.
    pub fn answer(&mut self) -> RawResponse {
        let mut answer = self.head();
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = usize::from_str_radix(&self.line(), 16).expect("the size of a chunk");
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).expect("a chunk");
                assert_eq!(self.line(), "", "a chunk ends with its line");
                if size == 0 {
                    return answer;
                }
                answer.body.extend(chunk);
            }
        }
        let size = answer.header("content-length").map_or(0, |size| size.parse().expect("a length"));
        answer.body = vec![0; size];
        self.stream.read_exact(&mut answer.body).expect("the whole body");
        answer
    }

    /// Reads the head of an answer.
    pub fn head(&mut self) -> RawResponse {
        let line = self.line();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}")).parse().expect("a status");
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                return RawResponse { status, headers, body: Vec::new() };
            }
            let (name, value) = line.split_once(':').expect("a header");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("the stream ended: {line:?}")).to_owned()
    }

    /// The connection, for what follows HTTP.
    pub fn into_stream(self) -> BufReader<TcpStream> {
        self.stream
    }
}

impl RawResponse {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The text of an answer that has to be 200.
    pub fn ok(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.text());
        self.text()
    }

    /// Status and code of a refusal, whose body has to be exactly a code and a message.
    pub fn refusal(&self) -> (u16, u64) {
        let body: Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no refusal: {self:?}"));
        let fields = body.as_object().expect("an object");
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["code", "message"], "{body}");
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        (self.status, body["code"].as_u64().expect("a code"))
    }
}

/// One request on a connection of its own.
pub fn request(server: &EchoServer, method: &str, target: &str, body: Option<&[u8]>) -> RawResponse {
    let mut http = RawHttp::connect(server);
    http.send(method, target, &[], body);
    http.answer()
}
