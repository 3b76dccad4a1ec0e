//! The log of the server: what it takes, what it answers, and what it forgets, as the sources of EventStoreDB 23.10 have it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};
use uuid::Uuid;

/// What the cache of ids takes. An append that expects any revision is recognised only while its ids are in there.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// After so many records comes one of the server itself.
const STATISTICS_EVERY: usize = 7;

/// The revision before which a stream is truncated that was removed.
const SOFT_DELETED: u64 = i64::MAX as u64;

/// A record, as the log has it.
#[derive(Debug, Clone)]
pub(super) struct LoggedRecord {
    pub(super) position: u64,
    pub(super) stream: String,
    pub(super) revision: u64,
    pub(super) id: Uuid,
    pub(super) metadata: HashMap<String, String>,
    pub(super) custom_metadata: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// The nodes, by number, from whose files a scavenge has taken it.
    scavenged_by: u64,
}

/// A record that somebody wants to append.
#[derive(Debug, Clone)]
pub(super) struct ProposedRecord {
    pub(super) id: Uuid,
    pub(super) metadata: HashMap<String, String>,
    pub(super) custom_metadata: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// What an append expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedRevision {
    Any,
    StreamExists,
    NoStream,
    Exact(u64),
}

/// What becomes of an append that is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AppendedRecords {
    pub(super) revision: u64,
    /// Not known for a repeat whose events are removed.
    pub(super) position: Option<u64>,
}

/// Why one is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AppendRefusal {
    WrongRevision { current: Option<u64> },
    Tombstone,
}

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadRefusal {
    NoStream,
    Tombstone,
    /// No record begins there.
    Position,
}

/// A stream of the log.
#[derive(Debug, Clone, Default)]
struct LoggedStream {
    /// The numbers of its records, by revision.
    records: Vec<usize>,
    truncate_before: u64,
    is_tombstone: bool,
}

/// Everything that the server keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerLog {
    records: Vec<Arc<LoggedRecord>>,
    streams: HashMap<String, LoggedStream>,
    /// Where the next record begins.
    end: u64,
    cache: HashMap<Uuid, (String, u64)>,
    cache_order: VecDeque<(Uuid, usize)>,
    cache_bytes: usize,
}

impl LoggedRecord {
    /// Whether a node still has it.
    pub(super) fn is_on(&self, node: usize) -> bool {
        self.scavenged_by & (1 << node) == 0
    }
}

impl ServerLog {
    /// A new one, with the records that a server writes when it starts.
    pub(super) fn new() -> Self {
        let mut log = Self::default();
        log.write_own("$$$settings", "$metadata", &json!({"$acl": {"$r": "$admins"}}));
        log.write_own("$settings", "settings", &json!({}));
        log
    }

    /// Appends, if the stream is where it is expected.
    pub(super) fn append(
        &mut self,
        stream: &str,
        expected: ExpectedRevision,
        records: Vec<ProposedRecord>,
    ) -> Result<AppendedRecords, AppendRefusal> {
        if let Some(repeated) = self.check(stream, expected, &records)? {
            return Ok(repeated);
        }
        if self.is_soft_deleted(stream) {
            // The stream begins again, where it ended.
            let next = self.streams.get(stream).map_or(0, |known| known.records.len());
            self.write_own(&format!("$${stream}"), "$metadata", &json!({ "$tb": next }));
        }
        let mut last = AppendedRecords { revision: 0, position: None };
        for record in records {
            last = self.write(stream, record);
        }
        Ok(last)
    }

