//! Tenants and keys as a snapshot: readers take it without waiting, and tenants' actors replace it after a change.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use amoiq_events::{
    EventLog, EventStore, KeyId, StreamName, TenantId, WebhookId, codec,
    event::Event,
    store::{LogReader, MAX_READ_EVENTS, ReadError},
    stream::StreamKind,
    tenant::{KeyChange, KeyHash, KeyIssued, KeyKind, ManagedBy, Tenant},
};
use arc_swap::ArcSwap;
use imbl::HashMap;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// What a key permits, for one tenant or ([`TenantId::every`]) for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    /// The tenant.
    pub tenant: TenantId,
    /// The key's public id.
    pub key_id: KeyId,
    /// What the key may do.
    pub kind: KeyKind,
    /// When the key was used last.
    pub used: KeyLastUse,
}

/// The day on which a key was used last, in days since 1970. All copies of a grant share it.
#[derive(Debug, Clone, Default)]
pub struct KeyLastUse(Arc<AtomicU32>);

impl PartialEq for KeyLastUse {
    fn eq(&self, other: &Self) -> bool {
        self.day() == other.day()
    }
}

impl Eq for KeyLastUse {}

impl KeyLastUse {
    /// The key is used on this day.
    pub fn note(&self, day: u32) {
        // Usually the day is the same, and then nothing is written that other threads read.
        if self.0.load(Relaxed) < day {
            self.0.fetch_max(day, Relaxed);
        }
    }

    /// The last day; `None` if the key was never used.
    #[must_use]
    pub fn day(&self) -> Option<u32> {
        Some(self.0.load(Relaxed)).filter(|day| *day > 0)
    }
}

/// Tenants and keys at one time. The next snapshot shares what did not change, so the cost of a change does not depend on
/// the number of tenants and keys.
#[derive(Debug, Clone, Default)]
pub struct TenantSnapshot {
    /// Every tenant of the log, including those that are not served.
    all: HashMap<TenantId, Arc<Tenant>>,
    /// By the first half of the key's hash; the whole hash is compared in constant time.
    grants: HashMap<[u8; 16], Vec<(KeyHash, Vec<KeyGrant>)>>,
    /// The same by public id: a token names the key that signed it for a caller.
    grants_by_id: HashMap<KeyId, Vec<KeyGrant>>,
    /// Whether the demo tenant may be served.
    allows_demo: bool,
    /// How many other tenants there are.
    customers: usize,
}

impl TenantSnapshot {
    fn new(allows_demo: bool) -> Self {
        Self { allows_demo, ..Self::default() }
    }

    /// The demo tenant is served only if it is allowed and there is no other tenant.
    fn serves_demo(&self) -> bool {
        self.allows_demo && self.customers == 0
    }

    /// A snapshot with a new state of a tenant.
    fn with(&self, id: &TenantId, tenant: Arc<Tenant>) -> Self {
        let mut next = self.clone();
        let before = next.all.insert(id.clone(), Arc::clone(&tenant)).unwrap_or_default();
        next.customers += usize::from(ends_demo(&tenant));
        next.customers -= usize::from(ends_demo(&before));
        let none = Tenant::default();
        let granted = |tenant, serves| if serves || !is_demo_tenant(tenant) { tenant } else { &none };
        next.change(id, granted(&before, self.serves_demo()), granted(&tenant, next.serves_demo()));
        if next.serves_demo() != self.serves_demo() {
            let others = self.all.iter().filter(|(other, tenant)| *other != id && is_demo_tenant(tenant));
            for (other, demo) in others {
                let (was, is) = (self.serves_demo(), next.serves_demo());
                next.change(other, granted(demo, was), granted(demo, is));
            }
        }
        next
    }

    /// Replaces the grants of a tenant's keys.
    fn change(&mut self, id: &TenantId, before: &Tenant, now: &Tenant) {
        for change in now.key_changes(before) {
            match change {
                KeyChange::Added(key) => self.grant(id, &key.issued),
                KeyChange::Removed(key) => self.withdraw(id, &key.issued),
            }
        }
    }

    fn grant(&mut self, id: &TenantId, key: &KeyIssued) {
        let grant = KeyGrant {
            tenant: id.clone(),
            key_id: key.key_id.clone(),
            kind: key.kind,
            used: KeyLastUse::default(),
        };
        self.grants_by_id.entry(key.key_id.clone()).or_default().push(grant.clone());
        let same_half = self.grants.entry(half(&key.hash)).or_default();
        match same_half.iter_mut().find(|(hash, _)| *hash == key.hash) {
            Some((_, known)) => known.push(grant),
            None => same_half.push((key.hash, vec![grant])),
        }
    }

    fn withdraw(&mut self, id: &TenantId, key: &KeyIssued) {
        let is_other = |grant: &KeyGrant| grant.tenant != *id || grant.key_id != key.key_id;
        if let Some(same_id) = self.grants_by_id.get_mut(&key.key_id) {
            same_id.retain(is_other);
            if same_id.is_empty() {
                self.grants_by_id.remove(&key.key_id);
            }
        }
        let half = half(&key.hash);
        if let Some(same_half) = self.grants.get_mut(&half) {
            same_half.iter_mut().for_each(|(_, grants)| grants.retain(is_other));
            same_half.retain(|(_, grants)| !grants.is_empty());
            if same_half.is_empty() {
                self.grants.remove(&half);
            }
        }
    }

