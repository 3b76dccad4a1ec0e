//! Tenants and keys as a snapshot: readers take it without waiting for anybody, tenants' actors
//! replace it when something changed.

use std::{collections::HashMap, sync::Arc};

use amoiq_events::{
    EventStore, KeyId, StreamName, TenantId, WebhookId, codec,
    event::Event,
    store::{Direction, MAX_READ_EVENTS, ReadError},
    stream::StreamKind,
    tenant::{KeyHash, KeyKind, Source, Tenant},
};
use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// What a key gives its holder, for one tenant or ([`TenantId::every`]) for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose.
    pub tenant: TenantId,
    /// The key's public id.
    pub key_id: KeyId,
    /// What it may do.
    pub kind: KeyKind,
}

/// Tenants and keys at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Every tenant of the log, the ones that are not served among them.
    all: HashMap<TenantId, Arc<Tenant>>,
    /// By the first half of the hash; the whole is compared in constant time.
    grants: HashMap<[u8; 16], Vec<(KeyHash, Vec<Grant>)>>,
    /// The same by public id, for tokens: they name the key that minted them.
    grants_by_id: HashMap<KeyId, Vec<Grant>>,
    /// The demo tenant is served only while there is no other, and only where it is allowed.
    serves_demo: bool,
}

impl Snapshot {
    fn of(all: HashMap<TenantId, Arc<Tenant>>, demo_allowed: bool) -> Self {
        let others = all.values().filter(|tenant| is_customer(tenant) && !is_demo(tenant)).count();
        let serves_demo = demo_allowed && others == 0;
        let mut grants: HashMap<_, Vec<(KeyHash, Vec<Grant>)>> = HashMap::new();
        let mut grants_by_id: HashMap<_, Vec<_>> = HashMap::new();
        for (id, tenant) in all.iter().filter(|(_, tenant)| serves_demo || !is_demo(tenant)) {
            for key in tenant.keys() {
                let grant = Grant { tenant: id.clone(), key_id: key.key_id.clone(), kind: key.kind };
                grants_by_id.entry(key.key_id.clone()).or_default().push(grant.clone());
                let same_half = grants.entry(half(&key.hash)).or_default();
                match same_half.iter_mut().find(|(hash, _)| *hash == key.hash) {
                    Some((_, known)) => known.push(grant),
                    None => same_half.push((key.hash, vec![grant])),
                }
            }
        }
        Self { all, grants, grants_by_id, serves_demo }
    }

    /// A tenant that is served.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        let tenant = self.all.get(id)?;
        (is_customer(tenant) && (self.serves_demo || !is_demo(tenant))).then_some(tenant)
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
    pub fn grants(&self, hash: &KeyHash) -> &[Grant] {
        let same_half = self.grants.get(&half(hash)).map(Vec::as_slice).unwrap_or_default();
        let found = same_half.iter().find(|(known, _)| known.0.ct_eq(&hash.0).into());
        found.map(|(_, grants)| grants.as_slice()).unwrap_or_default()
    }

    /// What the key with this public id gives for a tenant.
    #[must_use]
    pub fn grant_of(&self, key: &KeyId, tenant: &TenantId) -> Option<&Grant> {
        let covers = |grant: &&Grant| grant.tenant == *tenant || grant.tenant.is_every();
        self.grants_by_id.get(key)?.iter().find(covers)
    }
}

/// Whether a tenant is the demo that the program brings.
#[must_use]
pub fn is_demo(tenant: &Tenant) -> bool {
    tenant.settings().is_some_and(|settings| settings.source == Source::Builtin)
}

fn half(hash: &KeyHash) -> [u8; 16] {
    hash.0.first_chunk().copied().unwrap_or_default()
}

/// Whether it is a tenant of its own, not only a holder of keys for all.
fn is_customer(tenant: &Tenant) -> bool {
    tenant.settings().is_some()
}

/// Where the newest snapshot is found.
#[derive(Debug)]
pub struct TenantRegistry {
    current: ArcSwap<Snapshot>,
    demo_allowed: bool,
    /// Tells those who keep something that followed from a snapshot that there is another.
    changed: watch::Sender<()>,
}

impl TenantRegistry {
    /// Reads every tenant from the log.
    ///
    /// # Errors
    /// When the log cannot be read, or holds what this release does not know.
    pub async fn load(store: &dyn EventStore, demo_allowed: bool) -> Result<Self, LoadError> {
        let mut all = HashMap::new();
        let mut after = None;
        loop {
            let names = store.streams(StreamName::TENANTS, after, MAX_READ_EVENTS).await?;
            let Some(last) = names.last() else { break };
            after = Some(last.clone());
            for name in names {
                let mut tenant = Tenant::default();
                catch_up(store, &name, &mut tenant).await?;
                if let Some(StreamKind::Tenant(id)) = name.kind() {
                    all.insert(id, Arc::new(tenant));
                }
            }
        }
        let current = ArcSwap::from_pointee(Snapshot::of(all, demo_allowed));
        Ok(Self { current, demo_allowed, changed: watch::Sender::new(()) })
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Puts a tenant in the place of what was known of it, unless that is as new: a slow answer never
    /// covers what was decided after it.
    pub(crate) fn publish(&self, id: &TenantId, tenant: &Tenant) {
        let is_known = |snapshot: &Snapshot| {
            let known = snapshot.all.get(id).map(|known| known.version()).unwrap_or_default();
            known >= tenant.version()
        };
        let before = self.current.rcu(|current| {
            if is_known(current) {
                return Arc::clone(current);
            }
            let mut all = current.all.clone();
            all.insert(id.clone(), Arc::new(tenant.clone()));
            Arc::new(Snapshot::of(all, self.demo_allowed))
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
pub enum LoadError {
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
) -> Result<(), LoadError> {
    let mut from = tenant.version().plus(1);
    loop {
        let events = store.read_stream(stream.clone(), from, Direction::Forward, MAX_READ_EVENTS).await?;
        let Some(last) = events.last() else { return Ok(()) };
        from = last.version.plus(1);
        for recorded in &events {
            if let Event::Tenant(event) = codec::decode(recorded)? {
                tenant.apply(&event, recorded.moment());
            }
        }
    }
}
