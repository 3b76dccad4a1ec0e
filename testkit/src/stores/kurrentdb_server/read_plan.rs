//! What a read asks for, and how it is answered.

use std::sync::Arc;

use amoiq_kurrentdb_protocol::{
    StreamIdentifier,
    streams::{
        ReadReq, ReadResp,
        read_req::options::{
            self, CountOption, FilterOption, StreamOption, all_options::AllOption, filter_options::Filter,
            stream_options::RevisionOption,
        },
        read_resp::{self, Content},
    },
};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::{
    node_state::NodeState,
    server_faults::SubscriptionEnd,
    server_log::{LoggedRecord, ReadRefusal},
    streams_service::{answer, exception},
};

/// How many records a subscription reads at once.
const BATCH: usize = 200;

type Answers = mpsc::Sender<Result<ReadResp, Status>>;

/// What is wanted.
pub(super) enum ReadPlan {
    Stream { name: String, from: Option<u64>, is_backward: bool, count: usize },
    All { from: Option<u64>, prefixes: Vec<String>, count: usize },
    Subscription { after: Option<u64>, prefixes: Vec<String> },
}

impl ReadPlan {
    pub(super) fn parse(request: ReadReq) -> Result<Self, Status> {
        let wanted = request.options.unwrap_or_default();
        let is_backward = wanted.read_direction() == options::ReadDirection::Backwards;
        let combination = || Status::invalid_argument("The combination is invalid.");
        let count = match wanted.count_option {
            Some(CountOption::Count(count)) => Some(usize::try_from(count).unwrap_or(usize::MAX)),
            Some(CountOption::Subscription(_)) => None,
            None => return Err(combination()),
        };
        match (wanted.stream_option, wanted.filter_option, count) {
            (Some(StreamOption::Stream(stream)), Some(FilterOption::NoFilter(_)), Some(count)) => {
                let name = stream.stream_identifier.unwrap_or_default().stream_name;
                let from = match stream.revision_option {
                    Some(RevisionOption::Revision(revision)) => Some(revision),
                    Some(RevisionOption::Start(_)) => Some(0),
                    Some(RevisionOption::End(_)) => None,
                    None => return Err(combination()),
                };
                let name = String::from_utf8_lossy(&name).into_owned();
                Ok(Self::Stream { name, from, is_backward, count })
            }
            (Some(StreamOption::All(all)), Some(FilterOption::Filter(filter)), count) if !is_backward => {
                let from = match all.all_option {
                    Some(AllOption::Position(position)) => Some(position.commit_position),
                    Some(AllOption::Start(_)) => None,
                    _ => return Err(combination()),
                };
                let prefixes = match (filter.filter, filter.window) {
                    (Some(Filter::StreamIdentifier(expression)), Some(_)) => expression.prefix,
                    _ => return Err(combination()),
                };
                Ok(match count {
                    Some(count) => Self::All { from, prefixes, count },
                    None => Self::Subscription { after: from, prefixes },
                })
            }
            _ => Err(combination()),
        }
    }

    /// Answers until everything is told, or the reader is gone.
    pub(super) async fn answer(self, node: &NodeState, answers: &Answers) -> Result<(), Status> {
        match self {
            Self::Stream { name, from, is_backward, count } => {
                let records = match node.cluster.log().stream(&name, node.number) {
                    Ok(records) => Ok(page(records, from, is_backward, count)),
                    Err(refusal) => Err(refusal),
                };
                match records {
                    Ok(records) => send_all(&records, answers).await,
                    Err(ReadRefusal::NoStream) => {
                        let name = StreamIdentifier { stream_name: name.into_bytes().into() };
                        let absent = read_resp::StreamNotFound { stream_identifier: Some(name) };
                        send(Content::StreamNotFound(absent), answers).await
                    }
                    Err(refused) => Err(refusal(refused)),
                }
            }
            Self::All { from, prefixes, count } => {
                let records: Vec<_> = {
                    let log = node.cluster.log();
                    let number = from.map_or(Ok(0), |from| log.number_at(from)).map_err(refusal)?;
                    let wanted =
                        log.records_from(number, node.number).filter(|record| is_wanted(record, &prefixes));
                    wanted.take(count).cloned().collect()
                };
                send_all(&records, answers).await
            }
            Self::Subscription { after, prefixes } => subscribe(node, after, &prefixes, answers).await,
        }
    }
}

