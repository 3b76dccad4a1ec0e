//! Tenants and keys as a snapshot: readers take it without waiting for anybody, tenants' actors
//! replace it when something changed.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use amoiq_events::{
    EventStore, KeyId, StreamName, TenantId, WebhookId, codec,
    event::Event,
    store::{MAX_READ_EVENTS, ReadDirection, ReadError},
    stream::StreamKind,
    tenant::{KeyChange, KeyHash, KeyIssued, KeyKind, ManagedBy, Tenant},
};
use arc_swap::ArcSwap;
use imbl::HashMap;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// What a key gives its holder, for one tenant or ([`TenantId::every`]) for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    /// Whose.
    pub tenant: TenantId,
    /// The key's public id.
    pub key_id: KeyId,
    /// What it may do.
    pub kind: KeyKind,
    /// When it was used.
    pub used: KeyLastUse,
}

/// The day on which a key was used last, in days since 1970; each copy of a grant has the same one.
#[derive(Debug, Clone, Default)]
pub struct KeyLastUse(Arc<AtomicU32>);

impl PartialEq for KeyLastUse {
    fn eq(&self, other: &Self) -> bool {
        self.day() == other.day()
    }
}

impl Eq for KeyLastUse {}

impl KeyLastUse {
    /// It is used on this day.
    pub fn note(&self, day: u32) {
        // Most often it is the same day: nothing is written then that other threads read.
        if self.0.load(Relaxed) < day {
            self.0.fetch_max(day, Relaxed);
        }
    }

    /// The last day; nothing when there was none.
    #[must_use]
    pub fn day(&self) -> Option<u32> {
        Some(self.0.load(Relaxed)).filter(|day| *day > 0)
    }
}

/// Tenants and keys at one moment. The next one shares with it what did not change, so a change costs what it
/// changes, however many tenants and keys there are.
#[derive(Debug, Clone, Default)]
pub struct TenantSnapshot {
    /// Every tenant of the log, the ones that are not served among them.
    all: HashMap<TenantId, Arc<Tenant>>,
    /// By the first half of the hash; the whole is compared in constant time.
    grants: HashMap<[u8; 16], Vec<(KeyHash, Vec<KeyGrant>)>>,
    /// The same by public id, for tokens: they name the key that minted them.
    grants_by_id: HashMap<KeyId, Vec<KeyGrant>>,
    /// Whether the demo tenant may be served.
    allows_demo: bool,
    /// How many tenants there are beside it.
    customers: usize,
}

impl TenantSnapshot {
    fn new(allows_demo: bool) -> Self {
        Self { allows_demo, ..Self::default() }
    }

    /// The demo tenant is served only while there is no other, and only where it is allowed.
    fn serves_demo(&self) -> bool {
        self.allows_demo && self.customers == 0
    }

    /// The same with a tenant as it is now.
    fn with(&self, id: &TenantId, tenant: Arc<Tenant>) -> Self {
        let mut next = self.clone();
        let before = next.all.insert(id.clone(), Arc::clone(&tenant)).unwrap_or_default();
        next.customers += usize::from(is_own(&tenant));
        next.customers -= usize::from(is_own(&before));
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

    /// Grants what a tenant's keys give now, and no more what they gave before.
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
        (is_customer(tenant) && (self.serves_demo() || !is_demo_tenant(tenant))).then_some(tenant)
    }

    /// A tenant of the log, also one that is not served, or the holder of keys for all.
    #[must_use]
    pub fn of_log(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.all.get(id)
    }

