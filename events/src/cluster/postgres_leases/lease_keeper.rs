//! Renews a node's membership, does what the node asks for in between, and joins again after it was taken for dead.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    RENEWALS,
    lease_calls::{LeaseCalls, NodeJoining, NodeRegister},
    predecessor::{MembershipNote, PredecessorFile},
};
use crate::{
    cluster::{
        lease::{HeldLease, LeaseError, LeaseName, LeaseRecord, NodeMembership},
        node::{ClusterView, NodeDescription},
    },
    postgres::CallFailure,
};

/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Where an answer goes.
type LeaseReply<T> = oneshot::Sender<Result<T, LeaseError>>;

/// What the node asks for.
pub(super) enum LeaseWork {
    Acquire(Vec<LeaseName>, LeaseReply<Vec<HeldLease>>),
    Release(Vec<HeldLease>, LeaseReply<()>),
    List(LeaseReply<Vec<LeaseRecord>>),
    /// All but those of a kind are given back.
    Drain(&'static str, LeaseReply<()>),
    /// The node can do work from now on.
    Serve,
    Leave(LeaseReply<()>),
}

/// Keeps the membership.
pub(super) struct LeaseKeeper {
    pub(super) calls: LeaseCalls,
    pub(super) node: NodeDescription,
    pub(super) file: PredecessorFile,
    /// What it says.
    pub(super) noted: MembershipNote,
    pub(super) membership: Arc<NodeMembership>,
    /// Whether the node can do work.
    pub(super) serves: bool,
    pub(super) work: mpsc::Receiver<LeaseWork>,
    pub(super) view: watch::Sender<Arc<ClusterView>>,
    /// The node leaves soon.
    pub(super) is_draining: bool,
    /// Why the last renewal failed. Changes are logged once.
    pub(super) failure: Option<CallFailure>,
}

impl LeaseKeeper {
    /// Works until the node leaves, or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut renewals = interval(self.calls.term() / RENEWALS);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = renewals.tick() => self.keep(&mut renewals).await,
                work = self.work.recv() => match work {
                    Some(LeaseWork::Leave(reply)) => return self.leave(reply).await,
                    Some(LeaseWork::Serve) => {
                        self.serves = true;
                        self.keep(&mut renewals).await;
                    }
                    Some(work) => self.answer(work).await,
                    None => return,
                },
            }
        }
    }

    /// Renews the membership, and looks who is there.
    async fn keep(&mut self, renewals: &mut Interval) {
        let kept = match self.renew().await {
            Ok(()) => self.look().await,
            Err(failure) => Err(failure),
        };
        match (&self.failure, &kept) {
            (None, Err(error)) => tracing::error!(%error, "the membership is not renewed; trying again"),
            (Some(_), Ok(())) => tracing::info!("the membership is renewed again"),
            _ => {}
        }
        if kept.is_err() {
            renewals.reset_after(RETRY);
        } else {
            self.note();
        }
        self.failure = kept.err();
    }

    /// Notes the membership and the server, when one of them is another.
    fn note(&mut self) {
        let note = MembershipNote::new(self.membership.fencing(), self.calls.server());
        if note != self.noted {
            // A start that cannot read it waits for a term.
            match self.file.write(note) {
                Ok(()) => self.noted = note,
                Err(error) => tracing::warn!(%error, "the membership is not noted"),
            }
        }
    }

    async fn renew(&mut self) -> Result<(), CallFailure> {
        if !self.membership.is_over() {
            if let Some(until) = self.calls.renew(self.membership.fencing(), self.serves).await? {
                self.membership.extend(until);
                return Ok(());
            }
            self.membership.end();
            tracing::warn!("this node was taken for dead, and gives up everything that it had");
        }
        match self.calls.join(&self.node, self.serves, None).await? {
            NodeJoining::Joined(membership) => {
                self.membership = Arc::new(membership);
                Ok(())
            }
            NodeJoining::NameTaken { address } => {
                Err(CallFailure::Refused(format!("a node at {address} has this node's name")))
            }
            NodeJoining::SecretsDiffer { node } => {
                Err(CallFailure::Refused(format!("the secrets of `{node}` do not fit this node's")))
            }
        }
    }

    /// Looks who is there.
    pub(super) async fn look(&mut self) -> Result<(), CallFailure> {
        let NodeRegister { nodes, releases, read_at } = self.calls.nodes().await?;
        let own = Arc::clone(&self.membership);
        self.view.send_if_modified(|view| {
            let is_same = view.own.as_ref().is_some_and(|known| Arc::ptr_eq(known, &own))
                && view.nodes == nodes
                && view.releases == releases;
            // Also when nobody has to be told: whoever looks knows how old it is.
            *view = Arc::new(ClusterView { own: Some(own), nodes, releases, read_at: Some(read_at) });
            !is_same
        });
        Ok(())
    }

    async fn answer(&mut self, work: LeaseWork) {
        // Whoever asked may have gone.
        match work {
            LeaseWork::Acquire(names, reply) => drop(reply.send(self.acquire(&names).await)),
            LeaseWork::Release(leases, reply) => {
                let released = self.calls.release(&self.membership, &leases).await;
                drop(reply.send(released.map_err(unavailable)));
            }
            LeaseWork::List(reply) => drop(reply.send(self.calls.leases().await.map_err(unavailable))),
            LeaseWork::Drain(handed_over, reply) => {
                drop(reply.send(self.drain(handed_over).await.map_err(unavailable)));
            }
            LeaseWork::Leave(reply) => drop(reply.send(Err(LeaseError::NoMember))),
            LeaseWork::Serve => self.serves = true,
        }
    }

    async fn acquire(&mut self, names: &[LeaseName]) -> Result<Vec<HeldLease>, LeaseError> {
        if !self.membership.is_valid() {
            return Err(LeaseError::NoMember);
        }
        if self.is_draining && self.has_successor() {
            return Ok(Vec::new());
        }
        self.calls.acquire(&self.membership, names).await.map_err(unavailable)
    }

    /// Whether another node stays.
    fn has_successor(&self) -> bool {
        let own = self.membership.fencing();
        self.view.borrow().nodes.iter().any(|node| node.fencing != own && node.takes_leases())
    }

    async fn drain(&mut self, handed_over: &str) -> Result<(), CallFailure> {
        let drain = LeaseName::of_drain(self.membership.fencing());
        self.calls.acquire(&self.membership, std::slice::from_ref(&drain)).await?;
        self.is_draining = true;
        if self.has_successor() {
            let records = self.calls.leases().await?.into_iter();
            let own = records.filter(|record| record.node == self.node.name);
            let given_back = own.filter(|record| record.name != drain && record.name.kind() != handed_over);
            let lease = |record: LeaseRecord| {
                HeldLease::new(record.name, record.fencing, Arc::clone(&self.membership))
            };
            let leases: Vec<_> = given_back.map(lease).collect();
            self.calls.release(&self.membership, &leases).await?;
        }
        // Whoever hands over sees at once that it is time.
        self.look().await
    }

    async fn leave(mut self, reply: LeaseReply<()>) {
        self.membership.end();
        drop(reply.send(self.calls.leave(&self.membership).await.map_err(unavailable)));
    }
}

fn unavailable(failure: CallFailure) -> LeaseError {
    LeaseError::Unavailable(failure.to_string())
}
