//! Verification of a data directory whose log is in a database of its own.
//!
//! That database checks its pages itself. Here the log is read once, in the order of positions: each event has to be one that
//! this release decodes, and to follow the one before it in its stream. Then the databases in the directory are compared with
//! the log. Nothing is changed; what is appended meanwhile is not read.
//!
//! Memory does not grow with the log: beyond half a million streams, those that were read longest ago are followed no longer.

use std::{cell::RefCell, collections::HashMap, io};

use tokio::runtime::{Builder, Runtime};

use crate::{
    Position, RecordedEvent, StreamName, Version, codec,
    store::{
        Epoch, EventStore, LogReader, MAX_READ_EVENTS, ReadError,
        sqlite::{
            ProgressCallback, StoreFiles, WorkProgress,
            maintenance::{
                companion::{self, LogFacts},
                verification::{DefectKind, StoreVerification},
            },
        },
    },
};

/// How many streams are followed at the same time.
const FOLLOWED: usize = 500_000;

/// Why a log elsewhere could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum LogElsewhereError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The work could not be started.
    #[error(transparent)]
    Runtime(#[from] io::Error),
}

impl StoreFiles<'_> {
    /// Reads every event after a position, compares the databases in the directory with the log, and reports what does not
    /// fit. It blocks.
    ///
    /// # Errors
    /// When the log cannot be read. Damage is in the result.
    pub fn verify_beside(
        self,
        log: &dyn EventStore,
        from: Position,
        report: ProgressCallback<'_>,
    ) -> Result<StoreVerification, LogElsewhereError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let found = StoreVerification { from, verified_to: from, ..StoreVerification::default() };
        let mut check = ElsewhereCheck { log, versions: HashMap::new(), found };
        check.found.epoch = log.epoch().to_string();
        runtime.block_on(check.read_all(report))?;
        let facts = ElsewhereFacts { log, runtime, failure: RefCell::default() };
        let mut found = check.found;
        companion::check_files(self.path, self.companions, &facts, &mut found);
        if let Some(failure) = facts.failure.into_inner() {
            return Err(failure.into());
        }
        found.clean = found.problem_count() == 0;
        Ok(found)
    }
}

/// What was read of the log so far.
struct ElsewhereCheck<'a> {
    log: &'a dyn EventStore,
    /// The newest version of each stream.
    versions: HashMap<StreamName, Version>,
    found: StoreVerification,
}

impl ElsewhereCheck<'_> {
    async fn read_all(&mut self, report: ProgressCallback<'_>) -> Result<(), ReadError> {
        let (from, head) = (self.found.from, self.log.head());
        if from > head {
            let what = format!(
                "the log ends at {head}, before --from {from}: it lost its end, or this is another log"
            );
            self.found.defect(DefectKind::End, head, "", what);
        }
        let total = self.log.events_after(from);
        let mut events = LogReader::all(self.log, from).up_to(head);
        loop {
            match events.next_event().await {
                Ok(Some(event)) => self.check(&event),
                Ok(None) => break,
                Err(error) if error.is_damage() => {
                    self.found.defect(DefectKind::Envelope, self.found.verified_to, "", error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if self.found.events.is_multiple_of(MAX_READ_EVENTS as u64) {
                report(WorkProgress { what: "events", done: self.found.events, total });
            }
        }
        self.found.verified_to = head.max(from);
        self.count_streams().await
    }

    fn check(&mut self, event: &RecordedEvent) {
        let RecordedEvent { position, stream, version, .. } = event;
        self.found.events += 1;
        self.found.verified_to = *position;
        if let Err(error) = codec::decode(event) {
            self.found.defect(DefectKind::Codec, *position, stream.as_str(), error.to_string());
        }
        if self.versions.len() >= FOLLOWED {
            self.versions.clear();
        }
        // The start of a stream may have been removed.
        if let Some(before) = self.versions.insert(stream.clone(), *version)
            && before.plus(1) != *version
        {
            let what = format!("version {version} follows {before}");
            self.found.defect(DefectKind::Link, *position, stream.as_str(), what);
        }
    }

    async fn count_streams(&mut self) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let names = self.log.streams("", after, MAX_READ_EVENTS).await?;
            self.found.streams += names.len() as u64;
            match names.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(()),
            }
        }
    }
}

/// Asks the log, for the check of a database beside it.
struct ElsewhereFacts<'a> {
    log: &'a dyn EventStore,
    runtime: Runtime,
    /// Why it did not answer: that is no damage.
    failure: RefCell<Option<ReadError>>,
}

impl ElsewhereFacts<'_> {
    fn wait<T>(&self, answer: impl Future<Output = Result<T, ReadError>>) -> rusqlite::Result<T> {
        self.runtime.block_on(answer).map_err(|error| {
            let shown = error.to_string();
            self.failure.replace(Some(error));
            rusqlite::Error::ToSqlConversionFailure(shown.into())
        })
    }
}

impl LogFacts for ElsewhereFacts<'_> {
    fn epoch(&self) -> Option<Epoch> {
        Some(self.log.epoch())
    }

    fn head(&self) -> rusqlite::Result<Position> {
        Ok(self.log.head())
    }

    fn removed_up_to(&self) -> rusqlite::Result<Position> {
        Ok(self.log.head())
    }

    fn event_id_at(&self, position: Position) -> rusqlite::Result<Option<Vec<u8>>> {
        let event = self.wait(self.log.event_at(position))?;
        Ok(event.map(|event| event.event.id.as_uuid().as_bytes().to_vec()))
    }

    fn has_event(&self, stream: &StreamName, kind: &str, text: &str) -> rusqlite::Result<bool> {
        self.wait(async {
            let mut events = LogReader::stream(self.log, stream.clone(), Version::FIRST);
            while let Some(RecordedEvent { event, .. }) = events.next_event().await? {
                let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
                if event.kind == kind && holds(&event.data) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}
