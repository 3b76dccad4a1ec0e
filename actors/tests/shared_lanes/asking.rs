//! An owner who asks any node.

use std::sync::Arc;

use amoiq_actors::webhooks::{DeliveriesQuery, DeliveryStatus, LaneError, SkipQuery};
use amoiq_events::{MessageId, Position, postgres::PostgresOptions};

use amoiq_testkit::PostgresServer;

use crate::{
    given::{GivenNode, SharedDatabase, UsualAnswer, tenant, until, webhook},
    losing_proxy::{LosingProxy, LostAnswer},
};

const ALL: DeliveriesQuery = DeliveriesQuery { status: None, before: None, limit: 100 };

/// Two nodes; the second has no lane: the names of nodes decide which is preferred.
async fn two_nodes(shared: &SharedDatabase, status: u16) -> ([GivenNode; 2], [tempfile::TempDir; 2]) {
    let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let first = shared.start("a", directories[0].path(), Arc::new(UsualAnswer(status))).await;
    until("it has the lane", async || first.webhooks.statuses().await.len() == 1).await;
    let second = shared.start("b", directories[1].path(), Arc::new(UsualAnswer(200))).await;
    assert!(second.webhooks.statuses().await.is_empty(), "one node has the lane");
    ([first, second], directories)
}

#[test]
fn any_node_lists_deliveries_and_does_what_an_owner_asks() {
    let shared = SharedDatabase::new();
    actix::System::new().block_on(async {
        shared.found(&["hook"]).await;
        let ([_first, second], _directories) = two_nodes(&shared, 503).await;
        let (tenant, webhook) = (tenant(), webhook("hook"));
        let list = async || second.webhooks.deliveries(&tenant, &webhook, ALL).await.expect("listed");
        for session in ["one", "two", "three"] {
            shared.say(session, "hello").await;
        }
        until("all are tried", async || {
            let listed = list().await;
            listed.len() == 3 && listed.iter().all(|(_, attempts)| !attempts.is_empty())
        })
        .await;
        let first_message = list().await[2].0.message_id;
        second.webhooks.skip(&tenant, &webhook, first_message).await.expect("skipped");
        assert_eq!(list().await[2].0.status, DeliveryStatus::Skipped);
        let unknown = second.webhooks.redeliver(&tenant, &webhook, MessageId::from_bytes([1; 16])).await;
        assert!(matches!(unknown, Err(LaneError::NoDelivery)), "{unknown:?}");
        let query = SkipQuery { status: DeliveryStatus::Pending, upto: Position::END, session: None };
        let mut skipped = 0;
        until("the others are skipped when they are not being attempted", async || {
            skipped += second.webhooks.skip_all(&tenant, &webhook, query.clone()).await.expect("skipped");
            skipped == 2
        })
        .await;
        second.webhooks.redeliver(&tenant, &webhook, first_message).await.expect("asked for again");
        until("it waits again", async || list().await[2].0.status == DeliveryStatus::Pending).await;
        second.webhooks.replay(&tenant, &webhook, Position::START, None).await.expect("a replay");
        until("the replay shows", async || {
            second.webhooks.status(&tenant, &webhook).await.expect("a status").replay.is_some()
        })
        .await;
        second.webhooks.cancel_replay(&tenant, &webhook).await.expect("cancelled");
    });
}

#[test]
fn a_node_that_leaves_hands_its_lanes_over_and_the_next_one_goes_on_from_what_was_recorded() {
    let shared = SharedDatabase::new();
    actix::System::new().block_on(async {
        shared.found(&["hook"]).await;
        let ([first, second], _directories) = two_nodes(&shared, 503).await;
        let (tenant, webhook) = (tenant(), webhook("hook"));
        shared.say("one", "hello").await;
        let list = async || second.webhooks.deliveries(&tenant, &webhook, ALL).await.expect("listed");
        until("it is tried", async || list().await.iter().any(|(_, attempts)| !attempts.is_empty())).await;
        first.webhooks.drain(std::time::Duration::from_secs(5)).await;
        first.leases.leave().await.expect("left");
        until("the other delivers it", async || list().await[0].0.status == DeliveryStatus::Delivered).await;
        assert_eq!(second.webhooks.statuses().await.len(), 1);
        assert!(first.webhooks.statuses().await.is_empty(), "the lane of the first has ended");
        drop(first.deliveries);
    });
}

#[test]
fn a_node_that_joins_gets_its_part_of_the_lanes() {
    let shared = SharedDatabase::new();
    actix::System::new().block_on(async {
        let names: Vec<_> = (0..12).map(|number| format!("hook-{number}")).collect();
        shared.found(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let first = shared.start("a", directories[0].path(), Arc::new(UsualAnswer(200))).await;
        until("it has all lanes", async || first.webhooks.statuses().await.len() == names.len()).await;
        let second = shared.start("b", directories[1].path(), Arc::new(UsualAnswer(200))).await;
        let lanes = async || (first.webhooks.statuses().await.len(), second.webhooks.statuses().await.len());
        let is_shared_out =
            |(of_first, of_second)| of_first > 0 && of_second > 0 && of_first + of_second == names.len();
        until("each has some", async || is_shared_out(lanes().await)).await;
        shared.say("one", "hello").await;
        for name in &names {
            let list =
                async || first.webhooks.deliveries(&tenant(), &webhook(name), ALL).await.expect("listed");
            until("it is delivered", async || {
                list().await.iter().any(|(delivery, _)| delivery.status == DeliveryStatus::Delivered)
            })
            .await;
        }
    });
}

#[test]
fn what_an_owner_asks_is_done_once_and_answered_although_the_database_s_answer_is_lost() {
    let shared = SharedDatabase::new();
    let proxy = LosingProxy::start(PostgresServer::shared());
    let through = SharedDatabase::on(PostgresOptions { address: proxy.address(), ..shared.options.clone() });
    actix::System::new().block_on(async {
        shared.found(&["hook"]).await;
        let directories = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let first = shared.start("a", directories[0].path(), Arc::new(UsualAnswer(503))).await;
        until("it has the lane", async || first.webhooks.statuses().await.len() == 1).await;
        let second = through.start("b", directories[1].path(), Arc::new(UsualAnswer(200))).await;
        let unknown = MessageId::from_bytes([1; 16]);
        for answer in [LostAnswer::To("redeliver"), LostAnswer::With("no delivery")] {
            proxy.lose(answer);
            let asked = second.webhooks.redeliver(&tenant(), &webhook("hook"), unknown).await;
            assert!(matches!(asked, Err(LaneError::NoDelivery)), "{answer:?}: {asked:?}");
            assert!(proxy.has_lost(), "{answer:?}");
            let rows = format!("SELECT count(*) FROM {}.lane_requests", shared.options.schema);
            assert_eq!(PostgresServer::shared().ask(&rows), "0", "{answer:?}: asked once");
        }
    });
}
