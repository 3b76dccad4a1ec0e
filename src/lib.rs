//! Edges: what amoiq shows to the world. A request is parsed, handed to an actor, and its answer is
//! put into the contract's form; nothing is decided here.
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | the command line |
//! | [`config`] | every setting, with its default |
//! | [`connections`] | accepted TCP connections: who gets one, how long it may keep the service waiting |
//! | [`startup`] | building the service and running it until it is told to stop |
//! | [`tenants`] | the configured tenants, made into events |
//! | [`auth`] | who is calling, decided once for HTTP and for sockets |
//! | [`rate_limit`] | how often they may |
//! | [`problem`] | the catalogue of errors |
//! | [`draft`] | a message as a client wrote it |
//! | [`message`] | a message as clients read it |
//! | [`http`] | the routes |
//! | [`realtime`] | sockets: Engine.IO, Socket.IO and the chat on them |
//! | [`operator`] | the operator's interface: tenants, keys and webhooks of the running service |
//! | [`online`] | who is online, as agents are told |
//! | [`webhooks`] | deliveries as they are written, signed and sent |
//! | [`metrics`] | what Prometheus scrapes |
//! | [`forwarded`] | who the client is behind proxies |
//! | [`network`] | whom an address stands for |
//! | [`key_uses`] | when each key was used last |
//! | [`last_backup`] | when the last backup was made |
//! | [`logging`] | what operators read |

pub mod auth;
pub mod cli;
pub mod config;
pub mod connections;
pub mod draft;
pub mod forwarded;
pub mod http;
pub mod key_uses;
pub mod last_backup;
pub mod logging;
pub mod message;
pub mod metrics;
pub mod network;
pub mod online;
pub mod operator;
pub mod problem;
pub mod rate_limit;
pub mod realtime;
pub mod secret;
pub mod startup;
pub mod tenants;
pub mod webhooks;
