//! How a lane takes in the log: whatever comes in between, nothing is passed by.

use std::time::Duration;

use amoiq_events::{EventStore, StreamName};
use tokio::time::sleep;

use crate::{
    given::{id, tenant},
    outbox_given::{at, webhook},
    webhook_given::{GivenLanes, Node, until},
};

#[test]
fn what_is_said_while_an_empty_part_of_the_log_is_read_is_delivered() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        // While a replay is read the lane takes nothing else, so that it has to read that for itself.
        given.store.hold_readings();
        node.webhooks.replay(&tenant(), &webhook("a"), at(0), None).await.expect("it begins");
        until("the replay is read", async || given.store.held_readings() == 1).await;
        node.say("erased", "gone").await;
        brought(&node).await;
        given.store.delete(StreamName::session(&tenant(), &id("erased"))).await.expect("it is deleted");
        given.store.release_reading();
        until("what is behind the replay is read", async || given.store.held_readings() == 1).await;
        node.say("last", "two").await;
        brought(&node).await;
        given.store.release_readings();
        given.receivers.called(3).await;
        assert_eq!(given.receivers.texts(), ["one", "one", "two"]);
    });
}

#[test]
fn a_message_that_a_cancelled_replay_was_to_bring_is_delivered_after_a_restart() {
    let given = GivenLanes::new();
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        given.store.hold_readings();
        node.webhooks.replay(&tenant(), &webhook("a"), at(0), None).await.expect("it begins");
    });
    given.store.release_readings();
    given.node(async |node| {
        given.receivers.called(2).await;
        node.webhooks.cancel_replay(&tenant(), &webhook("a")).await.expect("it ends");
        brought(&node).await;
        // Written with where the lane is.
        node.webhooks.cancel_replay(&tenant(), &webhook("a")).await.expect("it has ended");
    });
    given.receivers.answer(200);
    given.node(async |_| {
        given.receivers.called(3).await;
        assert_eq!(given.receivers.texts(), ["one", "one", "one"]);
    });
}

/// By then the router has brought the lane what was said before: it asks it one thing after the other.
async fn brought(node: &Node<'_>) {
    sleep(Duration::from_millis(50)).await;
    node.webhooks.standing(&tenant(), &webhook("a")).await.expect("a standing");
}
