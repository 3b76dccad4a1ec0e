//! How long work tells how far it has come.

/// A part of long work, and how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkProgress {
    /// What is done, for people: another text begins another part.
    pub what: &'static str,
    /// What is behind.
    pub done: u64,
    /// Of so much; 0 while nobody knows.
    pub total: u64,
}

/// Is told how far work has come, a few times a second or so.
pub type Report<'a> = &'a mut dyn FnMut(WorkProgress);
