//! What clients send and read: the requests and responses of HTTP, sockets, the operator interface and the command
//! line, as structs that all four use.
//!
//! | module | holds |
//! |---|---|
//! | [`field`] | a field of a request, and what is wrong with it |
//! | [`messages`] | messages as clients write and read them |
//! | [`sessions`], [`tokens`] | requests about a session, and for tokens |
//! | [`connect_auth`] | what a client says when it connects a socket |
//! | [`online`] | who is online, as agents read it |
//! | [`health`] | the health of the service |
//! | [`openapi`] | the OpenAPI document of requests and responses |
//! | [`webhooks`] | webhooks, for their owners and for the operator |
//! | [`operator`] | tenants, keys, erasures and rebuilds, for the operator |
//! | [`problem`] | the catalogue of errors |
//! | [`schema`] | schemas of types of the domain |

pub mod connect_auth;
pub mod field;
pub mod health;
pub mod messages;
pub mod online;
pub mod openapi;
pub mod operator;
pub mod problem;
pub mod schema;
pub mod sessions;
pub mod tokens;
pub mod webhooks;
