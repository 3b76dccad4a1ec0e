//! The event store: an append-only log of streams, and the only thing in amoiq that remembers.
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`EventLog`]: append, read, subscribe; [`LogMaintenance`]: truncate, delete, scrub, list streams, health |
//! | [`reader`] | [`LogReader`]: reads page by page, all events or one stream |
//! | [`feed`] | [`LogSubscription`]: reads what is there, then what comes |
//! | [`mod@line`] | an event as a line of JSON, for export and import |
//! | [`transfer`] | moves a log from one backend to another |
//! | [`memory`], [`sqlite`], [`postgres`], `kurrentdb` (a cargo feature) | the backends |
//!
//! Every backend passes one suite (`tests/store`), so nothing above this module knows which one it uses.

mod dense_positions;
pub mod feed;
#[cfg(feature = "kurrentdb")]
pub mod kurrentdb;
pub mod line;
pub mod log;
pub mod memory;
pub mod meter;
mod opened_store;
pub mod postgres;
pub mod reader;
pub mod sqlite;
pub mod transfer;

pub use feed::{EventBatch, LogSubscription};
pub use log::{
    AppendError, AppendReceipt, Epoch, EventLog, EventStore, ExpectedVersion, LogMaintenance,
    MAX_APPEND_EVENTS, MAX_READ_EVENTS, REMEMBERED_IDS, ReadDirection, ReadError, StoreFuture, StoreHealth,
};
pub use meter::StoreMeter;
pub use opened_store::OpenedStore;
pub use reader::LogReader;
