//! What the actors keep to, each fact by itself, over a store that does as it is told.
//!
//! | module | holds |
//! |---|---|
//! | [`given`] | a directory to test, and the words the facts are told in |
//! | [`staged`] | the store that does as it is told |
//! | [`sessions`] | what becomes of an append: panics, conflicts, unknown ends, full mailboxes |
//! | [`residence`] | which sessions are in memory |
//! | [`memory`] | what sessions and pages hold |
//! | [`pages`] | reading, from memory and from the log |
//! | [`erasure`], [`erasure_trouble`] | what goes, and what fails meanwhile |
//! | [`erasing_given`] | an eraser to test |
//! | [`tenants`] | the registry and the actor of a tenant |
//! | [`idle`] | the closer of conversations that nobody continues |
//! | [`projection`] | the projector and its database |
//! | [`rebuild`], [`rebuild_damage`] | generations: filling, swapping, cancelling, poison, damage |
//! | [`rebuild_given`] | a projection to test them with |
//! | [`delivery_store`] | the database of webhook deliveries |
//! | [`webhooks`] | how lanes deliver messages to endpoints |
//! | [`presence`], [`presence_forget`], [`presence_trouble`], [`presence_model`] | who is online, by connections |
//! | [`presence_list`] | the list that is folded from it |
//! | [`presence_given`] | what these are told with |

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and stops")]

mod delivery_store;
mod erasing_given;
mod erasure;
mod erasure_trouble;
mod given;
mod idle;
mod memory;
mod pages;
mod presence;
mod presence_forget;
mod presence_given;
mod presence_list;
mod presence_model;
mod presence_signals;
mod presence_trouble;
mod projection;
mod rebuild;
mod rebuild_damage;
mod rebuild_given;
mod residence;
mod sessions;
mod staged;
mod tenants;
mod webhooks;
