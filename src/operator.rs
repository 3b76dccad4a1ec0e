//! The operator interface: tenants, keys and webhooks of the running service, over HTTP on its own address
//! (`operator.bind`) with its own token. It also serves `GET /metrics` for Prometheus.
//!
//! Every change is an event that records who made it (`operator:<name>`) and when. The command line is a client of this
//! interface: it reads the address and the token from `operator.json` in the data directory ([`connection_file`]).
//! Browsers do not call it, so there is no CORS. Errors have the same form as those of the public API. Every `GET` route
//! also answers `HEAD`.
//!
//! | route | file |
//! |---|---|
//! | `GET`, `POST /operator/tenants`, `GET`, `PATCH /operator/tenants/{tenant}` | [`tenants`] |
//! | `GET`, `POST …/keys`, `DELETE …/keys/{key}` | [`keys`] |
//! | `GET /operator/webhooks`, `GET …/webhooks` | [`webhooks::list`] |
//! | `POST …/webhooks`, `PATCH`, `DELETE …/webhooks/{webhook}` | [`webhooks`] |
//! | `POST /operator/erase` | [`erasure`] |
//! | `GET /operator/cluster` | [`cluster`] |
//! | `GET /metrics` | [`server`] |
//! | `POST …/webhooks/{webhook}/pause`, `resume`, `disable`, `rotate-secret` | [`webhooks`] |
//! | `GET`, `POST`, `DELETE /operator/rebuild` | [`rebuilds`] |
//! | `GET /operator/openapi.json` | [`server`] |

pub mod cluster;
pub mod connection_file;
pub mod erasure;
pub mod error;
pub mod keys;
pub mod rebuilds;
pub mod request;
pub mod server;
pub mod services;
pub mod tenants;
pub mod token;
pub mod webhooks;

pub use error::OperatorError;
pub use request::{ChangeRequest, OperatorIdentity};
pub use server::{OperatorServer, openapi};
pub use services::OperatorServices;

/// Where Prometheus scrapes.
const METRICS: &str = "/metrics";
