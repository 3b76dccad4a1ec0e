//! The ids of appends for any version are remembered, but not for ever: they are in memory.

use amoiq_events::{Version, store::REMEMBERED_IDS};

use crate::given::{Given, stream};

#[tokio::test]
async fn an_id_is_not_remembered_for_ever() {
    for given in [Given::memory(), Given::sqlite()] {
        given.has(&stream("a"), 1..=1).await;
        given.has_many(&stream("b"), 2..=REMEMBERED_IDS as u64 + 1).await;
        assert_eq!(given.has(&stream("a"), 1..=1).await.version, Version::from_u64(2));
    }
}
