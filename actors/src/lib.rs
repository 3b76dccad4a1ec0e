//! Order: who decides in amoiq, one message at a time.
//!
//! Every session and every tenant is an actor: it holds the state of its stream, decides, appends and answers once the
//! append is durable. What follows from an event (read models, sockets, webhooks) reads the store's subscription and is
//! never part of the request.
//!
//! | module | holds |
//! |---|---|
//! | [`sessions`] | the actors of sessions, and the directory that finds or starts them |
//! | [`tenants`] | the actors of tenants, and the registry of tenants and keys |
//! | [`projections`] | folds of the log into tables, and how they are rebuilt |
//! | [`inbox`] | the projection of a tenant's sessions and their users |
//! | [`presence`] | which visitors are online, from their open connections |
//! | [`webhooks`] | delivers messages to the endpoints of customers |
//! | [`erasure`] | removes sessions from every file, on request |
//! | [`retention`] | removes what is older than the settings allow |
//! | [`database`] | a SQLite database beside the log, and its threads |
//! | [`store_files`] | the files of a data directory, to verify, back up and restore |
//! | [`timing`] | how often background tasks run, and which dates are old |

pub mod database;
pub mod erasure;
pub mod inbox;
pub mod presence;
pub mod projections;
pub mod retention;
pub mod sessions;
pub mod store_files;
pub mod tenants;
pub mod timing;
pub mod webhooks;
