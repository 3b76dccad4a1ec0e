//! The owner of an endpoint skips waiting deliveries.

use std::time::Duration;

use amoiq_actors::webhooks::{DeliveriesQuery, DeliveryStatus, LaneError, RetrySchedule, SkipQuery};
use amoiq_events::{MessageId, Position};
use tokio::time::sleep;

use crate::{
    delivery_store::given::webhook,
    given::{id, tenant},
    webhooks::given::{GivenLanes, Node, answer, until},
};

/// An endpoint that fails everything and is called again in an hour.
fn failing() -> GivenLanes {
    let mut given = GivenLanes::new();
    let waits = vec![Duration::ZERO, Duration::from_hours(1), Duration::from_hours(1)];
    given.settings.schedule = RetrySchedule { waits, jitter_percent: 0 };
    given.settings.throttle.breaker_failures = 100;
    given.patience = Duration::from_hours(24);
    given.receivers.answer_by(|_| 422);
    given
}

impl Node<'_> {
    /// The messages that are listed with a status, in the order of the log.
    async fn with_status(&self, status: DeliveryStatus) -> Vec<MessageId> {
        let query = DeliveriesQuery { status: Some(status), before: None, limit: 200 };
        let page = self.webhooks.deliveries(&tenant(), &webhook("a"), query).await.expect("a page");
        page.into_iter().rev().map(|(delivery, _)| delivery.message_id).collect()
    }

    /// The first of so many messages, when all of them are listed as pending.
    async fn first_of_pending(&self, count: usize) -> MessageId {
        let pending = async || self.with_status(DeliveryStatus::Pending).await;
        until("all are listed", async || pending().await.len() == count).await;
        *pending().await.first().expect("a message")
    }

    async fn skip(&self, message: MessageId) -> Result<(), LaneError> {
        self.webhooks.skip(&tenant(), &webhook("a"), message).await
    }

    async fn skip_all(&self, session: Option<&str>, upto: Option<Position>) -> usize {
        let upto = upto.unwrap_or(Position::from_u64(u64::MAX));
        let query = SkipQuery { status: DeliveryStatus::Pending, upto, session: session.map(id) };
        self.webhooks.skip_all(&tenant(), &webhook("a"), query).await.expect("they are skipped")
    }
}

#[test]
fn a_skipped_delivery_no_longer_holds_its_session_and_can_be_redelivered() {
    let given = failing();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "refuse").await;
        node.say("session", "next").await;
        let first = node.first_of_pending(2).await;
        given.receivers.take_all();
        node.skip(first).await.expect("it is skipped");
        until("the next comes", async || given.receivers.texts() == ["refuse", "next"]).await;
        assert_eq!(node.with_status(DeliveryStatus::Skipped).await, [first]);
        assert_eq!(node.webhooks.counters().skipped(), 1);
        node.skip(first).await.expect("skipping it again changes nothing");
        node.webhooks.redeliver(&tenant(), &webhook("a"), first).await.expect("it is asked for");
        until("it comes", async || given.receivers.texts() == ["refuse", "next", "refuse"]).await;
        until("it is noted", async || node.with_status(DeliveryStatus::Delivered).await.len() == 2).await;
        assert!(matches!(node.skip(first).await, Err(LaneError::Settled)));
        let stranger = given.ambient.message_id();
        assert!(matches!(node.skip(stranger).await, Err(LaneError::NoDelivery)));
    });
}

#[test]
fn what_is_in_flight_is_not_skipped() {
    let given = failing();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "first").await;
        node.say("other", "second").await;
        let first = node.first_of_pending(2).await;
        given.receivers.hang();
        node.webhooks.redeliver(&tenant(), &webhook("a"), first).await.expect("it is asked for");
        given.receivers.called(3).await;
        assert!(matches!(node.skip(first).await, Err(LaneError::InFlight)));
        assert_eq!(node.skip_all(None, None).await, 1, "the other one");
        given.receivers.reply(2, answer(200));
        until("it is noted", async || node.with_status(DeliveryStatus::Delivered).await == [first]).await;
    });
}

#[test]
fn many_deliveries_are_skipped_by_session_and_by_position() {
    let given = failing();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        let mut places = Vec::new();
        for number in 0..12 {
            places.push(node.say(&format!("session-{}", number % 3), &format!("{number}")).await);
        }
        until("all are listed", async || node.with_status(DeliveryStatus::Pending).await.len() == 12).await;
        assert_eq!(node.skip_all(Some("session-0"), Some(places[5])).await, 2);
        assert_eq!(node.skip_all(Some("session-0"), None).await, 2);
        assert_eq!(node.skip_all(None, Some(places[5])).await, 4);
        assert_eq!(node.skip_all(None, None).await, 4);
        assert_eq!(node.skip_all(None, None).await, 0);
        assert_eq!(node.with_status(DeliveryStatus::Skipped).await.len(), 12);
        let before = given.receivers.texts().len();
        sleep(Duration::from_hours(3)).await;
        assert_eq!(given.receivers.texts().len(), before, "none of them is tried");
    });
}

#[test]
fn a_delivery_skipped_before_its_first_attempt_does_not_return_after_a_restart() {
    let given = failing();
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for text in ["first", "second", "third"] {
            node.say("session", text).await;
        }
        given.receivers.called(1).await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(node.skip_all(None, None).await, 2);
    });
    given.receivers.take_all();
    given.node(async |node| {
        node.say("session", "last").await;
        until("it comes", async || given.receivers.texts().last().is_some_and(|text| text == "last")).await;
        assert_eq!(given.receivers.texts(), ["first", "first", "last"]);
        assert_eq!(node.with_status(DeliveryStatus::Skipped).await.len(), 2);
    });
}

#[test]
fn more_deliveries_than_one_write_holds_are_skipped() {
    let mut given = failing();
    given.settings.pending = 3_000;
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..2_500 {
            node.say("session", &format!("{number}")).await;
        }
        let status = async || node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        until("all are known", async || status().await.pending == 2_500).await;
        assert_eq!(node.skip_all(Some("session"), None).await, 2_500);
        assert_eq!(status().await.pending, 0);
    });
}

#[test]
fn messages_that_a_full_lane_has_not_read_yet_are_skipped_too() {
    let mut given = failing();
    given.settings.pending = 3_000;
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..1_000 {
            node.say(&format!("session-{number}"), &format!("{number}")).await;
        }
        let status = async || node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        until("no more is read", async || status().await.pending >= 200).await;
        assert!(status().await.pending < 500, "the log keeps the rest");
        let last = node.say("session-last", "last").await;
        let underway = status().await.in_flight;
        assert_eq!(node.skip_all(None, Some(Position::from_u64(last.as_u64() - 1))).await, 1_000 - underway);
        until("the last one waits", async || status().await.pending == underway + 1).await;
    });
}

#[test]
fn skipping_a_session_ends_although_the_lane_cannot_read_on() {
    let mut given = failing();
    given.settings.pending = 3_000;
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..1_000 {
            node.say(&format!("session-{}", number % 100), &format!("{number}")).await;
        }
        let status = async || node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        until("no more is read", async || status().await.pending >= 200).await;
        assert!(node.skip_all(Some("session-99"), None).await >= 2);
    });
}
