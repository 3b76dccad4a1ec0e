//! The calls of the functions in `cluster.sql`, one connection, and what the database said last about the time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    Timestamp,
    cluster::{
        lease::{FencingNumber, HeldLease, LeaseName, LeaseRecord, NodeMembership},
        node::{NodeDescription, NodeRecord},
        postgres_leases::ClusterOptions,
    },
    postgres::{CallFailure, DatabaseSession, Parameter, PostgresDatabase, ServerIdentity},
    store::Epoch,
};

/// How long a call may take: a third of what a node has from one renewal to the next that must not fail.
const CALL: Duration = Duration::from_secs(2);

/// The part of a term for which a node relies on a renewal.
const RELIED: (u32, u32) = (2, 3);

/// Calls the database.
pub(super) struct LeaseCalls {
    database: PostgresDatabase,
    session: Option<DatabaseSession>,
    epoch: Epoch,
    /// Of the node.
    name: Arc<str>,
    /// Of this process.
    token: Uuid,
    term: Duration,
    /// Since when the contact has had no gap, and when the last call was answered, by the database's clock.
    contact: [Option<SystemTime>; 2],
    texts: CallTexts,
}

struct CallTexts {
    join: Arc<str>,
    renew: Arc<str>,
    acquire: Arc<str>,
    release: Arc<str>,
    leave: Arc<str>,
    leases: Arc<str>,
    nodes: Arc<str>,
}

/// What became of an attempt to join.
pub(super) enum NodeJoining {
    Joined(NodeMembership),
    NameTaken { address: String },
    SecretsDiffer { node: String },
}

/// The register of nodes.
pub(super) struct NodeRegister {
    pub(super) nodes: Vec<NodeRecord>,
    /// How often leases were given back.
    pub(super) releases: u64,
    /// When it was asked for.
    pub(super) read_at: Instant,
}

