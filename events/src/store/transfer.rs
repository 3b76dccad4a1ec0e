//! Moving a log from one backend to another: as lines, or directly.
//!
//! A log that is filled keeps streams, versions and ids, and gets an epoch of its own. Until it is complete and verified no
//! service starts on it.

pub mod filling;
pub mod line_import;
pub mod log_copy;
pub mod log_export;
pub mod position_map;
pub mod work_progress;
