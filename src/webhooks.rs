//! Webhooks as they go over the wire: the body of a delivery, its signature, and how it is sent without
//! letting anybody use it against the network it is sent from.
//!
//! [`amoiq_actors::webhooks`] decides when to deliver and what to do after a failure. This module makes the
//! HTTP request.
//!
//! | module | holds |
//! |---|---|
//! | [`http_sender`] | sends one delivery, once, and reports the outcome |
//! | [`delivery_body`] | the body |
//! | [`signature`] | secrets and the signatures made with them |
//! | [`custom_headers`] | the headers that an endpoint's owner may add |
//! | [`destination_policy`] | the URLs and addresses that deliveries may go to |
//! | [`blocked_addresses`] | the private and reserved addresses that no endpoint may have |
//! | [`vetting_resolver`] | resolves a name to addresses that may be connected to |
//! | [`certificate_authorities`] | the certificate authorities that are trusted |
//! | [`failure_texts`] | explains a failed request to the endpoint's owner |

pub mod blocked_addresses;
pub mod certificate_authorities;
pub mod custom_headers;
pub mod delivery_body;
pub mod destination_policy;
pub mod failure_texts;
pub mod http_sender;
pub mod signature;
pub mod vetting_resolver;

pub use destination_policy::{DestinationError, DestinationPolicy};
pub use http_sender::HttpSender;
