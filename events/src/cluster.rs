//! Who does what when several nodes write one log: leases, and the register of nodes.
//!
//! A node joins, and from then on it renews its membership; what it was granted holds as long as that. A **lease** gives one
//! node at a time a piece of work, under a name. Each grant has a [`FencingNumber`] that no other grant has, and which a
//! transaction can check that writes under the lease (`check_lease`): so a node that was stopped, and wakes after another
//! has taken over, writes nothing.
//!
//! | module | holds |
//! |---|---|
//! | [`lease`] | names, fencing numbers, leases that a node holds, and for how long it may rely on them |
//! | [`node`] | what a node says of itself, and who is there |
//! | [`leases`] | the trait [`ClusterLeases`] |
//! | [`single_node`] | grants everything at no cost, for one node on a store of its own |
//! | [`postgres_leases`] | the same in PostgreSQL, for several nodes |

pub mod lease;
pub mod leases;
pub mod node;
pub mod postgres_leases;
pub mod single_node;

pub use lease::{FencingNumber, HeldLease, LeaseError, LeaseName, LeaseRecord, NodeMembership};
pub use leases::ClusterLeases;
pub use node::{ClusterView, NodeDescription, NodeRecord};
pub use postgres_leases::{ClusterOpenError, ClusterOptions, LEASE_TERM, PostgresLeases};
pub use single_node::SingleNode;
