//! Work that is repeated at an interval, for as long as the service runs.

use std::time::Duration;

/// Repeats work at an interval.
#[derive(Debug, Clone, Copy)]
pub struct PeriodicTask {
    interval: Duration,
}

impl PeriodicTask {
    /// A task that waits for `interval` before each run.
    #[must_use]
    pub const fn every(interval: Duration) -> Self {
        Self { interval }
    }

    /// Starts it on the caller's arbiter. A run that takes long delays the next one: there is one at a time.
    ///
    /// The work handles its own failures. It ends with the arbiter, at any `await`, so the next start of the service
    /// has to find and do what was left.
    pub fn start(self, mut work: impl AsyncFnMut() + 'static) {
        actix::spawn(async move {
            loop {
                tokio::time::sleep(self.interval).await;
                work().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::{task::LocalSet, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_run_is_underway_at_a_time() {
        let begin = Instant::now();
        let starts = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&starts);
        let local = LocalSet::new();
        let _guard = local.enter();
        PeriodicTask::every(Duration::from_secs(10)).start(async move || {
            noted.borrow_mut().push(begin.elapsed().as_secs());
            tokio::time::sleep(Duration::from_secs(15)).await;
        });
        local.run_until(tokio::time::sleep(Duration::from_secs(65))).await;
        assert_eq!(*starts.borrow(), [10, 35, 60]);
    }
}
