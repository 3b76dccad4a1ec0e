//! What the tests of amoiq share. It is never part of the program.
//!
//! | module | holds |
//! |---|---|
//! | [`app_launcher`], [`test_app`] | the real program as a process, with a data directory of its own |
//! | [`cli`] | the program's other commands, run on a data directory |
//! | [`api_response`], [`operator_client`], [`socket_client`] | clients |
//! | [`receivers`] | endpoints that webhooks are sent to |
//! | [`faulty_disk`] | a disk that fails when a test says so |
//! | [`metrics_scrape`] | the metrics of a running service |
//! | [`process_figures`] | what the kernel says about a process |
//! | [`demo_keys`] | the keys of the demo tenant |
//! | [`waiting`] | waiting for a condition, with a deadline |
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

pub mod api_response;
pub mod app_launcher;
pub mod cli;
pub mod demo_keys;
pub mod faulty_disk;
pub mod metrics_scrape;
pub mod operator_client;
pub mod process_figures;
pub mod receivers;
pub mod socket_client;
pub mod test_app;
pub mod waiting;

pub use api_response::{ApiResponse, http_client};
pub use app_launcher::AppLauncher;
pub use demo_keys::{BOT_KEY, SECRET_KEY, WIDGET_KEY};
pub use faulty_disk::FaultyDisk;
pub use operator_client::OperatorClient;
pub use socket_client::{SocketClient, SocketEvent, SocketHandshake};
pub use test_app::TestApp;
pub use waiting::{PATIENCE, eventually};
