//! From a name to the addresses that are dialled. The name is looked up once for each connection, every
//! address is vetted, and exactly these are dialled: a name cannot mean one thing when it is checked and
//! another when it is called. One refused address refuses the name, so that no order of answers helps.
//!
//! Addresses in URLs never come here: [`DestinationPolicy::vet`] judges them.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use amoiq_actors::webhooks::fair_semaphore::FairSemaphore;
use amoiq_events::TenantId;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::destination_policy::DestinationPolicy;

/// Lookups at the same time. Each may hold a thread for as long as the system waits for name servers,
/// longer than whoever asked.
const LOOKUPS: usize = 128;

/// Those of one tenant: whoever's name servers take their time keeps nobody else from being resolved.
const TENANT_LOOKUPS: usize = 16;

tokio::task_local! {
    /// Whose delivery is made: a client that asks for a name says nothing but that.
    static CALLER: TenantId;
}

/// Makes a delivery of a tenant. The names that it has to look up are looked up for that tenant.
pub async fn on_behalf_of<T>(tenant: TenantId, delivery: impl Future<Output = T>) -> T {
    CALLER.scope(tenant, delivery).await
}

/// The most addresses of a name: nobody has an honest use for more, and each is another dial.
const MAX_ADDRESSES: usize = 64;

/// The answer of a [`NameLookup`].
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Asks what addresses a name has.
pub trait NameLookup: Send + Sync + 'static {
    /// All of them.
    fn lookup(&self, name: String) -> LookupFuture;
}

/// The machine's own resolver, `/etc/hosts` included.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl NameLookup for SystemLookup {
    fn lookup(&self, name: String) -> LookupFuture {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why a name leads nowhere. What a name server said is the operator's, not the endpoint's owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name could not be resolved")]
pub struct NameResolutionError;

/// Looks names up and vets what they mean.
pub struct VettingResolver {
    lookup: Arc<dyn NameLookup>,
    destinations: DestinationPolicy,
    running: Arc<FairSemaphore<Option<TenantId>>>,
}

impl VettingResolver {
    /// Asks `lookup`, and lets through what `destinations` has nothing against.
    #[must_use]
    pub fn new(lookup: Arc<dyn NameLookup>, destinations: DestinationPolicy) -> Self {
        Self { lookup, destinations, running: Arc::new(FairSemaphore::new(LOOKUPS, TENANT_LOOKUPS)) }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, running) = (Arc::clone(&self.lookup), Arc::clone(&self.running));
        let destinations = self.destinations.clone();
        // Those of whom it is not known share one part.
        let caller = CALLER.try_with(TenantId::clone).ok();
        Box::pin(async move {
            let permit = running.acquire(&caller).await;
            // Whoever asked may stop waiting; the system's resolver does not. The place is taken until it
            // has finished.
            let asking = tokio::spawn(async move {
                let found = lookup.lookup(name.as_str().to_owned()).await;
                drop(permit);
                found
            });
            let found = asking.await?.map_err(|error| {
                tracing::debug!(%error, "the name of an endpoint could not be resolved");
                NameResolutionError
            })?;
            if found.is_empty() || found.len() > MAX_ADDRESSES {
                return Err(NameResolutionError.into());
            }
            found.iter().try_for_each(|address| destinations.vet_address(*address))?;
            // The port is the URL's.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
