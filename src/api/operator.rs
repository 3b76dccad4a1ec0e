//! Requests and responses of the operator interface, which the command line uses too. Webhooks are beside this module:
//! their owners see most of the same.

pub mod cluster;
pub mod erasure;
pub mod keys;
pub mod rebuilds;
pub mod tenants;
