//! What the tests of amoiq share. It is never part of the program.
//!
//! | module | holds |
//! |---|---|
//! | [`app_launcher`], [`test_app`] | the real program as a process, with a data directory of its own |
//! | [`cli`] | the program's other commands, run on a data directory |
//! | [`clients`] | HTTP, the operator interface, sockets, metrics |
//! | [`receivers`] | endpoints that webhooks are sent to |
//! | [`faulty_disk`] | a disk that fails when a test says so |
//! | [`store_invariants`] | what must hold of every data directory |
//! | [`stores`] | event stores that misbehave, and servers of real ones |
//! | [`process_figures`] | what the kernel says about a process |
//! | [`redaction`] | what differs from run to run, taken out of a value |
//! | [`waiting`] | waiting for a condition, with a deadline |
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod app_launcher;
pub mod cli;
pub mod clients;
pub mod faulty_disk;
pub mod process_figures;
pub mod receivers;
pub mod redaction;
pub mod store_invariants;
pub mod stores;
pub mod test_app;
pub mod waiting;

pub use app_launcher::AppLauncher;
pub use clients::{
    ApiResponse, OperatorClient, SocketClient, SocketEvent, SocketHandshake, http_client, metric_value,
    scrape,
};
pub use faulty_disk::FaultyDisk;
pub use redaction::redacted;
#[cfg(feature = "kurrentdb")]
pub use stores::kurrentdb_server::{AppendFault, KurrentBackup, KurrentServer, SubscriptionEnd};
pub use stores::postgres_server::PostgresServer;
pub use test_app::{BOT_KEY, SECRET_KEY, TestApp, WIDGET_KEY};
pub use waiting::{PATIENCE, eventually};
