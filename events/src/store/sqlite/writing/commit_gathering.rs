//! Lets appends gather before a commit while many come.
//!
//! A commit costs processor time that does not depend on how many appends are in it: its system calls, its sync, and waking
//! everybody who waits for it. So a commit after a full one waits as long as appends keep coming, up to a bound. Where few come,
//! none waits.

use std::{
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use super::jobs::WriterJob;

/// A commit of so many appends shows that many come.
const MANY_APPENDS: usize = 6;

/// How often it looks whether more came.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// How long a commit waits at most.
const WAIT_AT_MOST: Duration = Duration::from_millis(2);

/// With so many waiting jobs, more would not make a commit cheaper.
const ENOUGH_JOBS: usize = 512;

/// Decides how long commits wait.
#[derive(Debug, Default)]
pub(in crate::store::sqlite) struct CommitGathering {
    /// How many appends the last commit had.
    last: usize,
}

impl CommitGathering {
    /// Records a commit.
    pub(in crate::store::sqlite) fn committed(&mut self, appends: usize) {
        self.last = appends;
    }

    /// Waits for as long as the next commit should, while jobs come here.
    pub(in crate::store::sqlite) fn wait(&self, jobs: &Receiver<WriterJob>) {
        let begun = Instant::now();
        let mut before = None;
        while self.goes_on(before, jobs.len(), begun.elapsed()) {
            before = Some(jobs.len());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether it goes on waiting: `before` is how many jobs waited at the last look, if there was one.
    fn goes_on(&self, before: Option<usize>, now: usize, waited: Duration) -> bool {
        let keep_coming = before.is_none_or(|before| now > before);
        self.last >= MANY_APPENDS && keep_coming && now < ENOUGH_JOBS && waited < WAIT_AT_MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::ZERO;

    #[test]
    fn where_few_come_none_waits() {
        let mut gathering = CommitGathering::default();
        assert!(!gathering.goes_on(None, 0, SOON), "the first");
        gathering.committed(MANY_APPENDS - 1);
        assert!(!gathering.goes_on(None, 100, SOON));
    }

    #[test]
    fn a_commit_waits_while_appends_keep_coming_but_not_for_long() {
        let mut gathering = CommitGathering::default();
        gathering.committed(MANY_APPENDS);
        assert!(gathering.goes_on(None, 0, SOON));
        assert!(gathering.goes_on(Some(3), 4, LOOK_EVERY));
        assert!(!gathering.goes_on(Some(4), 4, LOOK_EVERY), "they paused");
        assert!(!gathering.goes_on(Some(4), ENOUGH_JOBS, LOOK_EVERY));
        assert!(!gathering.goes_on(Some(4), 5, WAIT_AT_MOST));
    }
}
