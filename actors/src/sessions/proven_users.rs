//! Which users of a tenant a secret key has vouched for, so that nobody else can go by their names.
//!
//! A proof is in the log as a `visitor.identified` that is verified; the inbox folds it, and answers here. What was
//! presented to this process since it started is kept in memory, with what was asked before: so a proof counts from
//! the moment in which its token first sends or names a session, not once the inbox has followed, and an erasure takes
//! it back. A token that only read proves nothing yet. Two that come at the same time may be taken in either order: the
//! claim is then stored as a claim.
//!
//! While the inbox cannot answer (it is being made again), every claim counts as one to another's name. That keeps an
//! honest visitor's name out of sight for a while, and never lets anybody go by another's.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use amoiq_events::{Position, TenantId, UserId};
use parking_lot::Mutex;

use crate::inbox::InboxView;

/// How many answers one half of the memory holds. When it is full the other half, which is older, is forgotten.
const HALF: usize = 65_536;

/// The way to ask. Cheap to clone; the default knows no more than what it is shown.
#[derive(Clone, Default)]
pub struct ProvenUsers {
    known: Arc<Mutex<ProofCache>>,
    log: Option<InboxProofs>,
}

/// Who answers for what was in the log when this process started.
#[derive(Clone)]
struct InboxProofs {
    inbox: InboxView,
    head: Position,
}

/// Answers, by a hash over tenant and user that nobody outside can compute.
#[derive(Default)]
struct ProofCache {
    keys: RandomState,
    recent: HashMap<u64, bool>,
    older: HashMap<u64, bool>,
}

impl ProvenUsers {
    /// Over an inbox. `head` is the end of the log before this process served anybody: the inbox has to have come so
    /// far, and no further, since later proofs are seen here.
    #[must_use]
    pub fn of(inbox: InboxView, head: Position) -> Self {
        Self { log: Some(InboxProofs { inbox, head }), ..Self::default() }
    }

    /// A token that vouches for a user was presented.
    pub fn saw(&self, tenant: &TenantId, user: &UserId) {
        self.with(|known| known.put(known.key(tenant, user), true));
    }

    /// Whether a secret key has vouched for a user, as far as the log or this process knows.
    pub async fn contains(&self, tenant: &TenantId, user: &UserId) -> bool {
        let (key, known) = self.with(|known| {
            let key = known.key(tenant, user);
            (key, known.get(key))
        });
        if let Some(known) = known {
            return known;
        }
        let Some(InboxProofs { inbox, head }) = &self.log else { return false };
        match inbox.is_proven(tenant.clone(), user.clone(), *head).await {
            // It may have been seen meanwhile.
            Ok(is_proven) => self.with(|known| {
                let is_proven = is_proven || known.get(key) == Some(true);
                known.put(key, is_proven);
                is_proven
            }),
            Err(error) => {
                tracing::debug!(%error, "whose name it is cannot be looked up; it counts as another's");
                true
            }
        }
    }

    /// Forgets all answers: somebody was erased, and the inbox knows of it.
    pub(crate) fn forget(&self) {
        self.with(|known| *known = ProofCache::default());
    }

    fn with<T>(&self, work: impl FnOnce(&mut ProofCache) -> T) -> T {
        work(&mut self.known.lock())
    }
}

impl ProofCache {
    fn key(&self, tenant: &TenantId, user: &UserId) -> u64 {
        self.keys.hash_one((tenant, user))
    }

    fn get(&mut self, key: u64) -> Option<bool> {
        let known = self.recent.get(&key).copied();
        known.or_else(|| {
            let known = self.older.get(&key).copied()?;
            self.put(key, known);
            Some(known)
        })
    }

    fn put(&mut self, key: u64, is_proven: bool) {
        if self.recent.len() >= HALF && !self.recent.contains_key(&key) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(key, is_proven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        UserId::parse(&format!("user {number}")).unwrap()
    }

    #[test]
    fn its_memory_is_bounded_and_keeps_what_came_last() {
        let (proven, tenant) = (ProvenUsers::default(), TenantId::parse("acme").unwrap());
        let last = 3 * HALF;
        (0..=last).for_each(|number| proven.saw(&tenant, &user(number)));
        let (held, newest, oldest) = proven.with(|known| {
            let held = known.recent.len() + known.older.len();
            let [newest, oldest] = [last, 0].map(|number| known.key(&tenant, &user(number)));
            (held, known.get(newest), known.get(oldest))
        });
        assert!(held <= 2 * HALF, "{held}");
        assert_eq!((newest, oldest), (Some(true), None));
    }
}
