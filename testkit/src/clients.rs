//! Clients of a running service: plain HTTP, the operator interface, Socket.IO, metrics.

mod api_response;
mod metrics_scrape;
mod operator_client;
mod socket_client;

pub use api_response::{ApiResponse, http_client};
pub use metrics_scrape::{metric_value, scrape};
pub use operator_client::OperatorClient;
pub use socket_client::{SocketClient, SocketEvent, SocketHandshake};
