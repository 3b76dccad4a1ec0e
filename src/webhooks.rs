//! Webhooks as they go over the wire: what a delivery says, how it is signed, and how it is sent without
//! being turned against the network that it is sent from.
//!
//! When to deliver, and what to do after a failure, is decided in [`amoiq_actors::webhooks`]; this is the
//! courier that it sends out.
//!
//! | module | holds |
//! |---|---|
//! | [`courier`] | sends one delivery, once, and tells what came back |
//! | [`payload`] | the body |
//! | [`signature`] | secrets, and what they sign |
//! | [`headers`] | what an endpoint's owner may send along |
//! | [`destination`] | where deliveries may go |
//! | [`address`] | which addresses are nobody's endpoint |
//! | [`resolver`] | from a name to addresses that may be dialled |
//! | [`authorities`] | who vouches for certificates |
//! | [`breakdown`] | what went wrong, for the endpoint's owner |

pub mod address;
pub mod authorities;
pub mod breakdown;
pub mod courier;
pub mod destination;
pub mod headers;
pub mod payload;
pub mod resolver;
pub mod signature;

pub use courier::HttpCourier;
pub use destination::{Destinations, Refused};
