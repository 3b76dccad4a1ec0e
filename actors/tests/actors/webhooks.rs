//! How lanes deliver messages to endpoints.
//!
//! | module | holds |
//! |---|---|
//! | [`attempts`], [`timing`] | what is tried when, whatever the endpoint answers |
//! | [`isolation`] | one endpoint does not slow down others |
//! | [`reading`] | how a lane reads the log |
//! | [`refusals`], [`skips`] | what an endpoint refuses, and what its owner skips |
//! | [`clock`] | waits and rates do not depend on the wall clock |
//! | [`given`] | lanes to test |

mod attempts;
mod clock;
mod given;
mod isolation;
mod reading;
mod refusals;
mod skips;
mod timing;
