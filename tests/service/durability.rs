//! Nothing that was acknowledged is lost, and nothing is there twice: 32 connections write, the program
//! is killed at any moment, started again on the same directory, and everything is read back.
//!
//! A round leaves up to one message of each connection without an answer. The connection sends it again
//! in the next round, as a client does, and it counts as one message.
//!
//! `AMOIQ_CRASH_ROUNDS` makes more rounds than 10; `AMOIQ_CRASH_SEED` repeats the choices of a run.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use amoiq_events::{Ambient, ambient::SeededEntropy};
use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, WIDGET_KEY, eventually, http_client};
use serde_json::{Value, json};

mod failover;
mod faults;
mod files;
#[cfg(feature = "kurrentdb")]
mod kurrent_log;
#[cfg(feature = "kurrentdb")]
mod kurrent_move;
#[cfg(feature = "kurrentdb")]
mod kurrent_nodes;
mod power;

const CONNECTIONS: usize = 32;

/// Sessions that all connections write to.
const SHARED: u64 = 4;

/// After how many rounds other sessions are used, and after how many rounds of a long run everything is read: other rounds
/// read only the sessions that were used since.
const ROUNDS_OF_SESSIONS: u64 = 10;

/// The most messages that are acknowledged before the program is killed.
const MOST_ACKNOWLEDGED: u64 = 1_200;

/// A message as its client knows it.
struct Message {
    session: String,
    text: String,
    /// From the answer; `None` while there is none.
    id: Option<String>,
}

/// One client and all that it sent, in order. Only the last message can be without an answer.
struct Connection {
    number: usize,
    dice: SeededEntropy,
    sent: Vec<Message>,
}