    /// The tenants that are served.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantId, &Arc<Tenant>)> {
        self.all.iter().filter(|(id, _)| self.tenant(id).is_some())
    }

    /// Whether a tenant had a webhook and has deleted it, or never had it.
    #[must_use]
    pub fn is_deleted(&self, tenant: &TenantId, webhook: &WebhookId) -> bool {
        self.all.get(tenant).is_none_or(|tenant| tenant.webhook(webhook).is_none())
    }

    /// Every tenant of the log, also those that are not served, and the holder of keys for all.
    pub fn all(&self) -> impl Iterator<Item = (&TenantId, &Arc<Tenant>)> {
        self.all.iter()
    }

    /// Every tenant of the log, and the holder of keys for all.
    pub fn known(&self) -> impl Iterator<Item = &TenantId> {
        self.all.keys()
    }

    /// What the key with this hash gives; nothing for a key that is unknown or revoked.
    #[must_use]
    pub fn grants(&self, hash: &KeyHash) -> &[KeyGrant] {
        let same_half = self.grants.get(&half(hash)).map(Vec::as_slice).unwrap_or_default();
        let found = same_half.iter().find(|(known, _)| known.0.ct_eq(&hash.0).into());
        found.map(|(_, grants)| grants.as_slice()).unwrap_or_default()
    }

    /// When each key was used last, of those that were.
    pub fn uses(&self) -> impl Iterator<Item = (&KeyId, u32)> {
        let used = |grant: &KeyGrant| grant.used.day();
        let last = move |(id, grants)| {
            let grants: &Vec<KeyGrant> = grants;
            Some((id, grants.iter().filter_map(used).max()?))
        };
        self.grants_by_id.iter().filter_map(last)
    }

    /// Takes over when a key was used last.
    pub fn note_use(&self, key: &KeyId, day: u32) {
        self.grants_by_id.get(key).into_iter().flatten().for_each(|grant| grant.used.note(day));
    }

    /// What the key with this public id gives for a tenant.
    #[must_use]
    pub fn grant_of(&self, key: &KeyId, tenant: &TenantId) -> Option<&KeyGrant> {
        let covers = |grant: &&KeyGrant| grant.tenant == *tenant || grant.tenant.is_every();
        self.grants_by_id.get(key)?.iter().find(covers)
    }
}

/// Whether a tenant is the demo that the program brings.
#[must_use]
pub fn is_demo_tenant(tenant: &Tenant) -> bool {
    tenant.settings().is_some_and(|settings| settings.source == ManagedBy::Builtin)
}

fn half(hash: &KeyHash) -> [u8; 16] {
    hash.0.first_chunk().copied().unwrap_or_default()
}

/// Whether it is a customer's, and so ends the demo.
fn is_own(tenant: &Tenant) -> bool {
    is_customer(tenant) && !is_demo_tenant(tenant)
}

/// Whether it is a tenant of its own, not only a holder of keys for all.
fn is_customer(tenant: &Tenant) -> bool {
    tenant.settings().is_some()
}

/// Where the newest snapshot is found.
#[derive(Debug)]
pub struct TenantRegistry {
    current: ArcSwap<TenantSnapshot>,
    /// Tells those who keep something that followed from a snapshot that there is another.
    changed: watch::Sender<()>,
}

impl TenantRegistry {
    /// Reads every tenant from the log.
    ///
    /// # Errors
    /// When the log cannot be read, or holds what this release does not know.
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

    /// Puts a tenant in the place of what was known of it, unless that is as new: a slow answer never
    /// covers what was decided after it.
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
        // Whoever follows from snapshots looks at all of it: not for nothing.
        self.changed.send_if_modified(|()| !is_known(&before));
    }

    /// Hears of every change: for those who keep something that followed from a snapshot.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Why a tenant could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TenantLoadError {
    /// The store refused.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log is newer than the program.
    #[error(transparent)]
    Codec(#[from] codec::CodecError),
}

/// Folds into a tenant what its stream has after it.
pub(crate) async fn catch_up(
    store: &dyn EventStore,
    stream: &StreamName,
    tenant: &mut Tenant,
) -> Result<(), TenantLoadError> {
    let mut from = tenant.version().plus(1);
    loop {
        let events = store.read_stream(stream.clone(), from, ReadDirection::Forward, MAX_READ_EVENTS).await?;
        let Some(last) = events.last() else { return Ok(()) };
        from = last.version.plus(1);
        for recorded in &events {
            if let Event::Tenant(event) = codec::decode(recorded)? {
                tenant.apply(&event, recorded.moment());
            }
        }
    }
}

#[cfg(test)]
mod tests;
