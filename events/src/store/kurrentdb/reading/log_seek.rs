//! Finds positions: of a time, and of a number that a person typed. What is kept of all events narrows the search down to a
//! few pages of the log.

use std::ops::Bound;

use crate::{
    Position, Timestamp,
    store::{
        MAX_READ_EVENTS, ReadError,
        kurrentdb::{reading::log_reads::FilteredReads, records::log_record::LogRecord},
        log::MAX_JITTER_MS,
    },
};

/// The position after which every event has at least this time.
pub(in crate::store::kurrentdb) async fn position_at(
    reads: &FilteredReads,
    time: Timestamp,
) -> Result<Position, ReadError> {
    let stretches = reads.index.lock().marks().stretches_before(time, MAX_JITTER_MS);
    for (mut from, upto) in stretches {
        let mut before = None;
        loop {
            let page = reads.after(from, MAX_READ_EVENTS).await?;
            let Some(last) = page.last().map(|event| event.position) else { break };
            let within = page.iter().filter(|event| event.position <= upto);
            before = within
                .filter(|event| event.event.time < time)
                .map(|event| event.position)
                .next_back()
                .or(before);
            if last >= upto {
                break;
            }
            from = last;
        }
        if let Some(before) = before {
            return Ok(before);
        }
    }
    Ok(Position::START)
}

/// The newest position within a bound.
pub(in crate::store::kurrentdb) async fn newest_within(
    reads: &FilteredReads,
    bound: Bound<Position>,
) -> Result<Position, ReadError> {
    let end = match bound {
        Bound::Included(end) => end,
        Bound::Excluded(end) => match end.as_u64().checked_sub(1) {
            Some(before) => Position::from_u64(before),
            None => return Ok(Position::START),
        },
        Bound::Unbounded => Position::END,
    };
    let (head, recent, mut from) = {
        let index = reads.index.lock();
        (index.head(), index.marks().recent_until(end), index.marks().before(end))
    };
    if end >= head {
        return Ok(head);
    }
    if let Some(recent) = recent {
        return Ok(recent);
    }
    let mut newest = from;
    loop {
        let page = reads.page(from, MAX_READ_EVENTS).await?;
        let last = page.last().map(|record| Position::from_u64(record.position));
        for record in page {
            if let LogRecord::Event(event) = LogRecord::decode(record, reads.index.names())?
                && event.position <= end
            {
                newest = newest.max(event.position);
            }
        }
        match last {
            Some(last) if last > from && last <= end => from = last,
            _ => return Ok(newest),
        }
    }
}
