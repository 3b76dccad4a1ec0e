//! Chance that a seed repeats.

use std::{sync::Arc, time::Duration};

use amoiq_events::ambient::SeededEntropy;

/// Cheap to clone; clones share one sequence.
#[derive(Clone)]
pub struct SeededDice(Arc<SeededEntropy>);

impl SeededDice {
    /// Dice that always fall in the same way.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// Dice with a sequence of their own: throwing them does not change this one.
    pub fn fork(&self) -> Self {
        Self::new(self.0.next())
    }

    /// A number below this one.
    pub fn below(&self, sides: u64) -> u64 {
        self.0.next() % sides.max(1)
    }

    /// True once in so many times, on average.
    pub fn one_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    /// True in so many of a hundred cases, on average.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time shorter than this.
    pub fn millis_below(&self, millis: u64) -> Duration {
        Duration::from_millis(self.below(millis))
    }

    /// One of these.
    pub fn pick<T: Clone>(&self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64)).expect("an index");
        of.get(index).expect("something to pick from").clone()
    }
}
