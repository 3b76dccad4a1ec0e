//! Which users of a tenant a secret key has vouched for, so that nobody else can use their names.
//!
//! A proof is in the log as a verified `visitor.identified`; the inbox folds it and answers here. Proofs that this process
//! has seen are also kept in memory, with earlier answers. So a proof counts as soon as its token first sends or names a
//! session, before the inbox has folded it, and an erasure revokes it. A token that was only used for reading proves
//! nothing yet. A proof and a claim that arrive at the same time may be processed in either order: the claim is then
//! stored as a claim.
//!
//! While the inbox cannot answer (during a rebuild), every claim counts as a claim to somebody else's name. That hides an
//! honest visitor's name for a while, but never shows a name that belongs to somebody else.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use amoiq_events::{Position, TenantId, UserId};
use parking_lot::Mutex;

use crate::inbox::InboxView;

/// How many answers one half of the cache holds. When it is full, the other, older half is dropped.
const HALF_ENTRIES: usize = 65_536;

/// Knows proven users. Cheap to clone. The default has no log and knows only what is added.
#[derive(Clone, Default)]
pub struct ProvenUsers {
    cache: Arc<Mutex<ProofCache>>,
    log: Option<InboxProofs>,
}

/// Proofs that were in the log when this process started.
#[derive(Clone)]
struct InboxProofs {
    inbox: InboxView,
    head: Position,
}

/// Answers, by a keyed hash over tenant and user that callers cannot predict.
#[derive(Default)]
struct ProofCache {
    keys: RandomState,
    recent: HashMap<u64, bool>,
    older: HashMap<u64, bool>,
}

impl ProvenUsers {
    /// Over an inbox. `head` is the end of the log before this process served requests. The inbox has to be that far and
    /// no further, because later proofs are added here.
    #[must_use]
    pub fn of(inbox: InboxView, head: Position) -> Self {
        Self { log: Some(InboxProofs { inbox, head }), ..Self::default() }
    }

    /// Adds a user for whom a token vouched.
    pub fn add(&self, tenant: &TenantId, user: &UserId) {
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
            // It may have been added meanwhile.
            Ok(is_proven) => self.with(|known| {
                let is_proven = is_proven || known.get(key) == Some(true);
                known.put(key, is_proven);
                is_proven
            }),
            Err(error) => {
                tracing::debug!(%error, "whose name it is cannot be looked up; it counts as somebody else's");
                true
            }
        }
    }

    /// Forgets all answers: somebody was erased, and the inbox has folded that.
    pub(crate) fn forget(&self) {
        self.with(|cache| *cache = ProofCache::default());
    }

    fn with<T>(&self, work: impl FnOnce(&mut ProofCache) -> T) -> T {
        work(&mut self.cache.lock())
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
        if self.recent.len() >= HALF_ENTRIES && !self.recent.contains_key(&key) {
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
    fn its_cache_is_bounded_and_keeps_the_newest() {
        let (proven, tenant) = (ProvenUsers::default(), TenantId::parse("acme").unwrap());
        let last = 3 * HALF_ENTRIES;
        (0..=last).for_each(|number| proven.add(&tenant, &user(number)));
        let (held, newest, oldest) = proven.with(|known| {
            let held = known.recent.len() + known.older.len();
            let [newest, oldest] = [last, 0].map(|number| known.key(&tenant, &user(number)));
            (held, known.get(newest), known.get(oldest))
        });
        assert!(held <= 2 * HALF_ENTRIES, "{held}");
        assert_eq!((newest, oldest), (Some(true), None));
    }
}
