//! Who is online: a projection that lives in memory and begins empty with every start of the service.
//!
//! It is the fold of the log and of [`Signals`]: visitors who have written are in the log, all others are told in
//! memory. Everything that is true of the list is in one of the two.
//!
//! It follows the log's subscription from just before this process said that it started, so there is
//! nothing to replay: `node.started` leaves nobody online, and what [`crate::presence`] appends comes
//! after it. A visitor's messages move them to the page that they tell. Reading waits, bounded, until
//! everything up to a position is folded in, and costs what the answer holds, however many are online.
//!
//! An event that this release cannot read is logged and passed: the next `user.online` or a restart
//! mends what was missed, which is better than a list that stands still.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use actix::prelude::*;
use amoiq_events::{
    Event, EventStore, Position, RecordedEvent, SessionId, ShortText, TenantId, Timestamp, UserId, codec,
    presence::PresenceEvent, session::SessionEvent, store::LogSubscription,
};
use tokio::sync::mpsc;

use crate::{
    Presence,
    projector::{Progress, Reporter},
    views::ViewError,
};
use roster::Roster;

mod roster;

/// How many signals wait for whoever hears them, each of at most 256 KiB. At the bound presence waits, and says what
/// there is to say by then.
const MAX_UNHEARD: usize = 16;

/// The event that may be a proof.
const IDENTIFIED: &str = "visitor.identified";

/// How long it waits after the log could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Somebody who is online.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineUser {
    /// Who, as agents see them.
    pub user_id: UserId,
    /// Their newest session.
    pub session_id: SessionId,
    /// Since when.
    pub connected_at: Timestamp,
    /// Whether a secret key vouched for them; nothing where the log does not say.
    pub verified: Option<bool>,
    /// Who they say they are, where that is another's name.
    pub claimed_user_id: Option<UserId>,
    /// The site's domain.
    pub domain: Option<ShortText>,
    /// The site's origin.
    pub origin: Option<ShortText>,
    /// The page.
    pub url: Option<ShortText>,
}

/// Who of a tenant's visitors is online.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Online {
    /// Those who came last, the newest first.
    pub users: Vec<OnlineUser>,
    /// How many there are in all.
    pub total: usize,
}

/// What is told of visitors who have not written. Cheap to clone.
#[derive(Clone)]
pub struct Signals {
    roster: Arc<RwLock<Roster>>,
    heard: mpsc::Sender<Signal>,
}

/// Some of what is told, of one tenant.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Whose visitors.
    pub tenant: TenantId,
    /// Who came and who went, in order.
    pub events: Vec<PresenceEvent>,
}

impl Signals {
    /// With the end at which they are heard. What nobody hears is listed all the same.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Signal>) {
        let (heard, hears) = mpsc::channel(MAX_UNHEARD);
        (Self { roster: Arc::default(), heard }, hears)
    }

    /// Lists what happened, and waits until there is room for whoever hears of it.
    pub(crate) async fn tell(&self, signal: Signal) {
        write(&self.roster).signal(&signal.tenant, &signal.events);
        // Nobody listens once the service stops.
        let _stopping = self.heard.send(signal).await;
    }
}

/// The way to ask who is online. Cheap to clone.
#[derive(Clone)]
pub struct OnlineUsers {
    roster: Arc<RwLock<Roster>>,
    progress: Progress,
    /// How long a question waits for the projection to reach the log.
    patience: Duration,
}

impl OnlineUsers {
    /// Starts the projection on the caller's arbiter. `from` is the head of the log as it was before
    /// `node.started` was appended. `presence` hears whom the log proves.
    #[must_use]
    pub fn start(
        store: &Arc<dyn EventStore>,
        from: Position,
        patience: Duration,
        signals: &Signals,
        presence: Presence,
    ) -> Self {
        let (reporter, progress, _nobody_reads_tables) = Progress::new();
        reporter.reached(from);
        let roster = Arc::clone(&signals.roster);
        let run = Run { roster: Arc::clone(&roster), progress: reporter, presence };
        let subscription = store.subscribe(from);
        Follower::create(|ctx| {
            ctx.spawn(run.follow(subscription).into_actor(&Follower).map(|(), _, ctx| ctx.stop()));
            Follower
        });
        Self { roster, progress, patience }
    }

    /// How far the projection has come.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How many visitors of all tenants are online.
    #[must_use]
    pub fn total(&self) -> usize {
        read(&self.roster).total()
    }

    /// A tenant's visitors who are online, at most `limit` of them, and how many there are; what was
    /// appended up to `after` is in the answer.
    ///
    /// # Errors
    /// [`ViewError::Behind`] when the projection does not reach `after` in time.
    pub async fn list(&self, tenant: &TenantId, limit: usize, after: Position) -> Result<Online, ViewError> {
        self.progress.reach(after, self.patience).await?;
        Ok(read(&self.roster).newest(tenant, limit))
    }
}

/// The actor that runs the projection.
struct Follower;

impl Actor for Follower {
    type Context = Context<Self>;
}

/// Its work.
struct Run {
    /// Read by whoever asks, written here alone, one event at a time: nobody waits for long.
    roster: Arc<RwLock<Roster>>,
    progress: Reporter,
    presence: Presence,
}

impl Run {
    async fn follow(self, mut subscription: LogSubscription) {
        loop {
            match subscription.next().await {
                Ok(Some(batch)) => {
                    for recorded in &batch[..] {
                        self.fold(recorded).await;
                    }
                    self.progress.reached(subscription.position());
                    // A log that always has more must not keep others from the arbiter.
                    tokio::task::yield_now().await;
                }
                // The log's end is the service stopping.
                Ok(None) => return,
                Err(error) => {
                    let error = ViewError::from(error);
                    tracing::error!(%error, "who is online waits for the log and tries again");
                    self.progress.failed(&error);
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    async fn fold(&self, recorded: &RecordedEvent) {
        if recorded.event.kind == IDENTIFIED {
            return self.identified(recorded).await;
        }
        // Before it is decoded: most events are messages of visitors who are not online here.
        if !read(&self.roster).concerns(&recorded.stream) {
            return;
        }
        match codec::decode(recorded) {
            Ok(event) => {
                write(&self.roster).apply(&recorded.stream, event);
            }
            Err(error) => {
                tracing::error!(%error, stream = %recorded.stream, "who is online passes an event by");
            }
        }
    }

    /// Whoever goes by the name of somebody for whom a secret key vouched goes by it no longer.
    async fn identified(&self, recorded: &RecordedEvent) {
        let Some(tenant) = recorded.stream.tenant_id() else { return };
        if let Ok(Event::Session(SessionEvent::VisitorIdentified(told))) = codec::decode(recorded)
            && let Some(user) = told.user_id.filter(|_| told.verified)
        {
            // Gone only when the service stops.
            let _stopping = self.presence.proven(&tenant, user).await;
        }
    }
}

fn write(roster: &RwLock<Roster>) -> RwLockWriteGuard<'_, Roster> {
    roster.write().unwrap_or_else(PoisonError::into_inner)
}

fn read(roster: &RwLock<Roster>) -> RwLockReadGuard<'_, Roster> {
    roster.read().unwrap_or_else(PoisonError::into_inner)
}
