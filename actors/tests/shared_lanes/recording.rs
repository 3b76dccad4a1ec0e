//! What one node records and another reads.

use std::{collections::HashMap, sync::Arc};

use amoiq_actors::webhooks::{
    DeliveriesQuery, Delivery, DeliveryAttempt, DeliveryStatus, DeliveryStore, HoldOff, LaneProgress,
    ReplayProgress,
    delivery_store::{DeliveryStoreError, DeliveryTotals, LaneId},
};
use amoiq_events::{
    EventId, EventLog, MessageId, Position, SessionId, Timestamp,
    cluster::{ClusterLeases, FencingNumber, HeldLease, LeaseName},
    postgres::PostgresOptions,
    store::Epoch,
};
use amoiq_testkit::PostgresServer;
use tempfile::TempDir;

use crate::given::{SharedDatabase, tenant, until, webhook};

const ALL: DeliveriesQuery = DeliveriesQuery { status: None, before: None, limit: 100 };

/// A lane whose lease one node has, and the deliveries as two nodes see them.
pub(crate) struct GivenLane {
    pub(crate) shared: SharedDatabase,
    leases: Arc<dyn ClusterLeases>,
    lease: HeldLease,
    pub(crate) lane: LaneId,
    pub(crate) here: DeliveryStore,
    pub(crate) there: DeliveryStore,
    _directory: TempDir,
}

impl GivenLane {
    pub(crate) async fn new() -> Self {
        Self::on(SharedDatabase::new()).await
    }

    async fn on(shared: SharedDatabase) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let leases = shared.leases("a", directory.path());
        let name = LeaseName::new("webhook", "acme/hook");
        let lease = leases.acquire(vec![name]).await.expect("answered").pop().expect("granted");
        let [here, there] = [shared.deliveries(), shared.deliveries()];
        here.adopt(shared.log.epoch(), at(0)).await.expect("adopted");
        let (lane, _) = here.lane(&tenant(), &webhook("hook"), at(0)).await.expect("a lane");
        Self { shared, leases, lease, lane, here, there, _directory: directory }
    }

    pub(crate) async fn record(
        &self,
        entries: Vec<(Delivery, Option<DeliveryAttempt>)>,
    ) -> Result<(), DeliveryStoreError> {
        self.here.record(&self.lease, self.lane, LaneProgress::default(), entries).await
    }

    async fn listed(&self) -> Vec<(Delivery, Vec<DeliveryAttempt>)> {
        self.there.deliveries(self.lane, ALL).await.expect("listed")
    }
}

pub(crate) fn at(position: u64) -> Position {
    Position::from_u64(position)
}

pub(crate) fn delivery(position: u64, status: DeliveryStatus) -> Delivery {
    Delivery {
        position: at(position),
        event_id: EventId::from_bytes(u128::from(position).to_be_bytes()),
        message_id: MessageId::from_bytes((u128::from(position) << 64).to_be_bytes()),
        session: SessionId::parse(&format!("session-{}", position % 2)).expect("an id"),
        status,
        tries: 1,
        next_at: Some(Timestamp::from_millis(5)),
        holds: true,
        refused_at: None,
        changed_at: Timestamp::from_millis(1_000 + i64::try_from(position).expect("small")),
    }
}

pub(crate) fn attempt(number: i64) -> DeliveryAttempt {
    DeliveryAttempt {
        at: Timestamp::from_millis(number),
        duration_ms: 12,
        status: Some(503),
        error: Some("no".to_owned()),
        answer: b"not now".to_vec(),
    }
}

