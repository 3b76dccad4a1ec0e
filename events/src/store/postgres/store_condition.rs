//! Whether the database answers, as appends and the follower find it. Changes are logged once.

use std::time::Instant;

use parking_lot::Mutex;

use crate::{
    postgres::{CallFailure, timing},
    store::StoreHealth,
};

/// What is known of the database.
#[derive(Default)]
pub(super) struct StoreCondition {
    /// Why appends do not work.
    appending: Mutex<Option<String>>,
    /// Why the log cannot be followed.
    following: Mutex<Option<String>>,
    /// When the call that is underway was made.
    begun: Mutex<Option<Instant>>,
}

impl StoreCondition {
    /// A call that writes is made.
    pub(super) fn begins(&self) {
        *self.begun.lock() = Some(Instant::now());
    }

    /// It is over.
    pub(super) fn ends(&self) {
        *self.begun.lock() = None;
    }

    /// The database took an append.
    pub(super) fn works(&self) {
        if self.appending.lock().take().is_some() {
            tracing::info!("the database takes appends again");
        }
    }

    /// The database did not take one.
    pub(super) fn fails(&self, failure: &CallFailure) {
        if self.appending.lock().replace(failure.to_string()).is_none() {
            tracing::error!(error = %failure, "the database takes no appends; trying again");
        }
    }

    /// Whether the last append was not taken.
    pub(super) fn is_failing(&self) -> bool {
        self.appending.lock().is_some()
    }

    /// How following the log went.
    pub(super) fn followed(&self, failure: Option<String>) {
        let before = std::mem::replace(&mut *self.following.lock(), failure.clone());
        match (before, failure) {
            (None, Some(error)) => tracing::error!(error, "the log cannot be read; trying again"),
            (Some(_), None) => tracing::info!("the log can be read again"),
            _ => {}
        }
    }

    /// The same for whoever asks.
    pub(super) fn health(&self) -> StoreHealth {
        let is_slow = self.begun.lock().is_some_and(|begun| begun.elapsed() > timing::WRITE_CALL);
        if let Some(failure) = self.appending.lock().clone() {
            StoreHealth::Failing(failure)
        } else if is_slow {
            StoreHealth::Failing(format!("an append has taken more than {} s", timing::WRITE_CALL.as_secs()))
        } else if let Some(failure) = self.following.lock().clone() {
            StoreHealth::Failing(failure)
        } else {
            StoreHealth::Writable
        }
    }
}
