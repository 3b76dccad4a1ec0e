//! What the service prints.

mod lines;
mod traces;
