//! What the store records, lists and removes.

use std::time::Duration;

use amoiq_actors::webhooks::{
    delivery::{Delivery, DeliveryStatus, HoldOff, LaneProgress, ReplayProgress},
    delivery_store::{
        DeliveriesQuery, DeliveryStoreError, DeliveryTotals,
        reaper::{DeliveryReaper, DeliveryRetention},
    },
};
use amoiq_events::{Ambient, Position, TenantId, Timestamp, store::Epoch};

use crate::{
    delivery_store::given::{
        GivenOutbox, at, attempt, delivery, free_lease, message_of, positions, settled, single_node, webhook,
    },
    given::{DEADLINE, in_real_time, tenant},
};

const ALL: DeliveriesQuery = DeliveriesQuery { status: None, before: None, limit: 100 };

#[test]
fn a_lane_is_created_once_and_its_number_is_never_used_again() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let outbox = &given.outbox;
        let (first, marks) = outbox.lane(&tenant(), &webhook("a"), at(7)).await.expect("a lane");
        assert_eq!(marks, LaneProgress { cursor: at(7), ..LaneProgress::default() });
        let (again, marks) = outbox.lane(&tenant(), &webhook("a"), at(9)).await.expect("a lane");
        assert_eq!((again, marks.cursor), (first, at(7)), "where it is stays");
        let others = TenantId::parse("other").expect("an id");
        let (other, _) = outbox.lane(&others, &webhook("a"), at(1)).await.expect("a lane");
        assert_ne!(other, first, "an endpoint is one of its tenant");
        outbox.remove(other).await.expect("it goes");
        let (next, _) = outbox.lane(&tenant(), &webhook("b"), at(1)).await.expect("a lane");
        assert_ne!(next, other);
        let lanes = outbox.lanes().await.expect("lanes").into_iter();
        let lanes: Vec<_> = lanes.map(|(lane, owner)| (lane, owner.expect("it is whole"))).collect();
        assert_eq!(lanes, [(first, (tenant(), webhook("a"))), (next, (tenant(), webhook("b")))]);
    });
}

#[test]
fn records_survive_a_kill() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let marks = LaneProgress {
            cursor: at(5),
            failing_since: Some(Timestamp::from_millis(3)),
            hold_off: Some(HoldOff { until: Timestamp::from_millis(4), wait: Duration::from_secs(30) }),
            replay: Some(ReplayProgress {
                after: at(1),
                until: at(4),
                cursor: at(2),
                begun: 9,
                is_cancelled: true,
            }),
        };
        let pending = Delivery {
            tries: 2,
            next_at: Some(Timestamp::from_millis(77)),
            holds: false,
            refused_at: Some(Timestamp::from_millis(76)),
            ..delivery(4, DeliveryStatus::Pending)
        };
        let entries = vec![(pending.clone(), Some(attempt("refused"))), settled(2)];
        given.outbox.record(&free_lease(), lane, marks.clone(), entries).await.expect("it is recorded");
        // Nothing is closed: the files are as a killed process would leave them.
        let after = given.killed();
        let found = after.lane(&tenant(), &webhook("a"), at(0)).await.expect("the lane");
        assert_eq!(found, (lane, marks));
        assert_eq!(after.unsettled(lane).await.expect("pending"), std::slice::from_ref(&pending));
        let page = after.deliveries(lane, ALL).await.expect("a page");
        let (second, tried) = settled(2);
        assert_eq!(page, [(pending, vec![attempt("refused")]), (second, Vec::from_iter(tried))]);
        let counts = DeliveryTotals { pending: 1, delivered: 1, ..DeliveryTotals::default() };
        assert_eq!(after.counts(lane).await.expect("counts"), counts);
    });
}

#[test]
fn a_record_is_all_or_nothing() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), vec![settled(2)])
            .await
            .expect("it is recorded");
        // The position belongs to another event: the log and this file do not belong together.
        let mut another = delivery(2, DeliveryStatus::Pending);
        another.event_id = delivery(3, DeliveryStatus::Pending).event_id;
        let marks = LaneProgress { cursor: at(9), ..LaneProgress::default() };
        let entries = vec![settled(1), (another, None)];
        let refused = given.outbox.record(&free_lease(), lane, marks, entries).await;
        assert!(
            matches!(refused, Err(DeliveryStoreError::AnotherEvent(position)) if position == at(2)),
            "{refused:?}"
        );
        assert_eq!(positions(&given.outbox.deliveries(lane, ALL).await.expect("a page")), [2]);
        assert_eq!(given.marks().await, LaneProgress::default());
        assert_eq!(given.outbox.counts(lane).await.expect("counts").delivered, 1);
    });
}

