//! Messages over HTTP: sending, repeats, ids, histories.

mod bodies;
mod history;
mod history_size;
mod idempotency;
mod ids;
