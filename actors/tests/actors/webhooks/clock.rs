//! Somebody sets the clock of the machine. That makes no wait longer or shorter, and rates are kept.

use std::time::Duration;

use amoiq_actors::webhooks::{DeliveryOutcome, RetrySchedule};
use amoiq_events::webhook::{WebhookCommand, WebhookSettings};
use tokio::time::{Instant, sleep};

use crate::{
    delivery_store::given::webhook,
    given::tenant,
    webhooks::given::{GivenLanes, Node, answer, endpoint_at, until},
};

/// How far the clock is set, in hours: once back, and far forward and back again.
const STEPS: [[i64; 2]; 3] = [[-1, 0], [24, 0], [24, -24]];

fn with_waits(seconds: &[u64]) -> GivenLanes {
    let mut given = GivenLanes::new();
    let waits = seconds.iter().copied().map(Duration::from_secs).collect();
    given.settings.schedule = RetrySchedule { waits, jitter_percent: 0 };
    given.patience = Duration::from_hours(48);
    given
}

impl Node<'_> {
    /// Sets the clock, waits a second, and sets it again.
    async fn set_clock(&self, [first, second]: [i64; 2]) {
        self.given.wall_clock.set_by(first);
        sleep(Duration::from_secs(1)).await;
        self.given.wall_clock.set_by(second);
    }

    async fn paced(&self, rate: u32) {
        self.found(&tenant(), &["a"]).await;
        let settings = WebhookSettings { rate_per_second: Some(rate), ..endpoint_at("https://a.example") };
        self.command("a", WebhookCommand::Update(settings)).await;
    }
}

#[test]
fn a_paced_endpoint_is_called_at_its_pace_whatever_the_clock_is_set_to() {
    for step in STEPS {
        let given = with_waits(&[0]);
        given.node(async |node| {
            node.paced(5).await;
            for number in 0..60 {
                node.say(&format!("session-{number}"), "hello").await;
            }
            given.receivers.called(5).await;
            let begun = Instant::now();
            node.set_clock(step).await;
            given.receivers.called(60).await;
            let seconds = begun.elapsed().as_secs();
            assert!((10..=12).contains(&seconds), "{step:?}: {seconds} s");
        });
    }
}

#[test]
fn a_retry_comes_when_its_wait_is_over_whatever_the_clock_is_set_to() {
    for step in STEPS {
        let given = with_waits(&[0, 60, 60]);
        given.receivers.answer_by(|_| 500);
        given.node(async |node| {
            node.found(&tenant(), &["a"]).await;
            node.say("session", "hello").await;
            given.receivers.called(1).await;
            node.set_clock(step).await;
            sleep(Duration::from_secs(60)).await;
            let times = given.receivers.times("a");
            assert_eq!((times.len(), (times[1] - times[0]).as_secs()), (2, 60), "{step:?}");
        });
    }
}

#[test]
fn a_breaker_probes_when_its_wait_is_over_whatever_the_clock_is_set_to() {
    for step in STEPS {
        let given = with_waits(&[0; 100]);
        given.receivers.answer_by(|_| 500);
        given.node(async |node| {
            node.found(&tenant(), &["a"]).await;
            node.say("session", "hello").await;
            sleep(Duration::from_mins(1)).await;
            let before = given.receivers.texts().len();
            node.set_clock(step).await;
            sleep(Duration::from_secs(60)).await;
            let probes = given.receivers.texts().len() - before;
            assert!((12..=13).contains(&probes), "{step:?}: {probes} in a minute");
        });
    }
}

#[test]
fn an_endpoint_is_left_alone_for_as_long_as_it_asked_whatever_the_clock_is_set_to() {
    for step in STEPS {
        let given = with_waits(&[0; 10]);
        given.receivers.hang();
        given.node(async |node| {
            node.found(&tenant(), &["a"]).await;
            node.say("session", "hello").await;
            given.receivers.called(1).await;
            let retry_after = Some(Duration::from_secs(90));
            given.receivers.reply(0, DeliveryOutcome { retry_after, ..answer(503) });
            sleep(Duration::from_millis(10)).await;
            given.receivers.take_all();
            node.set_clock(step).await;
            sleep(Duration::from_secs(100)).await;
            let times = given.receivers.times("a");
            assert_eq!((times.len(), (times[1] - times[0]).as_secs()), (2, 90), "{step:?}");
        });
    }
}

#[test]
fn a_failing_endpoint_is_not_disabled_by_a_clock_that_is_set_forward() {
    let mut given = with_waits(&[0; 100]);
    given.settings.disable_after = Duration::from_hours(10);
    given.receivers.answer_by(|_| 500);
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("session", "hello").await;
        given.receivers.called(2).await;
        node.set_clock([24, 0]).await;
        let before = given.receivers.texts().len();
        sleep(Duration::from_mins(2)).await;
        assert!(given.receivers.texts().len() > before, "it is tried on");
        assert_eq!(node.status("a"), amoiq_events::webhook::WebhookStatus::Enabled);
    });
}

#[test]
fn a_delivery_due_before_a_restart_comes_after_its_own_wait_at_the_latest() {
    let given = with_waits(&[0, 60, 60]);
    given.receivers.answer_by(|_| 500);
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.given.wall_clock.set_by(24);
        node.say("session", "hello").await;
        given.receivers.called(1).await;
        sleep(Duration::from_secs(1)).await;
    });
    given.wall_clock.set_by(-24);
    given.node(async |node| {
        let started = Instant::now();
        let times = || given.receivers.times("a");
        sleep(Duration::from_secs(61)).await;
        assert_eq!((times().len(), (times()[1] - started).as_secs()), (2, 60));
        let status = node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        assert_eq!(status.pending, 1);
    });
}

#[test]
fn a_pause_that_an_endpoint_asked_for_lasts_no_longer_after_a_restart() {
    let given = with_waits(&[0; 10]);
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        given.wall_clock.set_by(24);
        node.say("session", "hello").await;
        given.receivers.called(1).await;
        given
            .receivers
            .reply(0, DeliveryOutcome { retry_after: Some(Duration::from_secs(90)), ..answer(503) });
        sleep(Duration::from_secs(1)).await;
    });
    given.wall_clock.set_by(-24);
    given.receivers.take_all();
    given.node(async |_| {
        let started = Instant::now();
        sleep(Duration::from_secs(100)).await;
        let times = given.receivers.times("a");
        assert_eq!((times.len(), (times[1] - started).as_secs()), (2, 90));
    });
}

#[test]
fn a_rate_is_reached_within_five_percent_up_to_a_thousand_a_second() {
    for rate in [20_u32, 50, 100, 200, 500, 1_000] {
        let mut given = with_waits(&[0]);
        given.settings.throttle.in_flight = 64;
        given.node(async |node| {
            node.paced(rate).await;
            node.command("a", WebhookCommand::Pause).await;
            let count = 4 * usize::try_from(rate).expect("few");
            for number in 0..count {
                node.say(&format!("session-{number}"), "hello").await;
            }
            node.command("a", WebhookCommand::Resume).await;
            until("all came", async || given.receivers.times("a").len() == count).await;
            let times = given.receivers.times("a");
            let took = times[count - 1] - times[0];
            let wanted = Duration::from_secs(4);
            assert!(took >= wanted * 95 / 100 && took <= wanted * 105 / 100, "{rate} a second: {took:?}");
        });
    }
}