    /// The first answer for a repeat; nothing for what is new.
    fn check(
        &self,
        stream: &str,
        expected: ExpectedRevision,
        records: &[ProposedRecord],
    ) -> Result<Option<AppendedRecords>, AppendRefusal> {
        let known = self.streams.get(stream);
        let count = known.map_or(0, |known| known.records.len() as u64);
        let current = count.checked_sub(1);
        if known.is_some_and(|known| known.is_tombstone) {
            return Err(AppendRefusal::Tombstone);
        }
        let wrong = Err(AppendRefusal::WrongRevision { current });
        let after = match expected {
            ExpectedRevision::Any | ExpectedRevision::StreamExists => {
                if expected == ExpectedRevision::StreamExists && count == 0 {
                    return wrong;
                }
                let cached = |record: &ProposedRecord| {
                    self.cache
                        .get(&record.id)
                        .filter(|(name, _)| name == stream)
                        .map(|(_, revision)| *revision)
                };
                let found: Vec<_> = records.iter().map(cached).collect();
                return match (found.first(), found.iter().copied().collect::<Option<Vec<u64>>>()) {
                    (Some(None) | None, _) => Ok(None),
                    (_, Some(revisions)) => Ok(revisions.last().map(|last| self.answer(stream, *last))),
                    _ => wrong,
                };
            }
            ExpectedRevision::NoStream => 0,
            ExpectedRevision::Exact(revision) => revision + 1,
        };
        if after == count {
            return Ok(None);
        }
        if after > count {
            return wrong;
        }
        for (number, record) in (after..).zip(records) {
            let is_cached = self
                .cache
                .get(&record.id)
                .is_some_and(|(name, revision)| name == stream && *revision == number);
            let stored = known.and_then(|known| known.records.get(usize::try_from(number).expect("small")));
            let is_stored = stored.is_some_and(|stored| {
                self.records[*stored].id == record.id && self.records[*stored].is_on(0)
            });
            if !is_cached && !is_stored {
                let may_begin = number == after && expected == ExpectedRevision::NoStream;
                return if may_begin && self.is_soft_deleted(stream) { Ok(None) } else { wrong };
            }
        }
        Ok(Some(self.answer(stream, after + records.len() as u64 - 1)))
    }

    /// What is told of records that are stored.
    fn answer(&self, stream: &str, revision: u64) -> AppendedRecords {
        let known = &self.streams[stream];
        let number = known.records[usize::try_from(revision).expect("small")];
        let is_kept = revision >= known.truncate_before;
        AppendedRecords { revision, position: is_kept.then(|| self.records[number].position) }
    }

    fn is_soft_deleted(&self, stream: &str) -> bool {
        self.streams.get(stream).is_some_and(|known| known.truncate_before == SOFT_DELETED)
    }

    /// Removes a stream: what comes after that begins it again, and goes on numbering.
    pub(super) fn soft_delete(&mut self, stream: &str) {
        self.write_own(&format!("$${stream}"), "$metadata", &json!({ "$tb": SOFT_DELETED }));
    }

    /// Removes a stream for good.
    pub(super) fn tombstone(&mut self, stream: &str) {
        self.write_own(stream, "$streamDeleted", &json!({}));
        self.streams.entry(stream.to_owned()).or_default().is_tombstone = true;
    }

    /// A record of the server itself.
    pub(super) fn write_own(&mut self, stream: &str, kind: &str, data: &Value) {
        let metadata = [("type", kind), ("content-type", "application/json")];
        let metadata = metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let record = ProposedRecord {
            id: Uuid::from_u128(u128::from(self.end) << 64 | u128::MAX >> 65),
            metadata,
            custom_metadata: Vec::new(),
            data: data.to_string().into_bytes(),
        };
        self.write(stream, record);
    }

    fn write(&mut self, stream: &str, record: ProposedRecord) -> AppendedRecords {
        let number = self.records.len();
        let known = self.streams.entry(stream.to_owned()).or_default();
        let (revision, position) = (known.records.len() as u64, self.end);
        known.records.push(number);
        let ProposedRecord { id, metadata, custom_metadata, data } = record;
        let bytes = custom_metadata.len() + data.len() + 2 * stream.len();
        self.end += 130 + bytes as u64 + position % 13;
        self.remember(id, stream, revision);
        if let Some(of) = stream.strip_prefix("$$") {
            let told: Value = serde_json::from_slice(&data).unwrap_or_default();
            self.streams.entry(of.to_owned()).or_default().truncate_before =
                told["$tb"].as_u64().unwrap_or(0);
        }
        let stream = stream.to_owned();
        let record =
            LoggedRecord { position, stream, revision, id, metadata, custom_metadata, data, scavenged_by: 0 };
        self.records.push(Arc::new(record));
        if number % STATISTICS_EVERY == STATISTICS_EVERY - 1 {
            self.write_own("$stats-127.0.0.1:2113", "$statsCollected", &json!({ "records": number }));
        }
        AppendedRecords { revision, position: Some(position) }
    }

