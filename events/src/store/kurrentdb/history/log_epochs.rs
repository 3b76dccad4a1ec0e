//! The epochs that a log has had, in order.

use super::known_log::KnownLog;
use crate::{
    Position,
    store::{Epoch, kurrentdb::records::log_record::EpochRecord, postgres::EndTrail},
};

/// What the stream of epochs says.
#[derive(Debug, Clone, Default)]
pub(in crate::store::kurrentdb) struct LogEpochs(Vec<EpochRecord>);

impl LogEpochs {
    pub(in crate::store::kurrentdb) fn new(records: Vec<EpochRecord>) -> Self {
        Self(records)
    }

    /// Whether a later epoch took the place of one.
    pub(in crate::store::kurrentdb) fn has_replaced(&self, epoch: Epoch) -> bool {
        self.followers(epoch).is_some_and(|later| later.iter().any(|record| record.lost().is_some()))
    }

    /// Up to where the history of an earlier epoch is certainly the same; nothing for the newest one.
    pub(in crate::store::kurrentdb) fn common_with(&self, earlier: Epoch) -> Option<Position> {
        if self.0.last().is_some_and(|newest| newest.epoch() == earlier) {
            return None;
        }
        let Some(later) = self.followers(earlier) else { return Some(Position::START) };
        let common = later.iter().filter_map(EpochRecord::lost).map(|lost| lost.common).min();
        Some(common.unwrap_or(Position::START))
    }

    /// What of that which a node knew in an earlier epoch is in the log.
    pub(in crate::store::kurrentdb) fn still_known(&self, kept: KnownLog) -> EndTrail {
        match self.common_with(Epoch(kept.epoch)) {
            Some(common) => kept.records.up_to(common),
            None => kept.records,
        }
    }

    /// The records after an epoch; nothing when the log does not know it.
    fn followers(&self, epoch: Epoch) -> Option<&[EpochRecord]> {
        let named = self.0.iter().rposition(|record| record.epoch() == epoch).map(|number| number + 1);
        let is_replacement = |record: &EpochRecord| record.lost().is_some_and(|lost| lost.epoch == epoch.0);
        let first = named.or_else(|| self.0.iter().position(is_replacement))?;
        self.0.get(first..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kurrentdb::records::log_record::LostHistory;

    #[test]
    fn what_histories_have_in_common_is_the_least_of_what_their_followers_have() {
        let after = |epoch, lost: Option<(u64, u64)>| {
            let lost = lost.map(|(epoch, common)| LostHistory { epoch, common: Position::from_u64(common) });
            lost.map_or(EpochRecord::complete(Epoch(epoch)), |lost| {
                EpochRecord::after_loss(Epoch(epoch), lost)
            })
        };
        // The log was restored to a time before epoch 2, and the node that began 3 knew 2.
        let epochs = LogEpochs::new(vec![
            after(1, None),
            after(3, Some((2, 500))),
            after(4, Some((3, 400))),
            after(5, Some((4, 900))),
        ]);
        let common = [1, 2, 3, 4, 5, 6].map(|epoch| epochs.common_with(Epoch(epoch)));
        let expected = [Some(400), Some(400), Some(400), Some(900), None, Some(0)];
        assert_eq!(common, expected.map(|common| common.map(Position::from_u64)));
        assert!(epochs.has_replaced(Epoch(2)) && !epochs.has_replaced(Epoch(5)));
    }
}
