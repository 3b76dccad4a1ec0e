//! How a lane reads the log: whatever happens meanwhile, it skips nothing.

use std::time::Duration;

use amoiq_actors::webhooks::{DeliveriesQuery, DeliveryStatus, LaneProgress, RetrySchedule};
use amoiq_events::{
    EventLog, NewEvent, Position, StreamName, TenantId,
    store::{Epoch, LogMaintenance},
};
use tokio::time::sleep;

use crate::{
    delivery_store::given::{at, delivery, free_lease, webhook},
    given::{id, tenant},
    webhooks::given::{GivenLanes, Node, until},
};

#[test]
fn messages_sent_while_an_empty_part_of_the_log_is_read_are_delivered() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        // While a replay is read, the lane takes nothing from the router, so that it has to read the rest for itself.
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
fn an_endpoint_that_is_set_back_gets_nothing_from_before_its_registration() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &[]).await;
        node.say("first", "before").await;
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        let settled = async || {
            let lane = given.outbox.lane(&tenant(), &webhook("a"), at(0)).await;
            lane.expect("a lane").1.cursor == given.store.head()
        };
        until("the delivery is recorded", settled).await;
        // A history with which the log has nothing in common.
        given.outbox.adopt(Epoch(99), Position::START).await.expect("another log");
    });
    given.node(async |node| {
        given.receivers.called(2).await;
        node.say("first", "two").await;
        given.receivers.called(3).await;
        assert_eq!(given.receivers.texts(), ["one", "one", "two"]);
    });
}

#[test]
fn a_lagging_endpoint_reads_many_messages_at_a_time() {
    let mut given = GivenLanes::new();
    given.settings.pending = 10_000;
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..600 {
            node.say(&format!("session-{number}"), "hello").await;
        }
        given.receivers.called(600).await;
        let before = given.store.readings();
        node.webhooks.replay(&tenant(), &webhook("a"), at(0), None).await.expect("it begins");
        given.receivers.called(1_200).await;
        let readings = given.store.readings() - before;
        assert!(readings < 10, "{readings}");
    });
}

#[test]
fn a_message_that_a_cancelled_replay_had_not_reached_is_delivered_after_a_restart() {
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
        // This is written together with the cursor.
        node.webhooks.cancel_replay(&tenant(), &webhook("a")).await.expect("it has ended");
    });
    given.receivers.take_all();
    given.node(async |_| {
        given.receivers.called(3).await;
        assert_eq!(given.receivers.texts(), ["one", "one", "one"]);
    });
}

#[test]
fn deliveries_that_a_cancelled_replay_had_started_are_made_after_a_restart() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        let position = node.say("first", "one").await;
        until("it is noted", async || {
            node.webhooks.status(&tenant(), &webhook("a")).await.is_ok_and(|lane| lane.cursor >= position)
        })
        .await;
        given.receivers.hang();
        node.webhooks.replay(&tenant(), &webhook("a"), at(0), None).await.expect("it begins");
        given.receivers.called(2).await;
        node.webhooks.cancel_replay(&tenant(), &webhook("a")).await.expect("it ends");
    });
    given.receivers.take_all();
    given.node(async |_| {
        given.receivers.called(3).await;
        assert_eq!(given.receivers.texts(), ["one", "one", "one"]);
    });
}

#[test]
fn a_redelivery_of_a_message_that_a_replay_will_reach_is_made_in_its_turn() {
    let mut given = GivenLanes::new();
    given.settings.schedule =
        RetrySchedule { waits: vec![Duration::ZERO, Duration::from_hours(24)], jitter_percent: 0 };
    given.receivers.answer_by(|_| 500);
    let failed = given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        let all = DeliveriesQuery { status: None, before: None, limit: 1 };
        let tried = async || {
            let page = node.webhooks.deliveries(&tenant(), &webhook("a"), all).await.unwrap_or_default();
            page.into_iter().find(|(_, attempts)| !attempts.is_empty()).map(|(delivery, _)| delivery)
        };
        until("it has failed", async || tried().await.is_some()).await;
        given.store.hold_readings();
        node.webhooks.replay(&tenant(), &webhook("a"), at(0), None).await.expect("it begins");
        tried().await.expect("it has failed")
    });
    given.receivers.take_all();
    given.node(async |node| {
        let redeliver =
            async || node.webhooks.redeliver(&tenant(), &webhook("a"), failed.message_id).await.is_ok();
        until("it is taken", redeliver).await;
        given.store.release_readings();
        given.receivers.called(2).await;
        assert_eq!(given.receivers.texts(), ["one", "one"]);
    });
}

#[test]
fn nobody_skips_a_message_of_a_newer_release_until_it_is_erased() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        let newer = NewEvent { schema: 99, ..given.message("newer") };
        let position = node.append(&tenant(), "second", newer).await;
        node.say("third", "two").await;
        sleep(Duration::from_mins(3)).await;
        assert_eq!(given.receivers.texts(), ["one"]);
        let status = node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        assert!(status.cursor < position);
        given.store.delete(StreamName::session(&tenant(), &id("second"))).await.expect("it is deleted");
        given.receivers.called(2).await;
        assert_eq!(given.receivers.texts(), ["one", "two"]);
    });
}

#[test]
fn a_delivery_of_a_newer_release_waits_and_is_not_given_up() {
    let given = GivenLanes::new();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        let newer = NewEvent { schema: 99, ..given.message("newer") };
        let position = node.append(&tenant(), "first", newer).await;
        let (lane, marks) = given.outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("a lane");
        let pending = delivery(position.as_u64(), DeliveryStatus::Pending);
        let marks = LaneProgress { cursor: position, ..marks };
        given.outbox.record(&free_lease(), lane, marks, vec![(pending, None)]).await.expect("it is recorded");
    });
    given.node(async |_| {
        sleep(Duration::from_mins(3)).await;
        let (lane, _) = given.outbox.lane(&tenant(), &webhook("a"), at(0)).await.expect("a lane");
        let counts = given.outbox.counts(lane).await.expect("counts");
        assert_eq!((counts.pending, counts.failed), (1, 0));
        assert!(given.receivers.texts().is_empty());
    });
}

#[test]
fn an_endpoint_lags_by_its_own_messages_and_not_by_earlier_ones_of_others() {
    let given = GivenLanes::new();
    given.receivers.hang();
    given.node(async |node| {
        let other = TenantId::parse("other").expect("an id");
        node.found(&tenant(), &["a"]).await;
        node.found(&other, &[]).await;
        let status = async || node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        until("it has caught up", async || given.store.events_after(status().await.cursor) == 0).await;
        for number in 0..50 {
            node.say_at(&other, &format!("session-{number}"), "hello").await;
        }
        node.say("first", "one").await;
        given.receivers.called(1).await;
        assert_eq!(given.store.events_after(status().await.cursor), 1, "the message whose attempt runs");
    });
}

/// By then the lane has handled earlier offers of the router: it handles one message after the other.
async fn brought(node: &Node<'_>) {
    sleep(Duration::from_millis(50)).await;
    node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
}
