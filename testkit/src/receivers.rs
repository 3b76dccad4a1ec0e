//! Endpoints that webhooks are sent to, each for another kind of question.
//!
//! | receiver | for |
//! |---|---|
//! | [`RawReceiver`] | sends exactly the bytes that a test wrote |
//! | [`RecordingReceiver`] | keeps what it was sent, and answers with a status, or not at all |
//! | [`VerifyingReceiver`] | verifies signatures as a customer does, and may fail at random |

mod raw_receiver;
mod receiver_behaviour;
mod receiver_runtime;
mod recording_receiver;
mod verifying_receiver;

pub use raw_receiver::{AfterAnswer, RawReceiver, RawRequest, read_request};
pub use receiver_behaviour::ReceiverBehaviour;
pub use receiver_runtime::ReceiverRuntime;
pub use recording_receiver::{ReceivedRequest, RecordingReceiver};
pub use verifying_receiver::{ReceivedDelivery, VerifyingReceiver};