    fn remember(&mut self, id: Uuid, stream: &str, revision: u64) {
        let bytes = 28 + 2 * stream.len();
        self.cache.insert(id, (stream.to_owned(), revision));
        self.cache_order.push_back((id, bytes));
        self.cache_bytes += bytes;
        while self.cache_bytes > CACHE_BYTES
            && let Some((oldest, bytes)) = self.cache_order.pop_front()
        {
            self.cache_bytes -= bytes;
            self.cache.remove(&oldest);
        }
    }

    /// Forgets what it keeps in memory alone, as a restart does.
    pub(super) fn forget_cache(&mut self) {
        (self.cache, self.cache_order, self.cache_bytes) = Default::default();
    }

    /// The records of a stream that are kept, by rising revision.
    pub(super) fn stream(&self, stream: &str, node: usize) -> Result<Vec<Arc<LoggedRecord>>, ReadRefusal> {
        let known = self.streams.get(stream).filter(|known| !known.records.is_empty());
        let known = known.ok_or(ReadRefusal::NoStream)?;
        if known.is_tombstone {
            return Err(ReadRefusal::Tombstone);
        }
        if known.truncate_before == SOFT_DELETED {
            return Err(ReadRefusal::NoStream);
        }
        let records = known.records.iter().map(|number| &self.records[*number]);
        Ok(records
            .filter(|record| record.revision >= known.truncate_before && record.is_on(node))
            .cloned()
            .collect())
    }

    /// The number of the first record at a position or after it, if one begins or began there.
    pub(super) fn number_at(&self, position: u64) -> Result<usize, ReadRefusal> {
        match self.records.binary_search_by_key(&position, |record| record.position) {
            Ok(number) => Ok(number),
            // Beyond the end nothing is read, and nobody is told.
            Err(number) if position >= self.end => Ok(number),
            Err(_) => Err(ReadRefusal::Position),
        }
    }

    /// The records from a number on that are on a node.
    pub(super) fn records_from(
        &self,
        number: usize,
        node: usize,
    ) -> impl Iterator<Item = &Arc<LoggedRecord>> {
        self.records.get(number..).unwrap_or_default().iter().filter(move |record| record.is_on(node))
    }

    /// So many records from a number on.
    pub(super) fn numbered(&self, number: usize, count: usize) -> Vec<Arc<LoggedRecord>> {
        self.records.iter().skip(number).take(count).cloned().collect()
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Takes what is removed out of the files of a node, but for the last record of each stream, and says so in a stream.
    pub(super) fn scavenge(&mut self, node: usize, scavenge: &str) {
        let name = format!("$scavenges-{scavenge}");
        self.write_own(&name, "$scavengeStarted", &json!({ "scavengeId": scavenge }));
        let streams: Vec<(String, LoggedStream)> =
            self.streams.iter().map(|(name, known)| (name.clone(), known.clone())).collect();
        for (name, known) in streams {
            let last = known.records.len().saturating_sub(1);
            // Only the newest metadata of a stream are kept.
            let first = if name.starts_with("$$") { last as u64 } else { known.truncate_before };
            for number in known.records.iter().take(last) {
                let record = &mut self.records[*number];
                if record.revision < first {
                    Arc::make_mut(record).scavenged_by |= 1 << node;
                }
            }
        }
        let told = json!({ "scavengeId": scavenge, "result": "Success", "timeTaken": "00:00:01" });
        self.write_own(&name, "$scavengeCompleted", &told);
    }
}