#[test]
fn a_delivery_is_updated_in_place_and_keeps_its_last_attempts() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        for number in 0..60 {
            let entry = (delivery(3, DeliveryStatus::Pending), Some(attempt(&format!("try {number}"))));
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), vec![entry])
                .await
                .expect("it is recorded");
        }
        let failed = (delivery(3, DeliveryStatus::Failed), None);
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), vec![failed])
            .await
            .expect("it is recorded");
        let page = given.outbox.deliveries(lane, ALL).await.expect("a page");
        assert_eq!(positions(&page), [3]);
        let errors: Vec<_> = page[0].1.iter().filter_map(|attempt| attempt.error.clone()).collect();
        assert_eq!(errors, (10..60).map(|number| format!("try {number}")).collect::<Vec<_>>());
        let counts = DeliveryTotals { failed: 1, ..DeliveryTotals::default() };
        assert_eq!(given.outbox.counts(lane).await.expect("counts"), counts);
        assert_eq!(given.outbox.unsettled(lane).await.expect("pending"), []);
    });
}

#[test]
fn another_epoch_resets_everything_to_the_head_and_the_same_epoch_resets_nothing() {
    in_real_time(async {
        let given = GivenOutbox::new();
        given.outbox.adopt(Epoch(1), at(50)).await.expect("a first log");
        let lane = given.lane().await;
        let replay =
            ReplayProgress { after: at(5), until: at(30), cursor: at(20), begun: 3, is_cancelled: false };
        let marks = LaneProgress { cursor: at(40), replay: Some(replay), ..LaneProgress::default() };
        let pending = |position| (delivery(position, DeliveryStatus::Pending), Some(attempt("busy")));
        let entries = vec![pending(8), pending(10), pending(11), settled(12)];
        given.outbox.record(&free_lease(), lane, marks.clone(), entries).await.expect("it is recorded");

        given.outbox.adopt(Epoch(1), at(10)).await.expect("the same log");
        assert_eq!(given.marks().await, marks);
        assert_eq!(positions(&given.outbox.deliveries(lane, ALL).await.expect("a page")), [12, 11, 10, 8]);

        given.outbox.adopt(Epoch(2), at(10)).await.expect("another log");
        let replay = ReplayProgress { until: at(10), cursor: at(10), ..replay };
        assert_eq!(
            given.marks().await,
            LaneProgress { cursor: at(10), replay: Some(replay), ..LaneProgress::default() }
        );
        assert_eq!(positions(&given.outbox.deliveries(lane, ALL).await.expect("a page")), [10, 8]);
        let counts = DeliveryTotals { pending: 2, ..DeliveryTotals::default() };
        assert_eq!(given.outbox.counts(lane).await.expect("counts"), counts);
        // The position belongs to another event now, and nothing of the former one is left.
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), vec![settled(12)])
            .await
            .expect("it is recorded");
        let page = given.outbox.deliveries(lane, ALL).await.expect("a page");
        assert_eq!((positions(&page), page[0].1.len()), (vec![12, 10, 8], 1));
    });
}

#[test]
fn pages_follow_each_other_without_gap_or_repeat() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let status = |position| match position % 5 {
            0 => DeliveryStatus::Pending,
            1 => DeliveryStatus::Delivered,
            2 => DeliveryStatus::Refused,
            3 => DeliveryStatus::Skipped,
            _ => DeliveryStatus::Failed,
        };
        let entries = (1..=50).map(|position| (delivery(position, status(position)), None)).collect();
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        let read = async |status| {
            let (mut all, mut before) = (Vec::new(), None);
            loop {
                let query = DeliveriesQuery { status, before, limit: 7 };
                let page = given.outbox.deliveries(lane, query).await.expect("a page");
                assert!(page.len() <= 7);
                let Some((last, _)) = page.last() else { return all };
                before = Some(last.position);
                all.extend(positions(&page));
            }
        };
        assert_eq!(read(None).await, (1..=50).rev().collect::<Vec<_>>());
        for wanted in DeliveryStatus::ALL {
            let expected: Vec<_> = (1..=50).rev().filter(|position| status(*position) == wanted).collect();
            assert_eq!(read(Some(wanted)).await, expected);
        }
    });
}

#[test]
fn a_delivery_is_found_by_its_message_in_its_own_lane() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let (other, _) = given.outbox.lane(&tenant(), &webhook("b"), at(0)).await.expect("a lane");
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), vec![settled(3), settled(4)])
            .await
            .expect("recorded");
        let found = given.outbox.find(lane, message_of(4)).await.expect("an answer");
        assert_eq!(found, Some(settled(4).0));
        assert_eq!(given.outbox.find(lane, message_of(5)).await.expect("an answer"), None);
        assert_eq!(given.outbox.find(other, message_of(4)).await.expect("an answer"), None);
    });
}

