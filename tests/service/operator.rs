//! What operators use: the command line against the running service, the operator interface, metrics and logs.

mod access;
mod cluster;
mod cluster_files;
mod deploy;
mod endpoints;
mod keys;
mod logs;
mod metrics;
mod rebuild;
mod standings;
mod tenants;
mod webhooks;
