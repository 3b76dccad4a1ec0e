//! Edges: amoiq's interfaces. A request is parsed and passed to an actor, and its answer is put into the contract's form;
//! nothing is decided here.
//!
//! | module | holds |
//! |---|---|
//! | [`access`] | who is calling, whether they may, and how often |
//! | [`api`] | what clients send and read |
//! | [`cli`] | the command line |
//! | [`config`] | every setting, with its default |
//! | [`startup`] | building the service and running it until it is told to stop |
//! | [`http`] | the routes |
//! | [`realtime`] | the chat over Socket.IO |
//! | [`operator`] | the operator's interface: tenants, keys and webhooks of the running service |
//! | [`telemetry`] | log lines, spans and metrics |
//! | [`webhooks`] | how deliveries are written, signed and sent |

pub mod access;
pub mod api;
pub mod cli;
pub mod config;
pub mod http;
pub mod operator;
pub mod realtime;
pub mod startup;
pub mod telemetry;
pub mod webhooks;
