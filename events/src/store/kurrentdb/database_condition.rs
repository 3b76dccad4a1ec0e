//! Whether the database answers, as appends and the follower find it. Changes are logged once.

use parking_lot::Mutex;

use super::connecting::node_call_error::NodeCallError;
use crate::store::StoreHealth;

/// What is known of the database.
#[derive(Default)]
pub(super) struct DatabaseCondition {
    /// Why appends do not work.
    appending: Mutex<Option<String>>,
    /// Why the log cannot be followed.
    following: Mutex<Option<String>>,
    /// What does not read.
    damaged: Mutex<Option<String>>,
}

impl DatabaseCondition {
    /// The database took an append, or refused it for a reason of its own.
    pub(super) fn works(&self) {
        if self.appending.lock().take().is_some() {
            tracing::info!("the database takes appends again");
        }
    }

    /// The database did not take one.
    pub(super) fn fails(&self, error: &NodeCallError) {
        if self.appending.lock().replace(error.to_string()).is_none() {
            tracing::error!(%error, "the database takes no appends; trying again");
        }
    }

    /// How following the log goes.
    pub(super) fn followed(&self, failure: Option<String>) {
        let before = std::mem::replace(&mut *self.following.lock(), failure.clone());
        match (before, failure) {
            (None, Some(error)) => tracing::error!(error, "the log cannot be read; trying again"),
            (Some(_), None) => tracing::info!("the log can be read again"),
            _ => {}
        }
    }

    /// A record of the log is not what was written.
    pub(super) fn damaged(&self, reason: String) {
        tracing::error!(reason, "an event of the log does not read");
        *self.damaged.lock() = Some(reason);
    }

    /// The same for whoever asks.
    pub(super) fn health(&self) -> StoreHealth {
        let first = |one: &Mutex<Option<String>>| one.lock().clone();
        match first(&self.appending).or_else(|| first(&self.following)) {
            Some(failure) => StoreHealth::Failing(failure),
            None => first(&self.damaged).map_or(StoreHealth::Writable, StoreHealth::Unreadable),
        }
    }
}
