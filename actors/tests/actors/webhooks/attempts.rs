//! An attempt goes to the endpoint as it is at that moment, and its outcome counts only for that.

use std::{sync::Arc, time::Duration};

use amoiq_events::webhook::{WebhookCommand, WebhookSettings, WebhookStatus};
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{sync::Notify, time::sleep};

use crate::{
    delivery_store::given::{GivenOutbox, webhook},
    given::tenant,
    webhooks::given::{GivenLanes, Node, answer, endpoint_at, until},
};

/// Long enough for everything that a test does not wait for.
const A_WHILE: Duration = Duration::from_millis(50);

/// Two endpoints that share one permit, which the first holds.
fn crowded() -> GivenLanes {
    let mut given = GivenLanes::new();
    given.settings.in_flight = 1;
    given.receivers.hang();
    given
}

async fn is_crowded(node: &Node<'_>) {
    node.found(&tenant(), &["a", "b"]).await;
    node.say("first", "one").await;
    node.given.receivers.called(1).await;
    assert_eq!(node.given.receivers.times("a").len(), 1);
    sleep(A_WHILE).await;
}

#[test]
fn an_attempt_that_waited_for_a_permit_goes_to_the_current_address() {
    let given = crowded();
    given.node(async |node| {
        is_crowded(&node).await;
        node.command("b", WebhookCommand::Update(endpoint_at("https://b.example"))).await;
        sleep(A_WHILE).await;
        given.receivers.reply(0, answer(200));
        given.receivers.called(2).await;
        assert_eq!(given.receivers.urls(), ["https://a.example", "https://b.example"]);
    });
}

#[test]
fn an_endpoint_that_was_paused_while_it_waited_for_a_permit_is_not_called() {
    let given = crowded();
    given.node(async |node| {
        is_crowded(&node).await;
        node.command("b", WebhookCommand::Pause).await;
        sleep(A_WHILE).await;
        given.receivers.take_all();
        given.receivers.reply(0, answer(200));
        sleep(A_WHILE).await;
        assert!(given.receivers.times("b").is_empty());
        node.command("b", WebhookCommand::Resume).await;
        until("it is called", async || given.receivers.times("b").len() == 1).await;
    });
}

#[test]
fn attempts_that_waited_for_a_permit_keep_to_the_rate() {
    let given = crowded();
    given.node(async |node| {
        is_crowded(&node).await;
        let settings = WebhookSettings { rate_per_second: Some(1), ..endpoint_at("https://a.example") };
        node.command("b", WebhookCommand::Update(settings)).await;
        for session in ["second", "third"] {
            node.say(session, "one").await;
        }
        sleep(Duration::from_secs(10)).await;
        given.receivers.take_all();
        given.receivers.reply(0, answer(200));
        until("all are delivered", async || given.receivers.times("b").len() == 3).await;
        let times = given.receivers.times("b");
        assert!(times.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{times:?}");
    });
}

#[test]
fn answers_of_the_old_url_do_not_count_against_the_new_one() {
    let given = GivenLanes::new();
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        node.command("a", WebhookCommand::Update(endpoint_at("https://b.example"))).await;
        sleep(A_WHILE).await;
        given.receivers.reply(0, answer(410));
        given.receivers.called(2).await;
        assert_eq!(given.receivers.urls(), ["https://a.example", "https://b.example"]);
        given.receivers.reply(1, answer(200));
        let status = node.webhooks.status(&tenant(), &webhook("a")).await.expect("a status");
        assert_eq!((status.failing_since, status.not_before), (None, None));
        assert_eq!(node.status("a"), WebhookStatus::Enabled);
    });
}

#[test]
fn an_endpoint_that_is_enabled_while_it_is_being_disabled_is_served_again() {
    let given = GivenLanes::new();
    given.receivers.hang();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        node.say("first", "one").await;
        given.receivers.called(1).await;
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::AnswerHeld(Arc::clone(&may)));
        given.receivers.reply(0, answer(410));
        sleep(A_WHILE).await;
        // It is in the log and not published, so the lane never sees it.
        assert_eq!(node.status("a"), WebhookStatus::Enabled);
        node.command("a", WebhookCommand::Resume).await;
        may.notify_one();
        given.receivers.called(2).await;
        given.receivers.reply(1, answer(200));
    });
}

#[test]
fn the_rows_of_a_deleted_endpoint_are_removed_later_if_not_at_once() {
    let mut given = GivenLanes::new();
    let file = GivenOutbox::new();
    given.outbox = file.outbox.clone();
    given.node(async |node| {
        node.found(&tenant(), &["a"]).await;
        gone_by(&file, 1).await;
        let stays = "CREATE TRIGGER stays BEFORE DELETE ON lanes BEGIN SELECT RAISE(ABORT, 'it stays'); END";
        file.conn().execute_batch(stays).expect("a trigger");
        node.command("a", WebhookCommand::Delete).await;
        for _ in 0..100 {
            pass().await;
        }
        assert_eq!(file.rows("lanes"), 1);
        file.conn().execute_batch("DROP TRIGGER stays").expect("no trigger");
        gone_by(&file, 0).await;
    });
}

/// Waits until there are this many lanes.
async fn gone_by(file: &GivenOutbox, lanes: i64) {
    for _ in 0..10_000 {
        if file.rows("lanes") == lanes {
            return;
        }
        pass().await;
    }
    panic!("{} lanes are there", file.rows("lanes"));
}

/// Lets time pass for whoever waits, and a little real time for the threads of the database.
async fn pass() {
    sleep(Duration::from_secs(1)).await;
    std::thread::sleep(Duration::from_millis(1));
}
