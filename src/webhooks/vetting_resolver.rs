//! Resolves a name to the addresses that may be connected to. The name is looked up once for each connection, every
//! address is checked, and exactly these addresses are used: a name cannot mean one thing when it is checked and
//! another when the connection is made. One refused address refuses the name, so the order of the addresses does not
//! matter.
//!
//! Addresses in URLs never come here: [`DestinationPolicy::vet`] checks them.

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

/// Lookups at the same time. Each may occupy a thread for as long as the system waits for name servers, even after
/// the caller has gone.
const LOOKUPS: usize = 128;

/// Lookups of one tenant: slow name servers of one tenant do not stop the deliveries of others.
const TENANT_LOOKUPS: usize = 16;

tokio::task_local! {
    /// The tenant whose delivery is being sent: the HTTP client passes only the name to the resolver.
    static CALLER: TenantId;
}

/// Sends a delivery of a tenant. Names that have to be looked up count for that tenant.
pub async fn on_behalf_of<T>(tenant: TenantId, delivery: impl Future<Output = T>) -> T {
    CALLER.scope(tenant, delivery).await
}

/// The most addresses of a name: nobody has an honest use for more, and each means another connection attempt.
const MAX_ADDRESSES: usize = 64;

/// The result of a [`NameLookup`].
pub type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up the addresses of a name.
pub trait NameLookup: Send + Sync + 'static {
    /// All addresses of the name.
    fn lookup(&self, name: String) -> LookupFuture;
}

/// The machine's own resolver, including `/etc/hosts`.
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

/// Why a name has no usable address. Operators see what the name server said; the endpoint's owner does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name could not be resolved")]
pub struct NameResolutionError;

/// Looks up names and checks their addresses.
pub struct VettingResolver {
    lookup: Arc<dyn NameLookup>,
    destinations: DestinationPolicy,
    running: Arc<FairSemaphore<Option<TenantId>>>,
}

impl VettingResolver {
    /// Uses `lookup`, and allows what `destinations` allows.
    #[must_use]
    pub fn new(lookup: Arc<dyn NameLookup>, destinations: DestinationPolicy) -> Self {
        Self { lookup, destinations, running: Arc::new(FairSemaphore::new(LOOKUPS, TENANT_LOOKUPS)) }
    }
}

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, running) = (Arc::clone(&self.lookup), Arc::clone(&self.running));
        let destinations = self.destinations.clone();
        // Lookups without a known tenant share one part of the permits.
        let caller = CALLER.try_with(TenantId::clone).ok();
        Box::pin(async move {
            let permit = running.acquire(&caller).await;
            // The caller may stop waiting; the system's resolver does not. The permit is held until it has finished.
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
            // The port comes from the URL.
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}
