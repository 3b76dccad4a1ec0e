//! A refused message holds back its own session for a while and no other. An endpoint that refuses everything has
//! failed, and loses nothing.

use std::time::Duration;

use amoiq_actors::webhooks::{DeliveriesQuery, DeliveryStatus, LaneStatus, RetrySchedule};
use tokio::time::{Instant, sleep};

use crate::{
    delivery_store::given::webhook,
    given::tenant,
    webhooks::given::{GivenLanes, Node, until},
};

/// The settings that the program ships with.
const WAITS: [u64; 10] = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Messages that start with this are refused.
const REFUSED: &str = "refuse";

const HOLD: Duration = Duration::from_secs(300);

/// An endpoint that refuses some messages and takes the others.
fn choosy() -> GivenLanes {
    let mut given = GivenLanes::new();
    given.settings.schedule =
        RetrySchedule { waits: WAITS.map(Duration::from_secs).to_vec(), jitter_percent: 0 };
    given.patience = Duration::from_hours(24 * 30);
    given.receivers.answer_by(|text| if text.starts_with(REFUSED) { 422 } else { 200 });
    given
}

impl Node<'_> {
    async fn lane_status(&self) -> LaneStatus {
        self.webhooks.status(&tenant(), &webhook("a")).await.expect("a status")
    }

    async fn listed(&self, status: DeliveryStatus) -> usize {
        let query = DeliveriesQuery { status: Some(status), before: None, limit: 200 };
        self.webhooks.deliveries(&tenant(), &webhook("a"), query).await.expect("a page").len()
    }

    /// Sends messages at an interval, each in a session of its own.
    async fn others_write(&self, count: usize, every: Duration) {
        for number in 0..count {
            self.say(&format!("other-{number}"), "good").await;
            sleep(every).await;
        }
    }

    fn has_heard(&self, text: &str) -> bool {
        self.given.receivers.texts().iter().any(|heard| heard == text)
    }
}

/// The index of the last call with a text.
fn last_of(texts: &[String], text: &str) -> usize {
    texts.iter().rposition(|heard| heard == text).unwrap_or_else(|| panic!("{text} never came"))
}

#[test]
fn no_other_session_waits_for_a_refused_message() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.others_write(3, Duration::from_millis(10)).await;
        for number in 0..15 {
            node.say(&format!("session-{number}"), &format!("refuse {number}")).await;
        }
        node.say("unrelated", "unrelated").await;
        sleep(Duration::from_hours(1)).await;
        let texts = given.receivers.texts();
        let unrelated = texts.iter().position(|text| text == "unrelated").expect("it came");
        for number in 0..15 {
            let text = format!("refuse {number}");
            let before = texts.iter().take(unrelated).filter(|heard| **heard == text).count();
            assert!(before <= 1, "it waited for the next attempt of {text}: {texts:?}");
        }
    });
}

#[test]
fn an_unrelated_message_comes_within_seconds_of_fifteen_refusals_in_a_row() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.others_write(20, Duration::from_millis(10)).await;
        for number in 0..15 {
            node.say(&format!("session-{number}"), "refuse").await;
        }
        let said = Instant::now();
        node.say("unrelated", "unrelated").await;
        until("it comes", async || node.has_heard("unrelated")).await;
        assert!(said.elapsed() < Duration::from_secs(3), "{:?}", said.elapsed());
    });
}

#[test]
fn a_refused_message_is_set_aside_when_it_has_held_its_session_for_long_enough() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "refuse").await;
        let refused = Instant::now();
        node.say("session", "next").await;
        sleep(Duration::from_millis(50)).await;
        assert_eq!(node.lane_status().await.held_sessions, 1);
        node.others_write(29, Duration::from_secs(10)).await;
        assert!(!node.has_heard("next") && refused.elapsed() < HOLD);
        assert_eq!(
            (node.lane_status().await.failing_since, node.lane_status().await.not_before),
            (None, None)
        );
        sleep(Duration::from_secs(11)).await;
        assert!(node.has_heard("next"));
        assert_eq!(node.listed(DeliveryStatus::Refused).await, 1);
        let status = node.lane_status().await;
        assert_eq!((status.pending, status.refused, status.held_sessions), (0, 1, 0));
        assert_eq!(node.webhooks.counters().set_aside(), 1);
        // The schedule still attempts it, out of order.
        given.receivers.take_all();
        node.say("session", "last").await;
        sleep(Duration::from_secs(1_800)).await;
        assert_eq!(node.listed(DeliveryStatus::Refused).await, 0);
        assert_eq!(given.receivers.texts().last().map(String::as_str), Some("refuse"));
    });
}

