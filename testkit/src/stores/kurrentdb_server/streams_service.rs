//! Appending and reading.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ::uuid::Uuid;
use amoiq_kurrentdb_protocol::{
    Empty, StreamIdentifier, Uuid as WireUuid,
    streams::{
        AppendReq, AppendResp, BatchAppendReq, BatchAppendResp, DeleteReq, DeleteResp, ReadReq, ReadResp,
        TombstoneReq, TombstoneResp, append_req, append_resp, read_resp, streams_server::Streams,
    },
    uuid,
};
use futures_core::Stream;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap};

use super::{
    node_state::NodeState,
    read_plan::ReadPlan,
    server_faults::AppendFault,
    server_log::{AppendRefusal, AppendedRecords, ExpectedRevision, LoggedRecord, ProposedRecord},
};

/// Answers of a read.
pub(super) type ReadAnswers = Pin<Box<dyn Stream<Item = Result<ReadResp, Status>> + Send>>;

/// How many answers of a read wait for the reader.
const WAITING_ANSWERS: usize = 64;

#[tonic::async_trait]
impl Streams for NodeState {
    type ReadStream = ReadAnswers;
    type BatchAppendStream = Pin<Box<dyn Stream<Item = Result<BatchAppendResp, Status>> + Send>>;

    async fn read(&self, request: Request<ReadReq>) -> Result<Response<ReadAnswers>, Status> {
        self.delay().await;
        if request.metadata().get("requires-leader").is_some() {
            self.check_leader()?;
        }
        let plan = ReadPlan::parse(request.into_inner())?;
        let (answers, waiting) = mpsc::channel(WAITING_ANSWERS);
        let node = self.clone();
        tokio::spawn(async move {
            if let Err(status) = plan.answer(&node, &answers).await {
                // Whoever read may have gone.
                drop(answers.send(Err(status)).await);
            }
        });
        Ok(Response::new(Box::pin(ReceivedAnswers(waiting))))
    }

    async fn append(&self, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
        self.delay().await;
        self.check_leader()?;
        let mut parts = request.into_inner();
        let Some(AppendReq { content: Some(append_req::Content::Options(options)) }) =
            parts.message().await?
        else {
            return Err(Status::unknown("an append begins with its options"));
        };
        let (stream, expected) = expectation(options)?;
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(part) = parts.message().await? {
            let Some(append_req::Content::ProposedMessage(message)) = part.content else {
                return Err(Status::unknown("an append goes on with its events"));
            };
            let record = proposed(message)?;
            bytes += record.data.len() + record.custom_metadata.len() + 2 * record.metadata["type"].len();
            records.push(record);
        }
        let max = self.cluster.max_append_bytes.load(Ordering::SeqCst);
        if bytes > max {
            return Err(exception(
                Code::InvalidArgument,
                &format!("Maximum Append Size of {max} Exceeded."),
                "maximum-append-size-exceeded",
            ));
        }
        self.carry_out(&stream, expected, records).await
    }

    async fn delete(&self, _request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Status> {
        Err(Status::unimplemented("tests remove streams through the server's own interface"))
    }

    async fn tombstone(&self, _request: Request<TombstoneReq>) -> Result<Response<TombstoneResp>, Status> {
        Err(Status::unimplemented("tests remove streams through the server's own interface"))
    }

    async fn batch_append(
        &self,
        _request: Request<Streaming<BatchAppendReq>>,
    ) -> Result<Response<Self::BatchAppendStream>, Status> {
        Err(Status::unimplemented("batches are not used"))
    }
}

/// The answers that a task makes.
struct ReceivedAnswers(mpsc::Receiver<Result<ReadResp, Status>>);

impl Stream for ReceivedAnswers {
    type Item = Result<ReadResp, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

impl NodeState {
    pub(super) async fn delay(&self) {
        let delay = self.cluster.faults.lock().expect("nobody panics with it").delay;
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
    }

