//! Projections: folds of the log into tables that can be queried, in `views.db`.
//!
//! Whatever is in `views.db` can be made again from the log, so damage costs a rebuild and loses nothing.
//!
//! | file | holds |
//! |---|---|
//! | `projection` | what a projection is: the fold, its tables, and how far it has come |
//! | `projector` | the actor that keeps a projection up to date |
//! | `view_store` | the database `views.db` |
//! | `view_generation` | which tables of a projection serve, and which are being filled |
//! | `rebuild` | fills new tables from the whole log and switches to them |
//! | `dead_letters` | the events that projections skip because an operator said so |
//! | `gathered_log` | the log, a moment at a time |
//! | `view_error` | why a read model does not answer |

mod dead_letters;
mod gathered_log;
mod projection;
mod projector;
mod rebuild;
mod view_error;
mod view_generation;
mod view_store;

pub use dead_letters::{DeadLetter, DeadLetters};
pub(crate) use gathered_log::GatheredLog;
pub(crate) use projection::ProgressReporter;
pub use projection::{Projection, ProjectionProgress, ViewTables};
pub use projector::Projector;
pub use rebuild::{RebuildError, RebuildHandle, RebuildOutcome, RebuildReport, RebuildUnderway, rebuild};
pub use view_error::ViewError;
pub use view_generation::ViewGeneration;
pub use view_store::{VIEW_DATABASE, ViewStore};
