//! The clients of a run: each does one thing after another. Over a crash it remembers requests whose outcome it does
//! not know, and repeats them under the same client id.

use std::rc::Rc;

use amoiq_actors::sessions::{PageLimit, PageQuery, PageWindow, SessionDirectory};
use amoiq_events::{
    ClientMessageId, MessageText, SessionId, ShortText, StreamName, TenantId, UserId,
    event::EventCause,
    session::{AgentAuthor, ConversationCloseReason, MessageSender, SendMessage, SessionCaller, VisitedPage},
};
use amoiq_testkit::stores::SeededDice;
use tokio::{task::spawn_local, time::sleep};

use crate::{judge, world::World};

/// How many things a client does.
const STEPS: u32 = 14;

/// A client's patience between two things, at most.
const PAUSE_MILLIS: u64 = 12;

const TENANTS: [&str; 2] = ["acme", "other"];

/// A message that a client wants to send, with any number of tries.
#[derive(Clone)]
pub(crate) struct Intent {
    pub(crate) tenant: TenantId,
    pub(crate) session: SessionId,
    pub(crate) caller: SessionCaller,
    pub(crate) client_id: Option<ClientMessageId>,
    pub(crate) text: MessageText,
    /// The agent who sends it, if one does.
    pub(crate) author: Option<AgentAuthor>,
    /// The user id that an anonymous caller claims.
    claims: Option<UserId>,
    fingerprint: Option<ShortText>,
}

/// What a client remembers.
pub(crate) struct Client {
    number: usize,
    left: u32,
    said: Vec<Intent>,
    /// Tried, and not confirmed.
    unsettled: Option<Intent>,
}

enum Step {
    Send(Intent),
    Close(TenantId, SessionId),
    Read(TenantId, SessionId),
}

impl Intent {
    /// A new message.
    pub(crate) fn new(world: &World, who: &str) -> Self {
        let dice = &world.dice;
        let (tenant, session) = some_session(dice, world.sessions);
        let caller = some_caller(dice);
        let number = dice.below(u64::MAX);
        let client_id = match dice.below(10) {
            0..5 => Some(format!("{who}-{number}")),
            // A client id that others use too.
            5..8 => Some(format!("shared-{}", dice.below(3))),
            _ => None,
        };
        let text = format!("{tenant}|{session}|{}|{who} {number}", name(&caller));
        Self {
            text: MessageText::parse(&text, 4_000).expect("a text"),
            client_id: client_id.map(|id| ClientMessageId::parse(&id).expect("an id")),
            author: (caller == SessionCaller::Staff).then(|| some_author(dice)).flatten(),
            claims: dice.one_in(4).then(|| user(dice)),
            fingerprint: dice.one_in(4).then(|| ShortText::cut(who)).flatten(),
            tenant,
            session,
            caller,
        }
    }

    pub(crate) fn stream(&self) -> StreamName {
        StreamName::session(&self.tenant, &self.session)
    }

    /// One try, as a message of its own.
    pub(crate) fn message(&self, world: &World) -> SendMessage {
        SendMessage {
            message_id: world.ambient.message_id(),
            caller: self.caller.clone(),
            sender: if self.caller == SessionCaller::Staff {
                MessageSender::Agent
            } else {
                MessageSender::User
            },
            author: self.author.clone(),
            text: self.text.clone(),
            sender_name: None,
            client_message_id: self.client_id.clone(),
            client_timestamp: None,
            user_id: self.claims.clone(),
            is_taken: false,
            user_info: None,
            fingerprint: self.fingerprint.clone(),
            page: VisitedPage::default(),
            conversation_id: world.ambient.event_id().into(),
        }
    }
}

impl Client {
    pub(crate) fn new(number: usize) -> Self {
        Self { number, left: STEPS, said: Vec::new(), unsettled: None }
    }

    fn next(&mut self, world: &World) -> Option<Step> {
        if let Some(intent) = &self.unsettled {
            return Some(Step::Send(intent.clone()));
        }
        self.left = self.left.checked_sub(1)?;
        let (tenant, session) = some_session(&world.dice, world.sessions);
        Some(match world.dice.below(10) {
            0 => Step::Close(tenant, session),
            1..4 => Step::Read(tenant, session),
            4 if !self.said.is_empty() => self.says(world.dice.pick(&self.said)),
            _ => self.says(Intent::new(world, &format!("c{}", self.number))),
        })
    }

    fn says(&mut self, intent: Intent) -> Step {
        // Without an id a second attempt could be a second message: it is tried once.
        self.unsettled = intent.client_id.is_some().then(|| intent.clone());
        Step::Send(intent)
    }
}

/// Runs a client until a crash or until it is done.
pub(crate) async fn live(world: Rc<World>, directory: SessionDirectory, number: usize) {
    while live_on(&world, &directory, number).await {}
}

