//! Leases and the register of nodes, on a real PostgreSQL: who has a lease when nodes die, stop, are cut off, or the
//! database is away.
//!
//! | module | holds |
//! |---|---|
//! | [`given`] | nodes in this process, and what tests wait for |
//! | [`child_node`] | a node as a process of its own, which can be killed and stopped, and what it writes |
//! | [`cut_proxy`] | a way to the database that can be cut |
//! | [`granting`] | granting and giving back; joining and leaving |
//! | [`dying`] | a node that is killed, stopped, cut off, or has the wrong time |
//! | [`outage`] | a database that is away |
//! | [`signals`] | who is online on each node |

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and stops")]

mod child_node;
mod cut_proxy;
mod dying;
mod given;
mod granting;
mod outage;
mod signals;
