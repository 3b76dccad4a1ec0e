//! Talks to the echo server byte by byte: no library of HTTP, websockets or the protocol.

pub mod echo_server;
pub mod engine_session;
pub mod raw_http;
pub mod websocket_client;