    fn check_leader(&self) -> Result<(), Status> {
        if self.cluster.is_leader(self.number) { Ok(()) } else { Err(self.not_leader(true)) }
    }

    fn not_leader(&self, has_address: bool) -> Status {
        let mut status = exception(Code::NotFound, "Leader info available", "not-leader");
        if has_address {
            let leader = self.cluster.leader.load(Ordering::SeqCst);
            let port = self.cluster.ports[leader].to_string();
            let headers = status.metadata_mut();
            headers.insert("leader-endpoint-host", "127.0.0.1".parse().expect("ASCII"));
            headers.insert("leader-endpoint-port", port.parse().expect("ASCII"));
        }
        status
    }

    async fn carry_out(
        &self,
        stream: &str,
        expected: ExpectedRevision,
        records: Vec<ProposedRecord>,
    ) -> Result<Response<AppendResp>, Status> {
        let fault = {
            let mut faults = self.cluster.faults.lock().expect("nobody panics with it");
            if stream.starts_with("$$") { faults.metadata.pop_front() } else { faults.appends.pop_front() }
        };
        let is_written = !matches!(
            fault,
            Some(
                AppendFault::NotLeader
                    | AppendFault::NotLeaderWithoutAddress
                    | AppendFault::NoLeader
                    | AppendFault::Aborted { is_written: false }
                    | AppendFault::DeadlineExceeded { is_written: false }
                    | AppendFault::Disconnected { is_written: false }
            )
        );
        let answer = is_written.then(|| {
            let appended = self.cluster.log().append(stream, expected, records);
            self.cluster.grew();
            appended
        });
        match fault {
            None => {}
            Some(AppendFault::NotLeader) => return Err(self.not_leader(true)),
            Some(AppendFault::NotLeaderWithoutAddress) => return Err(self.not_leader(false)),
            Some(AppendFault::NoLeader) => {
                return Err(Status::unknown("No leader info available in response"));
            }
            Some(AppendFault::Aborted { .. }) => {
                return Err(Status::aborted("Operation timed out: Prepare phase timeout"));
            }
            Some(AppendFault::DeadlineExceeded { .. }) => {
                return Err(Status::deadline_exceeded("Deadline Exceeded"));
            }
            Some(AppendFault::Disconnected { .. }) => self.switch.send_modify(|switch| switch.cuts += 1),
            Some(AppendFault::Unanswered) => std::future::pending().await,
            Some(AppendFault::EmptyAnswer) => return Ok(Response::new(AppendResp { result: None })),
            Some(AppendFault::NoPosition) => {
                let appended = answer.expect("it is written");
                return told(
                    appended.map(|appended| AppendedRecords { position: None, ..appended }),
                    stream,
                    expected,
                );
            }
        }
        told(answer.unwrap_or(Err(AppendRefusal::Tombstone)), stream, expected)
    }
}

/// The answer to an append.
fn told(
    answer: Result<AppendedRecords, AppendRefusal>,
    stream: &str,
    expected: ExpectedRevision,
) -> Result<Response<AppendResp>, Status> {
    use append_resp::{
        Position, Success, WrongExpectedVersion,
        success::{CurrentRevisionOption, PositionOption},
        wrong_expected_version::{CurrentRevisionOption as Current, ExpectedRevisionOption as Expected},
    };
    let result = match answer {
        Ok(AppendedRecords { revision, position }) => append_resp::Result::Success(Success {
            current_revision_option: Some(CurrentRevisionOption::CurrentRevision(revision)),
            position_option: Some(position.map_or(PositionOption::NoPosition(Empty {}), |position| {
                PositionOption::Position(Position { commit_position: position, prepare_position: position })
            })),
        }),
        Err(AppendRefusal::Tombstone) => {
            return Err(exception(
                Code::FailedPrecondition,
                &format!("Event stream '{stream}' is deleted."),
                "stream-deleted",
            ));
        }
        Err(AppendRefusal::WrongRevision { current }) => {
            append_resp::Result::WrongExpectedVersion(WrongExpectedVersion {
                current_revision_option: Some(
                    current.map_or(Current::CurrentNoStream(Empty {}), Current::CurrentRevision),
                ),
                expected_revision_option: Some(match expected {
                    ExpectedRevision::Any => Expected::ExpectedAny(Empty {}),
                    ExpectedRevision::StreamExists => Expected::ExpectedStreamExists(Empty {}),
                    ExpectedRevision::NoStream => Expected::ExpectedNoStream(Empty {}),
                    ExpectedRevision::Exact(revision) => Expected::ExpectedRevision(revision),
                }),
                ..WrongExpectedVersion::default()
            })
        }
    };
    Ok(Response::new(AppendResp { result: Some(result) }))
}

fn expectation(options: append_req::Options) -> Result<(String, ExpectedRevision), Status> {
    use append_req::options::ExpectedStreamRevision as Wire;
    let expected = match options.expected_stream_revision {
        Some(Wire::Revision(revision)) => ExpectedRevision::Exact(revision),
        Some(Wire::NoStream(_)) => ExpectedRevision::NoStream,
        Some(Wire::Any(_)) => ExpectedRevision::Any,
        Some(Wire::StreamExists(_)) => ExpectedRevision::StreamExists,
        None => return Err(Status::unknown("an append expects something")),
    };
    let name = options.stream_identifier.unwrap_or_default().stream_name;
    Ok((String::from_utf8_lossy(&name).into_owned(), expected))
}

fn proposed(message: append_req::ProposedMessage) -> Result<ProposedRecord, Status> {
    for required in ["type", "content-type"] {
        if !message.metadata.contains_key(required) {
            return Err(Status::invalid_argument(format!(
                "Required Metadata Property '{required}' is missing"
            )));
        }
    }
    let id = match message.id.and_then(|id| id.value) {
        Some(uuid::Value::Structured(id)) => Uuid::from_u64_pair(
            id.most_significant_bits.cast_unsigned(),
            id.least_significant_bits.cast_unsigned(),
        ),
        Some(uuid::Value::String(text)) => {
            Uuid::parse_str(&text).map_err(|_not_one| Status::invalid_argument("no id"))?
        }
        None => return Err(Status::invalid_argument("no id")),
    };
    Ok(ProposedRecord {
        id,
        metadata: message.metadata,
        custom_metadata: message.custom_metadata.to_vec(),
        data: message.data.to_vec(),
    })
}

/// A record as an answer.
pub(super) fn answer(record: &Arc<LoggedRecord>) -> ReadResp {
    let (most, least) = record.id.as_u64_pair();
    let id = uuid::Structured {
        most_significant_bits: most.cast_signed(),
        least_significant_bits: least.cast_signed(),
    };
    let event = read_resp::read_event::RecordedEvent {
        id: Some(WireUuid { value: Some(uuid::Value::Structured(id)) }),
        stream_identifier: Some(StreamIdentifier { stream_name: record.stream.clone().into_bytes().into() }),
        stream_revision: record.revision,
        prepare_position: record.position,
        commit_position: record.position,
        metadata: record.metadata.clone(),
        custom_metadata: record.custom_metadata.clone().into(),
        data: record.data.clone().into(),
    };
    ReadResp {
        content: Some(read_resp::Content::Event(read_resp::ReadEvent {
            event: Some(event),
            link: None,
            position: Some(read_resp::read_event::Position::CommitPosition(record.position)),
        })),
    }
}

/// An error as the server tells it.
pub(super) fn exception(code: Code, text: &str, name: &str) -> Status {
    let mut headers = MetadataMap::new();
    headers.insert("exception", name.parse().expect("ASCII"));
    Status::with_metadata(code, text, headers)
}
