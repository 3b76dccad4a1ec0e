//! Chance that a seed repeats.

use std::{sync::Arc, time::Duration};

use amoiq_events::ambient::SeededEntropy;

/// Cheap to clone; clones share one sequence.
#[derive(Clone)]
pub(crate) struct Dice(Arc<SeededEntropy>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// Dice of their own sequence: how often they are thrown changes nothing for these.
    pub(crate) fn fork(&self) -> Self {
        Self::new(self.0.next())
    }

    pub(crate) fn below(&self, sides: u64) -> u64 {
        self.0.next() % sides.max(1)
    }

    pub(crate) fn one_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    pub(crate) fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn millis_below(&self, millis: u64) -> Duration {
        Duration::from_millis(self.below(millis))
    }

    pub(crate) fn pick<T: Clone>(&self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64)).expect("an index");
        of.get(index).expect("something to pick from").clone()
    }
}
