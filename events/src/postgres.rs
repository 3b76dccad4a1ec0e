//! PostgreSQL, as everything that keeps something there uses it: the log, leases, the register of nodes, deliveries.
//!
//! | item | is |
//! |---|---|
//! | [`PostgresDatabase`] | a server and a schema, with a thread of its own on which they are asked |
//! | [`DatabaseSession`] | one connection, on which no call waits longer than it was given |
//! | [`CallPool`] | a few connections for calls that do not depend on each other |
//! | [`CallFailure`] | why a call gave no answer, and so what may be done about it |
//! | [`SchemaPart`] | tables and functions that the program makes and brings up to date |

mod call_failure;
mod call_pool;
mod database;
mod open_error;
mod schema_name;
mod schema_part;
mod seen_server;
mod server_address;
mod server_check;
mod session;
pub(crate) mod timing;

pub(crate) use crate::database_thread::DatabaseThread;
pub use call_failure::CallFailure;
pub use call_pool::{CallPool, CallValues};
pub use database::{PostgresDatabase, PostgresOptions};
pub use open_error::PostgresOpenError;
pub use schema_name::SchemaName;
pub use schema_part::SchemaPart;
pub(crate) use seen_server::{SeenServer, ServerIdentity};
pub use server_address::PostgresAddressError;
pub(crate) use session::SessionMaker;
pub use session::{DatabaseSession, Parameter};
