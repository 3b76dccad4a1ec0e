//! Contract: subscriptions return every event once and in order, first those in the log, then new ones.

use amoiq_events::{Position, store::ExpectedVersion};

use crate::given::{Given, events, numbers, stream, take, within};

pub(crate) async fn a_subscription_catches_up_and_goes_on_live(given: &mut Given) {
    given.has(&stream("a"), 1..=3).await;
    given.reopen();
    let mut subscription = given.store().subscribe(Position::START);
    assert_eq!(numbers(&take(&mut subscription, 3).await), [1, 2, 3]);
    assert_eq!(subscription.position(), given.store().head());
    given.has(&stream("b"), 4..=5).await;
    given.has(&stream("a"), 6..=6).await;
    let live = take(&mut subscription, 3).await;
    assert_eq!(live, given.log().await.split_off(3));
}

pub(crate) async fn a_subscription_at_the_head_sees_only_what_comes(given: &mut Given) {
    given.has(&stream("a"), 1..=3).await;
    let mut subscription = given.store().subscribe(given.store().head());
    let waiting = tokio::spawn(async move { take(&mut subscription, 2).await });
    given.has(&stream("a"), 4..=5).await;
    assert_eq!(numbers(&within(waiting).await.expect("took")), [4, 5]);
}

pub(crate) async fn a_subscription_starts_within_a_batch(given: &mut Given) {
    given.has(&stream("a"), 1..=10).await;
    let log = given.log().await;
    for (number, event) in (1..).zip(&log).take(9) {
        let mut subscription = given.store().subscribe(event.position);
        let rest = take(&mut subscription, 10 - number).await;
        assert!(rest.iter().eq(log.iter().skip(number)), "after event {number}");
    }
}

pub(crate) async fn nothing_is_missed_or_repeated_under_concurrent_appends(given: &mut Given) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 150;
    let total = usize::try_from(WRITERS * EACH).expect("small");
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = given.store();
            tokio::spawn(async move {
                for number in writer * EACH..(writer + 1) * EACH {
                    let event = events(number..=number);
                    let append = store.append(stream(&format!("{writer}")), ExpectedVersion::Any, event);
                    within(append).await.expect("appended");
                }
            })
        })
        .collect();
    let subscribers: Vec<_> = (0..4)
        .map(|_| {
            let mut subscription = given.store().subscribe(Position::START);
            tokio::spawn(async move { take(&mut subscription, total).await })
        })
        .collect();
    for writer in writers {
        within(writer).await.expect("wrote");
    }
    let log = given.log().await;
    assert_eq!(log.len(), total);
    for subscriber in subscribers {
        assert!(within(subscriber).await.expect("took") == log, "exactly the log");
    }
}

pub(crate) async fn a_slow_subscriber_reads_what_left_the_window(given: &mut Given) {
    let mut subscription = given.store().subscribe(Position::START);
    given.has(&stream("a"), 1..=10).await;
    assert_eq!(take(&mut subscription, 10).await.len(), 10);
    given.has_many(&stream("b"), 11..=20_000).await;
    let rest = take(&mut subscription, 19_990).await;
    assert_eq!(numbers(&rest), (11..=20_000).collect::<Vec<_>>());
    given.has(&stream("a"), 20_001..=20_001).await;
    assert_eq!(numbers(&take(&mut subscription, 1).await), [20_001]);
}

pub(crate) async fn removed_events_are_passed_over(given: &mut Given) {
    let mut subscription = given.store().subscribe(Position::START);
    given.has(&stream("a"), 1..=3).await;
    given.has(&stream("b"), 4..=5).await;
    given.has(&stream("c"), 6..=8).await;
    given.delete(&stream("a")).await;
    given.truncate(&stream("b"), 2).await;
    given.delete(&stream("c")).await;
    assert_eq!(numbers(&take(&mut subscription, 1).await), [5]);
    let waiting = tokio::spawn(async move { numbers(&take(&mut subscription, 1).await) });
    given.has(&stream("a"), 9..=9).await;
    assert_eq!(within(waiting).await.expect("took"), [9]);
}

pub(crate) async fn a_subscription_says_that_it_passed_a_removed_end(given: &mut Given) {
    let mut subscription = given.store().subscribe(Position::START);
    given.has(&stream("a"), 1..=2).await;
    assert_eq!(take(&mut subscription, 2).await.len(), 2);
    // Removed while one subscription waits for it, and before a new one has read it.
    let waiting = tokio::spawn(async move {
        let batch = within(subscription.next()).await.expect("read").expect("the store is open");
        (batch, subscription)
    });
    given.has(&stream("b"), 3..=4).await;
    given.delete(&stream("b")).await;
    let (mut batch, mut subscription) = within(waiting).await.expect("waited");
    let head = given.store().head();
    while batch.upto < head {
        batch = within(subscription.next()).await.expect("read").expect("the store is open");
    }
    assert_eq!((batch.upto, subscription.position()), (head, head));
    let mut late = given.store().subscribe(Position::START);
    assert_eq!(numbers(&take(&mut late, 2).await), [1, 2]);
    let end = within(late.next()).await.expect("read").expect("the store is open");
    assert_eq!((end.events.len(), end.upto), (0, head), "nothing is left, and it says so");
    given.has(&stream("a"), 5..=5).await;
    for subscription in [&mut subscription, &mut late] {
        assert_eq!(numbers(&take(subscription, 1).await), [5]);
    }
}

pub(crate) async fn nothing_is_missed_when_streams_are_removed_meanwhile(given: &mut Given) {
    const KEPT: u64 = 400;
    let mut subscription = given.store().subscribe(Position::START);
    let follower = tokio::spawn(async move {
        let mut kept = Vec::new();
        while kept.len() < usize::try_from(KEPT).expect("small") {
            let batch = within(subscription.next()).await.expect("read").expect("the store is open");
            kept.extend(numbers(&batch.events).into_iter().filter(|number| *number <= KEPT));
        }
        kept
    });
    let store = given.store();
    let remover = tokio::spawn(async move {
        for number in KEPT + 1..=KEPT + 200 {
            let event = events(number..=number);
            within(store.append(stream("gone"), ExpectedVersion::Any, event)).await.expect("appended");
            within(store.delete(stream("gone"))).await.expect("deleted");
        }
    });
    for number in 1..=KEPT {
        given.has(&stream("kept"), number..=number).await;
    }
    within(remover).await.expect("removed");
    assert_eq!(within(follower).await.expect("followed"), (1..=KEPT).collect::<Vec<_>>());
}

pub(crate) async fn a_subscription_ends_with_the_store(given: &mut Given) {
    given.has(&stream("a"), 1..=1).await;
    let mut subscription = given.store().subscribe(given.store().head());
    let waiting = tokio::spawn(async move { within(subscription.next()).await });
    given.close();
    assert!(matches!(within(waiting).await.expect("waited"), Ok(None)));
}

pub(crate) async fn what_is_left_is_handed_out_after_the_store_closed(given: &mut Given) {
    let mut subscription = given.store().subscribe(Position::START);
    given.has_many(&stream("a"), 1..=18_000).await;
    given.close();
    assert_eq!(numbers(&take(&mut subscription, 18_000).await), (1..=18_000).collect::<Vec<_>>());
    assert!(matches!(within(subscription.next()).await, Ok(None)));
}
