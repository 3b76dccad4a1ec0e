//! Commands that ask the running service.

mod client;
pub(super) mod cluster;
pub(super) mod erase;
pub(super) mod health;
pub(super) mod keys;
pub(super) mod rebuild;
pub(super) mod tenants;
pub(super) mod webhooks;
