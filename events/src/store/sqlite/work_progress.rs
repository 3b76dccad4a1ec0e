//! How far long work has come.

/// A part of long work, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// What is done, for people: another text starts another part.
    pub what: &'static str,
    /// How much is done.
    pub done: u64,
    /// Of so much; 0 while nobody knows.
    pub total: u64,
}

/// Is called as work goes on, a few times a second.
pub type ProgressCallback<'a> = &'a mut dyn FnMut(WorkProgress);
