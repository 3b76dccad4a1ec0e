//! `/api/webhooks`: a tenant's endpoints, managed by its admins and its own servers.
//!
//! What an endpoint is is decided by its tenant's actor and stands in the log; how it is doing is its
//! lane's knowledge. An endpoint of another tenant does not exist here. One that stands in the
//! configuration is changed there: here it is read, tested, paused and asked to deliver again.
//!
//! A secret is in two answers only: of making an endpoint, and of replacing the secret.
//!
//! | below `/api/webhooks` | file |
//! |---|---|
//! | `GET`, `POST`; `PATCH`, `DELETE /{id}` | [`endpoints`] |
//! | `GET /{id}` | [`standing`] |
//! | `POST /{id}/pause`, `POST /{id}/resume` | [`switch`] |
//! | `POST /{id}/test` | [`trial`] |
//! | `POST /{id}/rotate-secret` | [`secret`] |
//! | `GET /{id}/deliveries`, `POST /{id}/deliveries/{messageId}/redeliver` | [`deliveries`] |
//! | `POST /{id}/deliveries/{messageId}/skip`, `POST /{id}/deliveries/skip` | [`skip`] |
//! | `GET`, `POST`, `DELETE /{id}/replay` | [`replay`] |
//!
//! [`manager`] recognises who asks, [`registrar`] carries out what changes an endpoint, [`fields`] reads what
//! it is to be, [`view`] shows it, [`refusal`] says why not.

pub mod deliveries;
pub mod endpoints;
pub mod fields;
pub mod manager;
pub mod refusal;
pub mod registrar;
pub mod replay;
pub mod secret;
pub mod skip;
pub mod standing;
pub mod switch;
pub mod trial;
pub mod view;

pub use manager::Manager;
pub use registrar::Registrar;