#[test]
fn a_message_that_was_set_aside_has_failed_when_its_schedule_is_exhausted() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "refuse").await;
        node.others_write(100, Duration::from_hours(1)).await;
        assert_eq!(node.listed(DeliveryStatus::Failed).await, 1);
        let tried = given.receivers.texts().iter().filter(|text| *text == "refuse").count();
        assert_eq!(tried, WAITS.len());
    });
}

#[test]
fn a_refused_message_holds_its_session_until_the_endpoint_is_known_to_take_others() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("before", "good").await;
        node.say("session", "refuse").await;
        node.say("session", "next").await;
        sleep(Duration::from_hours(1)).await;
        assert!(!node.has_heard("next"), "nothing else came: the endpoint may be broken");
        assert!(node.lane_status().await.failing_since.is_some());
        node.say("other", "good").await;
        until("it is set aside", async || node.has_heard("next")).await;
    });
}

/// An endpoint answers like this for two hours, and then takes everything.
fn everything_comes_in_order(status_of: fn(&str) -> u16, does_well_before: bool) {
    let given = choosy();
    given.receivers.take_all();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        if does_well_before {
            node.others_write(30, Duration::from_secs(1)).await;
        }
        given.receivers.answer_by(status_of);
        let begun = given.receivers.texts().len();
        for number in 0..120 {
            node.say(&format!("session-{}", number % 12), &format!("{number}")).await;
            sleep(Duration::from_mins(1)).await;
        }
        let attempts = given.receivers.texts().len() - begun;
        given.receivers.take_all();
        node.say("session-0", "120").await;
        sleep(Duration::from_hours(3)).await;
        let texts = given.receivers.texts();
        for session in 0..12 {
            let taken: Vec<_> =
                (0..10).map(|number| last_of(&texts, &format!("{}", number * 12 + session))).collect();
            assert!(taken.is_sorted(), "{session}: {taken:?}");
        }
        assert!(last_of(&texts, "108") < last_of(&texts, "120"));
        assert_eq!(node.webhooks.counters().set_aside(), 0);
        let status = node.lane_status().await;
        assert_eq!((status.pending, status.refused, status.failing_since), (0, 0, None));
        assert!(attempts < 200, "{attempts} attempts at an endpoint that takes nothing");
    });
}

#[test]
fn an_endpoint_that_refuses_everything_for_two_hours_receives_everything_in_order() {
    for status_of in [|_: &str| 404, |_: &str| 401, |_: &str| 422] {
        everything_comes_in_order(status_of, false);
        everything_comes_in_order(status_of, true);
    }
}

#[test]
fn an_endpoint_that_accepts_deliveries_again_is_noticed_within_five_seconds() {
    let given = choosy();
    given.receivers.answer_by(|_| 404);
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..200 {
            node.say(&format!("session-{number}"), "hello").await;
        }
        sleep(Duration::from_mins(10)).await;
        let before = given.receivers.texts().len();
        sleep(Duration::from_secs(60)).await;
        let probes = given.receivers.texts().len() - before;
        assert!((11..=13).contains(&probes), "{probes} probes in a minute");
    });
}

#[test]
fn a_hold_goes_on_over_a_restart() {
    let given = choosy();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "refuse").await;
        node.say("session", "next").await;
        sleep(Duration::from_secs(200)).await;
    });
    given.node(async |node| {
        node.others_write(9, Duration::from_secs(10)).await;
        assert!(!node.has_heard("next"));
        node.others_write(2, Duration::from_secs(10)).await;
        assert!(node.has_heard("next"));
        assert_eq!(node.listed(DeliveryStatus::Refused).await, 1);
    });
    given.node(async |node| {
        assert_eq!(node.lane_status().await.refused, 1, "it is known after the next start, too");
        given.receivers.take_all();
        sleep(Duration::from_secs(1_800)).await;
        assert_eq!(node.listed(DeliveryStatus::Refused).await, 0);
    });
}

#[test]
fn when_many_deliveries_wait_a_refused_one_does_not_hold_its_session() {
    let mut given = choosy();
    given.settings.pending = 40;
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "refuse").await;
        for number in 0..30 {
            node.say("session", &format!("next {number}")).await;
        }
        node.say("other", "good").await;
        until("the session goes on", async || node.has_heard("next 29")).await;
        assert_eq!(node.lane_status().await.refused, 1);
    });
}

#[test]
fn deliveries_set_aside_take_half_of_the_places_and_one_more_has_failed() {
    let mut given = choosy();
    given.settings.pending = 20;
    given.settings.refused_hold = Duration::ZERO;
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        for number in 0..40 {
            node.say(&format!("session-{number}"), "refuse").await;
            node.others_write(3, Duration::from_secs(5)).await;
        }
        let status = node.lane_status().await;
        assert_eq!((status.refused, status.pending), (10, 0));
        assert_eq!(node.listed(DeliveryStatus::Failed).await, 30);
    });
}