    /// A tenant that is served.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        let tenant = self.all.get(id)?;
        (has_settings(tenant) && (self.serves_demo() || !is_demo_tenant(tenant))).then_some(tenant)
    }

    /// A tenant of the log, also one that is not served, or the holder of keys for all tenants.
    #[must_use]
    pub fn of_log(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.all.get(id)
    }

    /// The tenants that are served.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &Arc<Tenant>)> {
        self.all.iter().filter(|(id, _)| self.tenant(id).is_some())
    }

    /// Whether a tenant deleted a webhook, or never had it.
    #[must_use]
    pub fn is_deleted(&self, tenant: &TenantId, webhook: &WebhookId) -> bool {
        self.all.get(tenant).is_none_or(|tenant| tenant.webhook(webhook).is_none())
    }

    /// Every tenant of the log, also those that are not served, and the holder of keys for all tenants.
    pub fn all(&self) -> impl Iterator<Item = (&TenantId, &Arc<Tenant>)> {
        self.all.iter()
    }

    /// The ids of the same.
    pub fn known(&self) -> impl Iterator<Item = &TenantId> {
        self.all.keys()
    }

    /// What the key with this hash permits; empty for an unknown or revoked key.
    #[must_use]
    pub fn grants(&self, hash: &KeyHash) -> &[KeyGrant] {
        let same_half = self.grants.get(&half(hash)).map(Vec::as_slice).unwrap_or_default();
        let found = same_half.iter().find(|(known, _)| known.0.ct_eq(&hash.0).into());
        found.map(|(_, grants)| grants.as_slice()).unwrap_or_default()
    }

    /// The day on which each key was used last, for keys that were used.
    pub fn uses(&self) -> impl Iterator<Item = (&KeyId, u32)> {
        let used = |grant: &KeyGrant| grant.used.day();
        let last = move |(id, grants)| {
            let grants: &Vec<KeyGrant> = grants;
            Some((id, grants.iter().filter_map(used).max()?))
        };
        self.grants_by_id.iter().filter_map(last)
    }

    /// Restores when a key was used last.
    pub fn note_use(&self, key: &KeyId, day: u32) {
        self.grants_by_id.get(key).into_iter().flatten().for_each(|grant| grant.used.note(day));
    }

    /// What the key with this public id permits for a tenant.
    #[must_use]
    pub fn grant_of(&self, key: &KeyId, tenant: &TenantId) -> Option<&KeyGrant> {
        let covers = |grant: &&KeyGrant| grant.tenant == *tenant || grant.tenant.is_every();
        self.grants_by_id.get(key)?.iter().find(covers)
    }
}

/// Whether a tenant is the demo that comes with the program.
#[must_use]
pub fn is_demo_tenant(tenant: &Tenant) -> bool {
    tenant.settings().is_some_and(|settings| settings.source == ManagedBy::Builtin)
}

fn half(hash: &KeyHash) -> [u8; 16] {
    hash.0.first_chunk().copied().unwrap_or_default()
}

/// Whether it is a customer's tenant, which ends the demo.
fn ends_demo(tenant: &Tenant) -> bool {
    has_settings(tenant) && !is_demo_tenant(tenant)
}

/// Whether it is a tenant, not only the holder of keys for all tenants.
fn has_settings(tenant: &Tenant) -> bool {
    tenant.settings().is_some()
}

/// Publishes the newest snapshot.
#[derive(Debug)]
pub struct TenantRegistry {
    current: ArcSwap<TenantSnapshot>,
    /// Notifies those who derive something from a snapshot that there is a newer one.
    changed: watch::Sender<()>,
}

impl TenantRegistry {
    /// Reads every tenant from the log.
    ///
    /// # Errors
    /// When the log cannot be read, or contains events that this release does not know.
    pub async fn load(store: &dyn EventStore, allows_demo: bool) -> Result<Self, TenantLoadError> {
        let mut snapshot = TenantSnapshot::new(allows_demo);
        let mut after = None;
        loop {
            let names = store.streams(StreamName::TENANTS, after, MAX_READ_EVENTS).await?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                let mut tenant = Tenant::default();
                catch_up(store, &name, &mut tenant).await?;
                if let Some(StreamKind::Tenant(id)) = name.kind() {
                    snapshot = snapshot.with(&id, Arc::new(tenant));
                }
            }
        }
        Ok(Self { current: ArcSwap::from_pointee(snapshot), changed: watch::Sender::new(()) })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<TenantSnapshot>> {
        self.current.load()
    }

    /// The published state of a tenant, which may be behind the log.
    pub(crate) fn published(&self, id: &TenantId) -> Tenant {
        self.current().of_log(id).map(|tenant| Tenant::clone(tenant)).unwrap_or_default()
    }

    /// Publishes a tenant's state, unless the published one is as new: a slow caller never overwrites a later decision.
    pub(crate) fn publish(&self, id: &TenantId, tenant: &Tenant) {
        let is_known = |snapshot: &TenantSnapshot| {
            let known = snapshot.all.get(id).map(|known| known.version()).unwrap_or_default();
            known >= tenant.version()
        };
        let before = self.current.rcu(|current| {
            if is_known(current) {
                return Arc::clone(current);
            }
            Arc::new(current.with(id, Arc::new(tenant.clone())))
        });
        // Subscribers look at the whole snapshot, so they are notified only of changes.
        self.changed.send_if_modified(|()| !is_known(&before));
    }

    /// Notifications of changes, for those who derive something from a snapshot.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Why a tenant could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TenantLoadError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log contains an event that this release does not know.
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
}

/// Folds the rest of its stream into a tenant.
pub(crate) async fn catch_up(
    log: &dyn EventLog,
    stream: &StreamName,
    tenant: &mut Tenant,
) -> Result<(), TenantLoadError> {
    let mut events = LogReader::stream(log, stream.clone(), tenant.version().next());
    while let Some(recorded) = events.next_event().await? {
        if let Event::Tenant(event) = codec::decode(&recorded)? {
            tenant.apply(&event, recorded.moment());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
