//! Contract: many writers at once.

use amoiq_events::{
    Version,
    store::{AppendError, ExpectedVersion, ReadDirection},
};

use crate::given::{Given, events, stream, versions, within};

pub(crate) async fn one_of_many_writers_wins_each_version(given: &mut Given) {
    const WRITERS: u64 = 8;
    const VERSIONS: u64 = 60;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = given.store();
            tokio::spawn(async move {
                let mut won = 0;
                for version in 0..VERSIONS {
                    let expected = ExpectedVersion::Exact(Version::from_u64(version));
                    let number = writer * VERSIONS + version;
                    match within(store.append(stream("a"), expected, events(number..=number))).await {
                        Ok(appended) => {
                            assert_eq!(appended.version, Version::from_u64(version + 1));
                            won += 1;
                        }
                        Err(AppendError::Conflict { actual, .. }) => {
                            assert!(actual.as_u64() > version, "a loser is told a later version");
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                won
            })
        })
        .collect();
    let mut won = 0;
    for writer in writers {
        won += within(writer).await.expect("wrote");
    }
    assert_eq!(won, VERSIONS);
    assert_eq!(versions(&given.log().await), (1..=VERSIONS).collect::<Vec<_>>());
}

pub(crate) async fn each_of_many_streams_has_gapless_versions(given: &mut Given) {
    const WRITERS: u64 = 64;
    const EACH: u64 = 30;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = given.store();
            tokio::spawn(async move {
                for number in writer * EACH..(writer + 1) * EACH {
                    let stream = stream(&format!("{}", number % 16));
                    within(store.append(stream, ExpectedVersion::Any, events(number..=number)))
                        .await
                        .expect("appended");
                }
            })
        })
        .collect();
    for writer in writers {
        within(writer).await.expect("wrote");
    }
    for session in 0..16 {
        let read = given.read(&stream(&format!("{session}")), 1, ReadDirection::Forward, 1_000).await;
        assert_eq!(versions(&read), (1..=WRITERS * EACH / 16).collect::<Vec<_>>());
    }
}

pub(crate) async fn readers_see_whole_prefixes_while_writers_write(given: &mut Given) {
    const EVENTS: u64 = 1_500;
    let store = given.store();
    let writer = tokio::spawn(async move {
        for first in (1..=EVENTS).step_by(3) {
            let answer = store.append(stream("a"), ExpectedVersion::Any, events(first..=first + 2));
            within(answer).await.expect("appended");
        }
    });
    let mut seen = 0;
    while seen < EVENTS {
        let newest = given.read(&stream("a"), u64::MAX, ReadDirection::Backward, 100).await;
        let highest = newest.first().map_or(0, |event| event.version.as_u64());
        assert!(highest >= seen && highest.is_multiple_of(3), "whole appends, none taken back");
        assert_eq!(versions(&newest), (1..=highest).rev().take(100).collect::<Vec<_>>());
        let from = highest.saturating_sub(150) + 1;
        let read = versions(&given.read(&stream("a"), from, ReadDirection::Forward, 70).await);
        assert!(read.iter().copied().eq((from..).take(read.len())));
        seen = highest;
    }
    within(writer).await.expect("wrote");
}
