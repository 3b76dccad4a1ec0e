//! Event stores in memory that misbehave: one follows a script, the other fails by chance; a real PostgreSQL; a server that
//! speaks KurrentDB's protocol; and the backend on which the service is tested.

mod faulty_store;
#[cfg(feature = "kurrentdb")]
pub mod kurrentdb_server;
mod memory_cluster;
pub mod postgres_server;
mod scripted_store;
mod seeded_dice;
mod store_under_test;

pub use faulty_store::FaultyStore;
pub use memory_cluster::{ClusterNode, MemoryCluster};
pub use scripted_store::{ScriptedAppend, ScriptedStore};
pub use seeded_dice::SeededDice;
pub(crate) use store_under_test::share_log;
pub use store_under_test::store_settings;
