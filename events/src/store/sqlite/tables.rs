//! The tables of the log and of its index, and the queries on them.
//!
//! | module | holds |
//! |---|---|
//! | `schema` | the tables, and the numbers that the store keeps about itself |
//! | `opening` | the connection that writes; it creates the tables and migrates older ones |
//! | `row` | an event as a row |
//! | `stream_index` | where streams end, in memory and in the tables |
//! | `event_query` | reading events |
//! | `seek` | from a time to a position |
//! | `index_build` | builds the index from the log |

pub(in crate::store::sqlite) mod event_query;
pub(in crate::store::sqlite) mod index_build;
pub(in crate::store::sqlite) mod opening;
pub(in crate::store::sqlite) mod row;
pub(in crate::store::sqlite) mod schema;
pub(in crate::store::sqlite) mod seek;
pub(in crate::store::sqlite) mod stream_index;