#[tokio::test]
async fn everything_that_is_recorded_is_read_on_another_node() {
    let given = GivenLane::new().await;
    let progress = LaneProgress {
        cursor: at(7),
        failing_since: Some(Timestamp::from_millis(3)),
        hold_off: Some(HoldOff {
            until: Timestamp::from_millis(9),
            wait: std::time::Duration::from_millis(4),
        }),
        replay: Some(ReplayProgress {
            after: at(1),
            until: at(6),
            cursor: at(2),
            begun: 3,
            is_cancelled: true,
        }),
    };
    let entries: Vec<_> = (1..)
        .zip(DeliveryStatus::ALL)
        .map(|(position, status)| {
            let refused_at = (status == DeliveryStatus::Refused).then(|| Timestamp::from_millis(8));
            (Delivery { refused_at, ..delivery(position, status) }, Some(attempt(1)))
        })
        .collect();
    given.here.record(&given.lease, given.lane, progress.clone(), entries.clone()).await.expect("recorded");
    let mut listed = given.listed().await;
    listed.reverse();
    let expected: Vec<_> =
        entries.iter().cloned().map(|(delivery, attempt)| (delivery, Vec::from_iter(attempt))).collect();
    assert_eq!(listed, expected);
    let (lane, read) = given.there.lane(&tenant(), &webhook("hook"), at(99)).await.expect("the lane");
    assert_eq!((lane, read), (given.lane, progress));
    let totals = DeliveryTotals { pending: 1, delivered: 1, failed: 1, refused: 1, skipped: 1 };
    assert_eq!(given.there.counts(given.lane).await.expect("counted"), totals);
    let unsettled = given.there.unsettled(given.lane).await.expect("listed");
    let is_waiting = |(delivery, _): &(Delivery, _)| !delivery.status.is_settled();
    let waiting = entries.iter().filter(|entry| is_waiting(entry));
    let waiting: Vec<_> = waiting.map(|(delivery, _)| delivery.clone()).collect();
    assert_eq!(unsettled, waiting);
    let settled = given.there.settled_after(given.lane, at(2)).await.expect("listed");
    assert_eq!(settled.into_iter().collect::<Vec<_>>(), [at(3), at(5)]);
    let found = given.there.find(given.lane, entries[2].0.message_id).await.expect("read");
    assert_eq!(found.as_ref(), Some(&entries[2].0));
    let failed = DeliveriesQuery { status: Some(DeliveryStatus::Failed), ..ALL };
    assert_eq!(given.there.deliveries(given.lane, failed).await.expect("listed")[0].0, entries[2].0);
    let lanes = given.there.lanes().await.expect("listed");
    assert_eq!((lanes.len(), lanes[0].1.as_ref().expect("whole")), (1, &(tenant(), webhook("hook"))));
}