impl Connection {
    /// Sends one message after the other until the program is gone.
    fn write(&mut self, address: &str, group: u64, acknowledged: &AtomicUsize) {
        let client = http_client();
        loop {
            if self.sent.last().is_none_or(|last| last.id.is_some()) {
                self.sent.push(self.next(group));
            }
            let message = self.sent.last_mut().expect("just made");
            let (session, text) = (&message.session, &message.text);
            let body = json!({"sessionId": session, "text": text, "clientMessageId": text.replace(' ', "-")});
            let sending =
                client.post(format!("{address}/webchat/message")).bearer_auth(WIDGET_KEY).json(&body);
            let Ok(response) = sending.send() else { return };
            let status = response.status();
            let Ok(answer) = response.json::<Value>() else { return };
            if answer["code"] == "STORE_UNAVAILABLE" {
                // The disk took longer than the service waits, so the outcome is unknown and it is sent again.
                continue;
            }
            assert_eq!(status, 200, "{answer}");
            message.id = Some(answer["messageId"].as_str().expect("an id").to_owned());
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// To a session of its own, to one that others write to as well, or to a new one.
    fn next(&self, group: u64) -> Message {
        let (number, count) = (self.number, self.sent.len());
        let session = match self.dice.next() % 32 {
            0 => format!("once-session-{number}-{count}"),
            1..=12 => format!("shared-session-{group}-{}", self.dice.next() % SHARED),
            _ => format!("own-session-{group}-{number}"),
        };
        Message { session, text: format!("connection {number} message {count}"), id: None }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_program_is_killed() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let rounds = number("AMOIQ_CRASH_ROUNDS").unwrap_or(10);
    let seed = number("AMOIQ_CRASH_SEED")
        .unwrap_or_else(|| u64::from_le_bytes(Ambient::system().bytes()) % 1_000_000);
    eprintln!("AMOIQ_CRASH_SEED={seed} AMOIQ_CRASH_ROUNDS={rounds}");
    let dice = SeededEntropy::new(seed);
    let connection = |number| {
        let dice = SeededEntropy::new(dice.next());
        Connection { number, dice, sent: Vec::new() }
    };
    let mut connections: Vec<_> = (0..CONNECTIONS).map(connection).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let start = || AppLauncher::new().data(directory.path()).start();
    let mut app = start();
    for round in 0..rounds {
        let group = round / ROUNDS_OF_SESSIONS;
        let acknowledged = write_and_kill(&mut app, &mut connections, group, &dice);
        app = start();
        let is_last_of_group = round % ROUNDS_OF_SESSIONS == ROUNDS_OF_SESSIONS - 1;
        let everything = rounds <= 20 || is_last_of_group || round + 1 == rounds;
        let messages = check(&app, &connections, |session| {
            everything || session.contains(&format!("-session-{group}-"))
        });
        assert!(!app.printed(&["the log lost its end"]), "a false alarm");
        eprintln!("round {round}: {acknowledged} acknowledged, {messages} read");
    }
}

/// Lets all connections write and kills the program meanwhile. Returns how much was acknowledged.
fn write_and_kill(
    app: &mut TestApp,
    connections: &mut [Connection],
    group: u64,
    dice: &SeededEntropy,
) -> usize {
    let wanted = usize::try_from(dice.next() % MOST_ACKNOWLEDGED).expect("fits");
    let moment = Duration::from_micros(dice.next() % 10_000);
    let acknowledged = AtomicUsize::new(0);
    let address = app.address().to_owned();
    std::thread::scope(|scope| {
        for connection in connections {
            scope.spawn(|| connection.write(&address, group, &acknowledged));
        }
        eventually("messages are acknowledged", || acknowledged.load(Ordering::Relaxed) >= wanted);
        // Not right after an answer, but at any time between two.
        std::thread::sleep(moment);
        app.kill();
    });
    acknowledged.into_inner()
}

/// Compares the histories with what the connections know. Returns how many messages there are.
fn check(app: &TestApp, connections: &[Connection], is_read: impl Fn(&str) -> bool) -> usize {
    let mut expected: BTreeMap<&str, Vec<Vec<&Message>>> = BTreeMap::new();
    for connection in connections {
        let mut own: HashMap<&str, Vec<&Message>> = HashMap::new();
        for message in connection.sent.iter().filter(|message| is_read(&message.session)) {
            own.entry(&message.session).or_default().push(message);
        }
        own.into_iter().for_each(|(session, messages)| expected.entry(session).or_default().push(messages));
    }
    let found = expected.iter().map(|(session, by_connection)| {
        let history = history(app, session);
        check_session(session, &history, by_connection);
        history.len()
    });
    found.sum()
}

fn check_session(session: &str, history: &[Value], by_connection: &[Vec<&Message>]) {
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (place, message) in history.iter().enumerate() {
        assert_eq!(message["seq"], place + 1, "{session}: a gap");
        let text = message["text"].as_str().expect("a text");
        assert_eq!(places.insert(text, place), None, "{session}: {text} is there twice");
    }
    let ids: std::collections::HashSet<_> = history.iter().map(|message| message["id"].as_str()).collect();
    assert_eq!(ids.len(), history.len(), "{session}: an id is there twice");
    let mut known = 0;
    for messages in by_connection {
        let mut last = None;
        for message in messages {
            let text = &message.text;
            let Some(place) = places.get(text.as_str()) else {
                assert_eq!(message.id, None, "{session}: {text} was acknowledged and is lost");
                continue;
            };
            if let Some(id) = &message.id {
                assert_eq!(history[*place]["id"], **id, "{session}: {text} has another id");
            }
            assert!(last < Some(place), "{session}: {text} is out of order");
            last = Some(place);
            known += 1;
        }
    }
    assert_eq!(known, history.len(), "{session}: a message that nobody sent");
}

/// A session's whole history, page by page from its end. `None` when there is no such session.
pub fn history(app: &TestApp, session: &str) -> Vec<Value> {
    let mut pages = Vec::new();
    let mut before = String::new();
    loop {
        let path = format!("/api/chat/messages?sessionId={session}&limit=500{before}");
        let answer = app.get(SECRET_KEY, &path);
        if answer.error() == (404, "SESSION_NOT_FOUND") {
            return Vec::new();
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.body["messages"].as_array().expect("a list").clone();
        before = format!("&before={}", page.first().map_or(&Value::Null, |message| &message["seq"]));
        pages.push(page);
        if answer.body["hasMore"] == false {
            return pages.into_iter().rev().flatten().collect();
        }
    }
}
