//! Tenants: an actor decides for each, and a registry answers what follows.
//!
//! | file | holds |
//! |---|---|
//! | `tenant_actor` | the actor of one tenant |
//! | `tenant_registry` | tenants and keys as a snapshot that no request waits for |
//! | `tenant_follower` | brings what other nodes change into the registry |

mod tenant_actor;
mod tenant_follower;
mod tenant_registry;

pub use tenant_actor::{TenantError, TenantHandle};
pub use tenant_follower::{TenantFollower, TenantNews};
pub use tenant_registry::{
    KeyGrant, KeyLastUse, TenantLoadError, TenantRegistry, TenantSnapshot, is_demo_tenant,
};