#[tokio::test]
async fn an_attempt_is_recorded_once_and_the_last_fifty_are_kept() {
    let given = GivenLane::new().await;
    for number in 1..=60 {
        // The answer to the first try was lost.
        for _ in 0..2 {
            let entry = (delivery(1, DeliveryStatus::Pending), Some(attempt(number)));
            given.record(vec![entry]).await.expect("recorded");
        }
    }
    let listed = given.listed().await;
    let times: Vec<_> = listed[0].1.iter().map(|attempt| attempt.at.as_millis()).collect();
    assert_eq!(times, (11..=60).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_written_under_a_lease_that_is_not_held() {
    let given = GivenLane::new().await;
    given.record(vec![(delivery(1, DeliveryStatus::Pending), None)]).await.expect("recorded");
    let membership = given.leases.view().borrow().own.clone().expect("a member");
    let FencingNumber { epoch, number } = given.lease.fencing();
    let with = |fencing| HeldLease::new(given.lease.name().clone(), fencing, Arc::clone(&membership));
    let entry = || vec![(delivery(2, DeliveryStatus::Pending), None)];
    for fencing in [
        FencingNumber { epoch, number: number - 1 },
        FencingNumber { epoch, number: number + 1 },
        FencingNumber { epoch: Epoch(epoch.0 ^ 1), number },
    ] {
        let refused = given.here.record(&with(fencing), given.lane, LaneProgress::default(), entry()).await;
        assert!(matches!(refused, Err(DeliveryStoreError::LeaseLost)), "{refused:?}");
    }
    given.leases.release(vec![given.lease.clone()]).await.expect("released");
    let refused = given.record(entry()).await;
    assert!(matches!(refused, Err(DeliveryStoreError::LeaseLost)), "{refused:?}");
    assert_eq!(given.listed().await.len(), 1);
}

#[tokio::test]
async fn another_event_at_the_same_position_is_refused() {
    let given = GivenLane::new().await;
    given.record(vec![(delivery(1, DeliveryStatus::Pending), None)]).await.expect("recorded");
    let other = Delivery { event_id: EventId::from_bytes([9; 16]), ..delivery(1, DeliveryStatus::Pending) };
    let refused = given.record(vec![(delivery(2, DeliveryStatus::Pending), None), (other, None)]).await;
    assert!(matches!(refused, Err(DeliveryStoreError::AnotherEvent(place)) if place == at(1)), "{refused:?}");
    assert_eq!(given.listed().await.len(), 1, "all of it or nothing");
}

#[tokio::test]
async fn settled_deliveries_are_removed_by_age_and_number() {
    let given = GivenLane::new().await;
    let statuses = [DeliveryStatus::Delivered, DeliveryStatus::Pending];
    let entries = (1..=20).map(|position| {
        let status = statuses[usize::try_from(position % 2).expect("small")];
        (delivery(position, status), Some(attempt(1)))
    });
    given.record(entries.collect()).await.expect("recorded");
    let old = given.there.reap(given.lane, Timestamp::from_millis(1_005), 100, 1_000).await;
    assert_eq!(old.expect("removed"), 2);
    let many = given.there.reap(given.lane, Timestamp::from_millis(0), 5, 1_000).await;
    assert_eq!(many.expect("removed"), 3);
    let left = DeliveryTotals { pending: 10, delivered: 5, ..DeliveryTotals::default() };
    assert_eq!(given.there.counts(given.lane).await.expect("counted"), left);
    let few = given.there.reap(given.lane, Timestamp::from_millis(0), 0, 4).await;
    assert_eq!(few.expect("removed"), 2, "with their attempts these are four rows");
}

#[tokio::test]
async fn erased_sessions_go_and_do_not_come_back() {
    let given = GivenLane::new().await;
    let entries = || (1..=10).map(|position| (delivery(position, DeliveryStatus::Pending), Some(attempt(1))));
    given.record(entries().collect()).await.expect("recorded");
    let sessions = Arc::new(HashMap::from([(SessionId::parse("session-1").expect("an id"), at(7))]));
    assert_eq!(given.there.erase_all(&tenant(), &sessions).await.expect("erased"), 4);
    let positions = async || {
        let listed = given.listed().await;
        listed.iter().rev().map(|(delivery, _)| delivery.position.as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(positions().await, [2, 4, 6, 8, 9, 10]);
    // A lane that still has them in memory writes what it knows.
    given.record(entries().collect()).await.expect("recorded");
    assert_eq!(positions().await, [2, 4, 6, 8, 9, 10]);
    assert_eq!(given.there.counts(given.lane).await.expect("counted").pending, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_the_standby_does_not_have_is_not_complete() {
    let primary = PostgresServer::start();
    let mut standby = primary.start_standby("standby");
    let given = GivenLane::on(SharedDatabase::on(PostgresOptions::new(&primary.address()))).await;
    given.record(vec![(delivery(1, DeliveryStatus::Pending), None)]).await.expect("recorded");
    primary.set("synchronous_standby_names", "'standby'");
    standby.stop();
    let sessions = Arc::new(HashMap::from([(SessionId::parse("session-1").expect("an id"), at(7))]));
    let erasing = tokio::spawn({
        let (there, sessions) = (given.there.clone(), Arc::clone(&sessions));
        async move { there.erase_all(&tenant(), &sessions).await }
    });
    // An operator who ends each wait.
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("it is answered", async || {
        tokio::task::block_in_place(|| primary.ask(cancel));
        erasing.is_finished()
    })
    .await;
    let answered = erasing.await.expect("answered");
    assert!(matches!(answered, Err(DeliveryStoreError::Unavailable(_))), "{answered:?}");
    primary.set("synchronous_standby_names", "''");
    given.there.erase_all(&tenant(), &sessions).await.expect("erased");
    assert!(given.listed().await.is_empty());
}

#[tokio::test]
async fn a_removed_lane_takes_no_record() {
    let given = GivenLane::new().await;
    given.record(vec![(delivery(1, DeliveryStatus::Pending), Some(attempt(1)))]).await.expect("recorded");
    given.there.remove(given.lane).await.expect("removed");
    let refused = given.record(vec![(delivery(2, DeliveryStatus::Pending), None)]).await;
    assert!(matches!(refused, Err(DeliveryStoreError::NoLane)), "{refused:?}");
    assert!(given.there.lanes().await.expect("listed").is_empty());
    given.there.scrub().await.expect("scrubbed");
}

#[tokio::test]
async fn another_epoch_sets_back_what_the_log_has_lost() {
    let given = GivenLane::new().await;
    let progress = LaneProgress {
        cursor: at(9),
        replay: Some(ReplayProgress {
            after: at(1),
            until: at(8),
            cursor: at(6),
            begun: 3,
            is_cancelled: false,
        }),
        ..LaneProgress::default()
    };
    let entries = (1..=9).map(|position| (delivery(position, DeliveryStatus::Pending), Some(attempt(1))));
    given.here.record(&given.lease, given.lane, progress, entries.collect()).await.expect("recorded");
    given.there.adopt(given.shared.log.epoch(), at(3)).await.expect("the same epoch");
    assert_eq!(given.listed().await.len(), 9);
    assert_eq!(given.here.epoch().await.expect("an epoch"), Some(given.shared.log.epoch()));
    given.shared.go_on_in(Epoch(1));
    given.there.adopt(Epoch(1), at(5)).await.expect("adopted");
    assert_eq!(given.here.epoch().await.expect("an epoch"), Some(Epoch(1)));
    let (_, read) = given.there.lane(&tenant(), &webhook("hook"), at(0)).await.expect("the lane");
    let replay = ReplayProgress { after: at(1), until: at(5), cursor: at(5), begun: 3, is_cancelled: false };
    assert_eq!((read.cursor, read.replay), (at(5), Some(replay)));
    assert_eq!(given.there.counts(given.lane).await.expect("counted").pending, 5);
    let refused = given.record(vec![(delivery(1, DeliveryStatus::Delivered), None)]).await;
    assert!(
        matches!(refused, Err(DeliveryStoreError::LeaseLost)),
        "the lease is of the old epoch: {refused:?}"
    );
}