/// Part of a stream.
fn page(
    records: Vec<Arc<LoggedRecord>>,
    from: Option<u64>,
    is_backward: bool,
    count: usize,
) -> Vec<Arc<LoggedRecord>> {
    if is_backward {
        let until = from.unwrap_or(u64::MAX);
        // The server looks at so many revisions, whether there are events or not, and goes on below them.
        records.into_iter().rev().filter(|record| record.revision <= until).take(count).collect()
    } else {
        let from = from.unwrap_or(u64::MAX);
        records.into_iter().filter(|record| record.revision >= from).take(count).collect()
    }
}

async fn subscribe(
    node: &NodeState,
    after: Option<u64>,
    prefixes: &[String],
    answers: &Answers,
) -> Result<(), Status> {
    let cluster = &node.cluster;
    let (mut length, mut ended) = (cluster.length.subscribe(), cluster.ended.subscribe());
    ended.mark_unchanged();
    // The position itself is not among them; one beyond the end is taken as it is, and nothing comes before it.
    let mut number = match after {
        None => 0,
        Some(after) => {
            let log = cluster.log();
            let number = log.number_at(after).map_err(refusal)?;
            log.records_from(number, node.number)
                .next()
                .map_or(number, |record| number + usize::from(record.position == after))
        }
    };
    let confirmed = read_resp::SubscriptionConfirmation { subscription_id: "subscription".to_owned() };
    send(Content::Confirmation(confirmed), answers).await?;
    let mut is_caught_up = false;
    loop {
        length.mark_unchanged();
        let records: Vec<Arc<LoggedRecord>> = {
            let log = cluster.log();
            let records = log.numbered(number, BATCH);
            number = (number + BATCH).min(log.len()).max(number);
            records
        };
        let is_silent = cluster.faults.lock().expect("nobody panics with it").are_subscriptions_silent;
        let wanted = records.iter().filter(|record| record.is_on(node.number) && is_wanted(record, prefixes));
        for record in wanted.filter(|_| !is_silent) {
            send_answer(answer(record), answers).await?;
        }
        if number < cluster.log().len() {
            continue;
        }
        if !is_caught_up {
            is_caught_up = true;
            send(Content::CaughtUp(read_resp::CaughtUp::default()), answers).await?;
        }
        tokio::select! {
            changed = length.changed() => changed.map_err(|_ended| Status::cancelled("the server ends"))?,
            _ = ended.changed() => return match ended.borrow().1 {
                Some(SubscriptionEnd::Failed) => Err(Status::unknown("Unexpected SubscriptionDropReason: NotFound")),
                _ => Ok(()),
            },
            () = answers.closed() => return Ok(()),
        }
    }
}

fn is_wanted(record: &LoggedRecord, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| record.stream.starts_with(prefix))
}

async fn send_all(records: &[Arc<LoggedRecord>], answers: &Answers) -> Result<(), Status> {
    for record in records {
        send_answer(answer(record), answers).await?;
    }
    Ok(())
}

async fn send(content: Content, answers: &Answers) -> Result<(), Status> {
    send_answer(ReadResp { content: Some(content) }, answers).await
}

async fn send_answer(answer: ReadResp, answers: &Answers) -> Result<(), Status> {
    answers.send(Ok(answer)).await.map_err(|_gone| Status::cancelled("the reader has gone"))
}

/// What the server says of what cannot be read.
pub(super) fn refusal(refused: ReadRefusal) -> Status {
    match refused {
        ReadRefusal::NoStream => Status::not_found("no stream"),
        ReadRefusal::Tombstone => {
            exception(Code::FailedPrecondition, "the stream is deleted", "stream-deleted")
        }
        ReadRefusal::Position => Status::unknown("Unexpected FilteredReadAllResult: Error"),
    }
}
