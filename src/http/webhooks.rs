//! `/api/webhooks`: a tenant's webhooks, managed by its admins and its own servers.
//!
//! The tenant's actor decides about a webhook, and the log keeps it; its lane knows how its deliveries are getting on.
//! Another tenant's webhook does not exist here. A webhook from the configuration is changed there: here it can be
//! read, tested, paused and asked to deliver again.
//!
//! A secret is in two answers only: the one that creates the webhook, and the one that replaces its secret.
//!
//! | below `/api/webhooks` | file |
//! |---|---|
//! | `GET`, `POST`; `GET`, `PATCH`, `DELETE /{id}`; `POST /{id}/pause`, `…/resume`, `…/rotate-secret` | [`endpoints`] |
//! | `POST /{id}/test` | [`mod@test`] |
//! | `GET /{id}/deliveries`; `POST …/{messageId}/redeliver`, `…/{messageId}/skip`, `…/skip` | [`deliveries`] |
//! | `GET`, `POST`, `DELETE /{id}/replay` | [`replay`] |
//!
//! [`admin`] recognises the caller, and [`registrar`] carries out changes.

pub mod admin;
pub mod deliveries;
pub mod endpoints;
pub mod registrar;
pub mod replay;
pub mod test;

pub use admin::WebhookAdmin;
pub use registrar::WebhookRegistrar;
