//! The progress of long work.

/// A part of long work, and its progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// What is being done, for people: another text starts another part.
    pub what: &'static str,
    /// How much is done.
    pub done: u64,
    /// How much there is to do; 0 while unknown.
    pub total: u64,
}

/// Is called during the work, a few times a second.
pub type ProgressCallback<'a> = &'a mut dyn FnMut(WorkProgress);