impl LeaseCalls {
    pub(super) fn new(options: &ClusterOptions) -> Self {
        let ClusterOptions { database, epoch, node, ambient, term, .. } = options;
        let text = |text: &str| database.schema().statement(text);
        let texts = CallTexts {
            join: text(
                "SELECT outcome, number, other, contact, answered_at
                 FROM {schema}.join_cluster($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            ),
            renew: text("SELECT is_member, contact, answered_at FROM {schema}.renew_node($1, $2, $3, $4, $5, $6)"),
            acquire: text("SELECT lease, fence FROM {schema}.acquire_leases($1, $2, $3)"),
            release: text("SELECT {schema}.release_leases($1, $2, $3, $4)"),
            leave: text("DELETE FROM {schema}.nodes WHERE name = $1 AND number = $2"),
            leases: text(
                "SELECT l.name, n.name, l.epoch, l.number, l.granted_at
                 FROM {schema}.leases l JOIN {schema}.nodes n ON n.number = l.node ORDER BY l.name",
            ),
            nodes: text(
                "SELECT name, address, level, signing, verifying, epoch, number, joined_at, until < clock_timestamp(),
                 serves, (SELECT releases FROM {schema}.cluster),
                 EXISTS (SELECT FROM {schema}.leases l WHERE l.node = n.number AND l.name = 'drain/' || n.number)
                 FROM {schema}.nodes n ORDER BY name",
            ),
        };
        Self {
            database: database.clone(),
            session: None,
            epoch: *epoch,
            name: Arc::clone(&node.name),
            token: ambient.uuid(),
            term: *term,
            contact: [None; 2],
            texts,
        }
    }

    /// The newest server that was seen.
    pub(super) fn server(&self) -> Option<ServerIdentity> {
        self.database.sessions.seen.identity()
    }

    pub(super) fn term(&self) -> Duration {
        self.term
    }

    /// Registers a node. The membership of its predecessor is over.
    pub(super) async fn join(
        &mut self,
        node: &NodeDescription,
        serves: bool,
        predecessor: Option<FencingNumber>,
    ) -> Result<NodeJoining, CallFailure> {
        let NodeDescription { name, address, level, signing, verifying } = node;
        let (epoch, level) = (self.epoch.0.cast_signed(), i32::try_from(*level).unwrap_or(i32::MAX));
        let (token, term, [since, last]) = (self.token, self.term_ms(), self.contact);
        let of_predecessor = predecessor.map(|fencing| fencing.epoch.0.cast_signed());
        let predecessor = predecessor.map(|fencing| fencing.number.cast_signed());
        let name = &**name;
        let values: [Parameter<'_>; 13] = [
            &epoch,
            &name,
            address,
            &level,
            signing,
            verifying,
            &token,
            &serves,
            &term,
            &of_predecessor,
            &predecessor,
            &since,
            &last,
        ];
        let (asked, rows) = self.call(|texts| &texts.join, &values).await?;
        let row = only(&rows)?;
        self.contact = [row.try_get(3)?, row.try_get(4)?];
        Ok(match row.try_get::<_, i32>(0)? {
            1 => {
                let number: i64 = row.try_get(1)?;
                let fencing = FencingNumber { epoch: self.epoch, number: number.cast_unsigned() };
                NodeJoining::Joined(NodeMembership::until(fencing, self.relied_until(asked)))
            }
            2 => NodeJoining::NameTaken { address: row.try_get(2)? },
            _ => NodeJoining::SecretsDiffer { node: row.try_get(2)? },
        })
    }

    /// Renews a membership. Tells until when the node may rely on it; nothing when it is over.
    pub(super) async fn renew(
        &mut self,
        fencing: FencingNumber,
        serves: bool,
    ) -> Result<Option<Instant>, CallFailure> {
        let (name, number) = (Arc::clone(&self.name), fencing.number.cast_signed());
        let (term, [since, last]) = (self.term_ms(), self.contact);
        let values: [Parameter<'_>; 6] = [&&*name, &number, &serves, &term, &since, &last];
        let (asked, rows) = self.call(|texts| &texts.renew, &values).await?;
        let row = only(&rows)?;
        self.contact = [row.try_get(1)?, row.try_get(2)?];
        Ok(row.try_get::<_, bool>(0)?.then(|| self.relied_until(asked)))
    }

    /// Asks for leases.
    pub(super) async fn acquire(
        &mut self,
        membership: &Arc<NodeMembership>,
        names: &[LeaseName],
    ) -> Result<Vec<HeldLease>, CallFailure> {
        let epoch = membership.fencing().epoch;
        let (name, node) = (Arc::clone(&self.name), membership.fencing().number.cast_signed());
        let names: Vec<&str> = names.iter().map(LeaseName::as_str).collect();
        let (_, rows) = self.call(|texts| &texts.acquire, &[&&*name, &node, &names]).await?;
        let lease = |row: &Row| {
            let number: i64 = row.try_get(1)?;
            let fencing = FencingNumber { epoch, number: number.cast_unsigned() };
            Ok(HeldLease::new(LeaseName::stored(row.try_get(0)?), fencing, Arc::clone(membership)))
        };
        rows.iter().map(lease).collect()
    }

    /// Gives leases back.
    pub(super) async fn release(
        &mut self,
        membership: &NodeMembership,
        leases: &[HeldLease],
    ) -> Result<(), CallFailure> {
        let (name, node) = (Arc::clone(&self.name), membership.fencing().number.cast_signed());
        let names: Vec<&str> = leases.iter().map(|lease| lease.name().as_str()).collect();
        let numbers: Vec<i64> = leases.iter().map(|lease| lease.fencing().number.cast_signed()).collect();
        self.call(|texts| &texts.release, &[&&*name, &node, &names, &numbers]).await.map(drop)
    }

    /// Ends a membership.
    pub(super) async fn leave(&mut self, membership: &NodeMembership) -> Result<(), CallFailure> {
        let (name, node) = (Arc::clone(&self.name), membership.fencing().number.cast_signed());
        self.call(|texts| &texts.leave, &[&&*name, &node]).await.map(drop)
    }

    /// All leases.
    pub(super) async fn leases(&mut self) -> Result<Vec<LeaseRecord>, CallFailure> {
        let (_, rows) = self.call(|texts| &texts.leases, &[]).await?;
        let record = |row: &Row| {
            Ok(LeaseRecord {
                name: LeaseName::stored(row.try_get(0)?),
                node: row.try_get::<_, &str>(1)?.into(),
                fencing: fencing(row.try_get(2)?, row.try_get(3)?),
                granted_at: date(row.try_get(4)?),
            })
        };
        rows.iter().map(record).collect()
    }

    /// Reads the register.
    pub(super) async fn nodes(&mut self) -> Result<NodeRegister, CallFailure> {
        let (read_at, rows) = self.call(|texts| &texts.nodes, &[]).await?;
        let record = |row: &Row| {
            let description = NodeDescription {
                name: row.try_get::<_, &str>(0)?.into(),
                address: row.try_get(1)?,
                level: row.try_get::<_, i32>(2)?.cast_unsigned(),
                signing: row.try_get(3)?,
                verifying: row.try_get(4)?,
            };
            Ok(NodeRecord {
                description,
                fencing: fencing(row.try_get(5)?, row.try_get(6)?),
                joined_at: date(row.try_get(7)?),
                is_silent: row.try_get(8)?,
                serves: row.try_get(9)?,
                is_draining: row.try_get(11)?,
            })
        };
        let releases = rows.first().map(|row| row.try_get::<_, i64>(10)).transpose()?.unwrap_or_default();
        let nodes: Result<_, CallFailure> = rows.iter().map(record).collect();
        Ok(NodeRegister { nodes: nodes?, releases: releases.cast_unsigned(), read_at })
    }

    /// Makes a call, and tells when it was asked. One that gets no answer is the last on its connection.
    async fn call(
        &mut self,
        text: impl FnOnce(&CallTexts) -> &Arc<str>,
        parameters: &[Parameter<'_>],
    ) -> Result<(Instant, Vec<Row>), CallFailure> {
        let mut session = match self.session.take().filter(DatabaseSession::is_usable) {
            Some(session) => session,
            None => self.database.connect().await?,
        };
        let asked = Instant::now();
        let answered = session.query(text(&self.texts), parameters, CALL).await;
        if session.was_unreplicated() {
            return Err(CallFailure::Broken("the wait for the standby was ended".to_owned()));
        }
        if !matches!(answered, Err(CallFailure::Broken(_))) {
            self.session = Some(session);
        }
        Ok((asked, answered?))
    }

    fn relied_until(&self, asked: Instant) -> Instant {
        asked + self.term * RELIED.0 / RELIED.1
    }

    fn term_ms(&self) -> i64 {
        i64::try_from(self.term.as_millis()).unwrap_or(i64::MAX)
    }
}

fn only(rows: &[Row]) -> Result<&Row, CallFailure> {
    rows.first().ok_or_else(|| CallFailure::Refused("a query gave no row".to_owned()))
}

fn fencing(epoch: i64, number: i64) -> FencingNumber {
    FencingNumber { epoch: Epoch(epoch.cast_unsigned()), number: number.cast_unsigned() }
}

fn date(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
