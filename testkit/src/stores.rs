//! Event stores in memory that misbehave: one follows a script, the other fails by chance.

mod faulty_store;
mod scripted_store;
mod seeded_dice;

pub use faulty_store::FaultyStore;
pub use scripted_store::{ScriptedAppend, ScriptedStore};
pub use seeded_dice::SeededDice;