#[test]
fn settled_deliveries_are_removed_by_age_and_number_and_pending_ones_stay() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        // The later positions were settled first: the time decides, not the position.
        let old = |position: u64, status| Delivery {
            changed_at: Timestamp::from_millis(1_000 - i64::try_from(position).expect("small")),
            ..delivery(position, status)
        };
        let mut entries: Vec<_> =
            (1..=9).map(|position| (old(position, DeliveryStatus::Failed), Some(attempt("no")))).collect();
        entries.push((old(10, DeliveryStatus::Pending), Some(attempt("no"))));
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        let reap = async |before, keep, limit| {
            let before = Timestamp::from_millis(before);
            given.outbox.reap(lane, before, keep, limit).await.expect("an answer")
        };
        let left = async || positions(&given.outbox.deliveries(lane, ALL).await.expect("a page"));
        assert_eq!(reap(0, 9, 100).await, 0, "none is too old, none too many");
        assert_eq!(reap(993, 9, 100).await, 2, "two are too old");
        assert_eq!(left().await, [10, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(reap(0, 3, 4).await, 2, "four rows: two deliveries with an attempt each");
        assert_eq!(left().await, [10, 5, 4, 3, 2, 1]);
        assert_eq!(reap(0, 3, 100).await, 2, "two are too many");
        assert_eq!(reap(0, 3, 100).await, 0);
        assert_eq!(left().await, [10, 3, 2, 1]);
        assert_eq!(reap(2_000, 0, 100).await, 3);
        assert_eq!(left().await, [10], "what is pending stays, however old");
        let counts = DeliveryTotals { pending: 1, ..DeliveryTotals::default() };
        assert_eq!(given.outbox.counts(lane).await.expect("counts"), counts);
        assert_eq!(given.rows("attempts"), 1, "attempts go with their delivery");
    });
}

#[test]
fn the_reaper_goes_through_all_lanes() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let (other, _) = given.outbox.lane(&tenant(), &webhook("b"), at(0)).await.expect("a lane");
        for lane in [lane, other] {
            let entries = vec![settled(1), (delivery(2, DeliveryStatus::Pending), None)];
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), entries)
                .await
                .expect("it is recorded");
        }
        let retention = DeliveryRetention { keep_for: Duration::from_millis(20), keep: 100 };
        DeliveryReaper::start(given.outbox.clone(), single_node(), Ambient::system(), retention);
        let forgotten = async {
            for lane in [lane, other] {
                while given.outbox.counts(lane).await.expect("counts").settled() > 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                assert_eq!(given.outbox.counts(lane).await.expect("counts").pending, 1);
            }
        };
        tokio::time::timeout(DEADLINE, forgotten).await.expect("they are forgotten");
    });
}

#[test]
fn a_lane_is_removed_with_all_its_rows_and_accepts_no_more() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let (other, _) = given.outbox.lane(&tenant(), &webhook("b"), at(0)).await.expect("a lane");
        // More than one transaction can remove.
        let entries = (1..=2_500).map(settled).collect();
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), entries)
            .await
            .expect("it is recorded");
        given
            .outbox
            .record(&free_lease(), other, LaneProgress::default(), vec![settled(1)])
            .await
            .expect("it is recorded");
        given.outbox.remove(lane).await.expect("it goes");
        given.outbox.remove(lane).await.expect("again is no mistake");
        assert_eq!((given.rows("deliveries"), given.rows("attempts"), given.rows("lanes")), (1, 1, 1));
        let late = given.outbox.record(&free_lease(), lane, LaneProgress::default(), vec![settled(1)]).await;
        assert!(matches!(late, Err(DeliveryStoreError::NoLane)), "{late:?}");
        assert_eq!(given.rows("deliveries"), 1);
    });
}

#[test]
fn a_session_is_erased_only_from_its_tenants_lanes() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        let others = TenantId::parse("other").expect("an id");
        let (other, _) = given.outbox.lane(&others, &webhook("a"), at(0)).await.expect("a lane");
        // Every fifth belongs to the same session, and there are more than one read returns.
        let entries: Vec<_> = (1..=1_500).map(settled).collect();
        for lane in [lane, other] {
            given
                .outbox
                .record(&free_lease(), lane, LaneProgress::default(), entries.clone())
                .await
                .expect("it is recorded");
        }
        let session = settled(5).0.session;
        assert_eq!(given.outbox.erase(&tenant(), &session).await.expect("it is erased"), 300);
        assert_eq!(given.outbox.erase(&tenant(), &session).await.expect("it is erased"), 0);
        let page = given.outbox.deliveries(lane, ALL).await.expect("a page");
        assert!(page.iter().all(|(delivery, _)| delivery.session != session));
        assert_eq!(given.outbox.counts(lane).await.expect("counts").delivered, 1_200);
        assert_eq!(given.outbox.counts(other).await.expect("counts").delivered, 1_500);
        assert_eq!(given.rows("attempts"), 2_700);
    });
}

#[test]
fn a_position_before_the_log_gives_an_empty_page() {
    in_real_time(async {
        let given = GivenOutbox::new();
        let lane = given.lane().await;
        given
            .outbox
            .record(&free_lease(), lane, LaneProgress::default(), vec![settled(1)])
            .await
            .expect("it is recorded");
        let query = |before| DeliveriesQuery { before: Some(Position::from_u64(before)), ..ALL };
        assert_eq!(given.outbox.deliveries(lane, query(1)).await.expect("a page"), []);
        let page = given.outbox.deliveries(lane, query(u64::MAX)).await.expect("a page");
        assert_eq!(positions(&page), [1]);
    });
}
