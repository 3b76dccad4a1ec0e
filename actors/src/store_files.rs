//! The files of a data directory: the log, and the databases that this crate keeps beside it.

use std::path::Path;

use amoiq_events::store::sqlite::{CompanionDatabase, StoreFiles};

use crate::{projections::VIEW_DATABASE, webhooks::DELIVERY_DATABASE};

/// The databases beside the log.
const COMPANIONS: [CompanionDatabase; 2] = [VIEW_DATABASE, DELIVERY_DATABASE];

/// The files of a data directory, or a backup's file.
#[must_use]
pub fn store_files(path: &Path) -> StoreFiles<'_> {
    StoreFiles::new(path, &COMPANIONS)
}
