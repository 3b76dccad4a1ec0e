//! Projections: folds of the log into tables that can be queried, in `views.db`.
//!
//! Whatever is in `views.db` can be made again from the log, so damage costs a rebuild and loses nothing.
//!
//! | file | holds |
//! |---|---|
//! | `projection` | what a projection is: the fold, and its tables |
//! | `projector` | the actor that keeps a projection up to date |
//! | `projection_progress` | how far a projection has come, for readers that wait |
//! | `view_store` | the database `views.db` |
//! | `view_generation` | which tables of a projection serve, and which are being filled |
//! | `rebuild` | fills new tables from the whole log and switches to them |
//! | `dead_letters` | the events that projections skip because an operator said so |
//! | `view_error` | why a read model does not answer |

mod dead_letters;
mod projection;
mod projection_progress;
mod projector;
mod rebuild;
mod view_error;
mod view_generation;
mod view_store;

pub use dead_letters::{DeadLetter, DeadLetters};
pub use projection::{Projection, ViewTables};
pub(crate) use projection_progress::ProgressReporter;
pub use projection_progress::ProjectionProgress;
pub use projector::Projector;
pub use rebuild::{RebuildError, RebuildHandle, RebuildOutcome, RebuildReport, RebuildUnderway, rebuild};
pub use view_error::ViewError;
pub use view_generation::ViewGeneration;
pub use view_store::{VIEW_DATABASE, ViewStore};
