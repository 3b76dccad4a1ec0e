//! A session directory under test, and helpers to send, read and compare.

use std::{future::Future, sync::Arc, time::Duration};

use amoiq_actors::sessions::{
    DirectorySettings, MessagePage, PageLimit, PageQuery, PageWindow, ProvenUsers, SentMessage,
    SessionAccess, SessionDirectory, SessionError, SessionSettings,
};
use amoiq_actors::timing::NodeDuty;
use amoiq_events::{
    Ambient, ClientMessageId, ConversationId, Event, EventLog, MessageId, MessageText, NewEvent, SessionId,
    TenantId, Timestamp,
    ambient::{ManualClock, SeededEntropy},
    cluster::{NodeDescription, SingleNode},
    codec,
    event::EventCause,
    session::{
        self, ConversationCloseReason, MessageCreated, MessageSender, SendMessage, SessionCaller,
        SessionEvent,
    },
};
use amoiq_testkit::stores::ScriptedStore;
use tokio::{runtime, task::LocalSet};

/// How long anything may take before a test gives up on it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A directory over a scripted store.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) store: ScriptedStore,
    pub(crate) directory: SessionDirectory,
    pub(crate) ambient: Ambient,
    pub(crate) clock: Arc<ManualClock>,
}

/// Runs a test on one thread, with a clock that jumps to the next timer.
pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test)
}

/// Runs a test on one thread, with the real clock that a database's threads need.
pub(crate) fn in_real_time<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test)
}

impl Given {
    pub(crate) fn new() -> Self {
        Self::with(1_000, Duration::from_secs(3_600))
    }

    pub(crate) fn with(max_sessions: usize, passivate_after: Duration) -> Self {
        Self::with_memory(max_sessions, 256 * 1024 * 1024, passivate_after)
    }

    /// With a limit of the memory that all sessions take together.
    pub(crate) fn with_memory(
        max_sessions: usize,
        max_memory_bytes: usize,
        passivate_after: Duration,
    ) -> Self {
        let settings = settings(max_sessions, max_memory_bytes, passivate_after);
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_705_314_600_000)));
        let ambient = Ambient::new(Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(1)));
        let store = ScriptedStore::new();
        let directory =
            SessionDirectory::start_here(settings, &store.shared(), &ambient, &ProvenUsers::default());
        Self { store, directory, ambient, clock }
    }

    /// Two nodes on one log, with one clock.
    pub(crate) fn two_nodes() -> [Self; 2] {
        let settings = settings(1_000, 256 * 1024 * 1024, Duration::from_secs(3_600));
        let given = Self::new();
        ScriptedStore::nodes::<2>().map(|store| {
            let proven = ProvenUsers::default();
            let directory = SessionDirectory::start_here(settings, &store.shared(), &given.ambient, &proven);
            Self { store, directory, ..given.clone() }
        })
    }

    /// A duty that no other node has.
    pub(crate) fn duty(&self) -> NodeDuty {
        let node = SingleNode::new(NodeDescription::named("single"), self.store.epoch(), &self.ambient);
        NodeDuty::new(Arc::new(node), "test")
    }

    /// Another directory on the same log, with no session in memory.
    pub(crate) fn restarted(&self) -> Self {
        let fresh = Self::with(1_000, Duration::from_secs(3_600));
        let settings = settings(1_000, 256 * 1024 * 1024, Duration::from_secs(3_600));
        let directory = SessionDirectory::start_here(
            settings,
            &self.store.shared(),
            &fresh.ambient,
            &ProvenUsers::default(),
        );
        Self { directory, ..self.clone() }
    }

    /// Sends a message under a client id, or without one if it is empty.
    pub(crate) async fn send(
        &self,
        session: &str,
        client_id: &str,
        text: &str,
    ) -> Result<SentMessage, SessionError> {
        let message = message(self.ambient.message_id(), client_id, text);
        self.directory.send(&tenant(), &id(session), message, cause()).await
    }

    /// Sends a message that is stored.
    pub(crate) async fn say(&self, session: &str, text: &str) -> MessageId {
        match self.send(session, "", text).await.expect("it is stored") {
            SentMessage::Stored(message) => message.id,
            SentMessage::Duplicate(first) => panic!("it was there before, as {first}"),
        }
    }

    pub(crate) async fn close(&self, session: &str) {
        let closed =
            self.directory.close(&tenant(), &id(session), ConversationCloseReason::Agent, cause()).await;
        closed.expect("it is closed");
    }

    pub(crate) async fn page(&self, session: &str, window: PageWindow, limit: u32) -> MessagePage {
        self.page_within(session, window, PageLimit::messages(limit)).await
    }

    pub(crate) async fn page_within(
        &self,
        session: &str,
        window: PageWindow,
        limit: PageLimit,
    ) -> MessagePage {
        let query = PageQuery { caller: SessionCaller::Staff, window, limit };
        let read = self.directory.read(&tenant(), &id(session), query).await;
        let (access, page) = read.expect("it can be read");
        assert_ne!(access, SessionAccess::Denied);
        page
    }

    /// The newest messages' texts.
    pub(crate) async fn texts(&self, session: &str) -> Vec<String> {
        let page = self.page(session, PageWindow::Newest, 10_000).await;
        page.messages.iter().map(|message| message.text.as_str().to_owned()).collect()
    }

    /// The messages of the log.
    pub(crate) async fn stored(&self) -> Vec<MessageCreated> {
        let decode = |recorded| match codec::decode(&recorded).expect("an event") {
            Event::Session(SessionEvent::MessageCreated(created)) => Some(created),
            _ => None,
        };
        self.store.log().await.into_iter().filter_map(decode).collect()
    }

    /// What another node appends: the message `seq` of a session that is open.
    pub(crate) fn others_message(&self, seq: u32, client_id: &str) -> (MessageId, Vec<NewEvent>) {
        let created = MessageCreated {
            message_id: self.ambient.message_id(),
            seq,
            text: MessageText::parse("from elsewhere", 100).expect("a text"),
            sender: MessageSender::User,
            author: None,
            user_id: None,
            verified: None,
            claimed_user_id: None,
            sender_name: None,
            client_message_id: ClientMessageId::parse(client_id).ok(),
            client_timestamp: None,
            page: None,
            conversation_id: None,
        };
        let id = created.message_id;
        let event = Event::Session(SessionEvent::MessageCreated(created));
        (id, vec![event.envelope(&self.ambient, &cause())])
    }
}

fn settings(max_sessions: usize, max_memory_bytes: usize, passivate_after: Duration) -> DirectorySettings {
    let session = SessionSettings { max_events: 50_000 };
    DirectorySettings { arbiters: 1, max_sessions, max_memory_bytes, passivate_after, session }
}

pub(crate) fn message(message_id: MessageId, client_id: &str, text: &str) -> SendMessage {
    SendMessage {
        message_id,
        caller: SessionCaller::Anonymous,
        sender: MessageSender::User,
        author: None,
        text: MessageText::parse(text, 100_000).expect("a text"),
        sender_name: None,
        client_message_id: ClientMessageId::parse(client_id).ok(),
        client_timestamp: None,
        user_id: None,
        is_taken: false,
        user_info: None,
        fingerprint: None,
        page: session::VisitedPage::default(),
        conversation_id: ConversationId::from_bytes(*message_id.as_bytes()),
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").expect("an id")
}

pub(crate) fn id(session: &str) -> SessionId {
    SessionId::parse(session).expect("an id")
}

pub(crate) fn cause() -> EventCause {
    EventCause { causation: "request".into(), actor: "test".into() }
}