/// Does one thing, on whatever node. Returns whether there was anything left to do.
pub(crate) async fn live_on(world: &Rc<World>, directory: &SessionDirectory, number: usize) -> bool {
    let client = world.clients.get(number).expect("the client");
    let step = client.borrow_mut().next(world);
    match step {
        Some(Step::Send(intent)) => {
            if send(world, directory, &intent).await {
                let mut client = client.borrow_mut();
                client.unsettled = None;
                client.said.push(intent);
            }
        }
        Some(Step::Close(tenant, session)) => close(world, directory, &tenant, &session).await,
        Some(Step::Read(tenant, session)) => {
            let (caller, limit) = (some_caller(&world.dice), world.dice.below(6));
            let limit = u32::try_from(limit).expect("a small number");
            let query = page_query(caller, some_window(&world.dice), limit);
            read(world, directory, &tenant, &session, query).await;
        }
        None => return false,
    }
    world.clock.advance_millis(i64::try_from(world.dice.below(50)).expect("a short time"));
    sleep(world.dice.millis_below(PAUSE_MILLIS)).await;
    true
}

/// Sends a message, sometimes several times at once. Returns whether the outcome is known.
async fn send(world: &Rc<World>, directory: &SessionDirectory, intent: &Intent) -> bool {
    let copies = if world.dice.one_in(6) { 2 + world.dice.below(40) } else { 1 };
    let attempt = |_| spawn_local(attempt(Rc::clone(world), directory.clone(), intent.clone()));
    let attempts: Vec<_> = (0..copies).map(attempt).collect();
    let mut is_settled = false;
    for attempt in attempts {
        is_settled |= attempt.await.expect("an attempt ends");
    }
    is_settled
}

async fn attempt(world: Rc<World>, directory: SessionDirectory, intent: Intent) -> bool {
    let message = intent.message(&world);
    let message_id = message.message_id;
    let since = judge::since(&world, &intent.stream());
    let answer = directory.send(&intent.tenant, &intent.session, message, cause()).await;
    judge::sent(&world, &intent, message_id, since, &answer)
}

async fn close(world: &World, directory: &SessionDirectory, tenant: &TenantId, session: &SessionId) {
    let stream = StreamName::session(tenant, session);
    let since = judge::since(world, &stream);
    let answer = directory.close(tenant, session, ConversationCloseReason::Agent, cause()).await;
    judge::closed(world, &stream, since, &answer);
}

async fn read(
    world: &World,
    directory: &SessionDirectory,
    tenant: &TenantId,
    session: &SessionId,
    query: PageQuery,
) -> Option<u32> {
    let stream = StreamName::session(tenant, session);
    let since = judge::since(world, &stream);
    let answer = directory.read(tenant, session, query.clone()).await;
    judge::read(world, &stream, since, &query, &answer);
    answer.ok().and_then(|(_, page)| page.messages.last().map(|message| message.seq))
}

fn page_query(caller: SessionCaller, window: PageWindow, messages: u32) -> PageQuery {
    PageQuery { caller, window, limit: PageLimit::messages(messages) }
}

/// Reads a session page by page, to its end.
pub(crate) async fn read_all(
    world: &World,
    directory: &SessionDirectory,
    tenant: &TenantId,
    session: &SessionId,
) {
    let mut after = 0;
    while let Some(last) =
        read(world, directory, tenant, session, page_query(SessionCaller::Staff, PageWindow::After(after), 7))
            .await
    {
        after = last;
    }
    let stream = StreamName::session(tenant, session);
    judge::read_to_end(world, &stream, after);
}

/// Every session that a run can have.
pub(crate) fn every_session(count: u64) -> impl Iterator<Item = (TenantId, SessionId)> {
    TENANTS.into_iter().flat_map(move |tenant| (0..count).map(move |number| named(tenant, number)))
}

fn some_session(dice: &SeededDice, count: u64) -> (TenantId, SessionId) {
    // The same names in every tenant, so that mixing up tenants shows.
    named(dice.pick(&TENANTS), dice.below(count))
}

fn named(tenant: &str, number: u64) -> (TenantId, SessionId) {
    let session = SessionId::parse(&format!("s{number}")).expect("an id");
    (TenantId::parse(tenant).expect("an id"), session)
}

fn some_caller(dice: &SeededDice) -> SessionCaller {
    match dice.below(10) {
        0..6 => SessionCaller::Anonymous,
        6..9 => SessionCaller::Staff,
        _ => SessionCaller::Verified(user(dice)),
    }
}

/// An agent. In old events the agent is not recorded.
fn some_author(dice: &SeededDice) -> Option<AgentAuthor> {
    let named = |author: fn(UserId) -> AgentAuthor| Some(author(user(dice)));
    match dice.below(4) {
        0 => named(AgentAuthor::Token),
        1 => named(AgentAuthor::Sender),
        2 => Some(AgentAuthor::Key),
        _ => None,
    }
}

fn user(dice: &SeededDice) -> UserId {
    UserId::parse(dice.pick(&["ann", "bob"])).expect("an id")
}

/// A caller, as messages name their author.
pub(crate) fn name(caller: &SessionCaller) -> &str {
    match caller {
        SessionCaller::Anonymous => "anonymous",
        SessionCaller::Staff => "staff",
        SessionCaller::Verified(user) => user.as_str(),
    }
}

fn some_window(dice: &SeededDice) -> PageWindow {
    let seq = u32::try_from(dice.below(12)).expect("a small number");
    dice.pick(&[PageWindow::Newest, PageWindow::Before(seq), PageWindow::After(seq)])
}

fn cause() -> EventCause {
    EventCause { causation: "request".into(), actor: "client".into() }
}
