//! Closing conversations that nobody continues.

use std::{sync::Arc, time::Duration};

use amoiq_actors::{
    inbox::{InboxProjection, InboxView},
    projections::{Projector, ViewStore},
    sessions::IdleCloser,
    timing::NodeDuty,
};
use amoiq_events::{
    Event, EventLog,
    cluster::{ClusterLeases, LeaseName},
    codec,
    session::{ConversationCloseReason, SessionEvent},
    store::LogSubscription,
    stream::StreamKind,
};
use amoiq_testkit::stores::MemoryCluster;
use tokio::time::timeout;

use crate::given::{DEADLINE, Given, in_real_time};

/// How long a conversation stays open, by the test's clock; and how often the closer runs.
const CLOSE_AFTER: Duration = Duration::from_millis(40);

const CLOSE_AFTER_MILLIS: i64 = 40;

#[test]
fn only_a_conversation_without_a_message_for_too_long_is_closed() {
    in_real_time(async {
        let given = Given::new();
        let files = tempfile::tempdir().expect("a directory");
        let views = ViewStore::open(&files.path().join("views.db")).expect("views.db");
        let progress = Projector::<InboxProjection>::start(&views, &given.store.shared_log());
        // The closer goes by name: when it has closed the last, it has seen the others.
        given.say("a closed", "hello").await;
        given.close("a closed").await;
        given.say("d idle", "hello").await;
        given.say("c continued", "hello").await;
        given.clock.advance_millis(CLOSE_AFTER_MILLIS);
        given.say("b new", "hello").await;
        given.say("c continued", "again").await;
        let inbox = InboxView::new(views, progress.clone(), DEADLINE);
        progress.reach(given.store.head(), DEADLINE).await.expect("the projection");
        let mut after = given.store.subscribe(given.store.head());
        let closer = IdleCloser {
            directory: given.directory.clone(),
            inbox,
            store: given.store.shared_log(),
            duty: given.duty(),
            close_after: CLOSE_AFTER,
        };
        closer.start(given.ambient.clone());
        assert_eq!(next_closed(&mut after).await, "d idle");

        given.say("d idle", "once more").await;
        given.clock.advance_millis(CLOSE_AFTER_MILLIS);
        let mut closed = Vec::new();
        while closed.len() < 3 {
            closed.push(next_closed(&mut after).await);
        }
        closed.sort_unstable();
        assert_eq!(closed, ["b new", "c continued", "d idle"]);
    });
}

#[test]
fn a_conversation_is_closed_by_the_node_that_has_the_duty_and_by_the_next_one_when_that_is_gone() {
    in_real_time(async {
        let given = Given::new();
        let files = tempfile::tempdir().expect("a directory");
        let views = ViewStore::open(&files.path().join("views.db")).expect("views.db");
        let progress = Projector::<InboxProjection>::start(&views, &given.store.shared_log());
        let cluster = MemoryCluster::default();
        let (here, elsewhere) = (cluster.join("here"), cluster.join("elsewhere"));
        let lease = vec![LeaseName::new("duty", "test")];
        assert_eq!(elsewhere.acquire(lease).await.expect("granted").len(), 1);
        given.say("s", "hello").await;
        given.clock.advance_millis(CLOSE_AFTER_MILLIS + 1);
        let mut after = given.store.subscribe(given.store.head());
        let closer = IdleCloser {
            directory: given.directory.clone(),
            inbox: InboxView::new(views, progress, DEADLINE),
            store: given.store.shared_log(),
            duty: NodeDuty::new(Arc::new(here), "test"),
            close_after: CLOSE_AFTER,
        };
        closer.start(given.ambient.clone());
        let closed = timeout(5 * CLOSE_AFTER, next_closed(&mut after)).await;
        assert!(closed.is_err(), "the other node does it");
        cluster.remove("elsewhere");
        assert_eq!(next_closed(&mut after).await, "s");
    });
}

/// The session of the next event that closes one.
async fn next_closed(subscription: &mut LogSubscription) -> String {
    loop {
        let batch = timeout(DEADLINE, subscription.next()).await.expect("in time");
        let batch = batch.expect("memory can be read").expect("the store is open");
        for recorded in batch.events.iter() {
            let Event::Session(SessionEvent::ConversationClosed(closed)) =
                codec::decode(recorded).expect("an event")
            else {
                continue;
            };
            assert_eq!(closed.reason, ConversationCloseReason::Idle);
            let Some(StreamKind::Session(_, session)) = recorded.stream.kind() else { continue };
            return session.as_str().to_owned();
        }
    }
}
