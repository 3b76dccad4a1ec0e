//! Commands that work on the files of a store. Most of them also work while a service runs on it.

pub(super) mod backup;
pub(super) mod dead_letters;
pub(super) mod events;
mod log_point;
pub(super) mod migrate;
mod read_log;
pub(super) mod restore;
pub(super) mod state;
pub(super) mod verify;
