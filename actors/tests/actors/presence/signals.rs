//! Visitors who have not written are signalled and not in the log; and nobody takes a proven user's place.

use std::{sync::Arc, time::Duration};

use amoiq_actors::presence::{
    ConnectedVisitor, ConnectionId, PresenceHandle, PresenceSettings, PresenceSignals,
};
use amoiq_events::{
    Ambient, Event, EventLog, StreamName, UserId, codec,
    presence::PresenceEvent,
    session::{SessionEvent, VisitorIdentified},
    store::ExpectedVersion,
};
use amoiq_testkit::stores::ScriptedAppend;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    given::{DEADLINE, cause, id, paused, tenant},
    presence::given::{BATCH, GivenPresence, a_batch, rest, visitor},
};

const NOTHING: [&str; 0] = [];

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("an id")
}

impl GivenPresence {
    async fn enter(&self, connection: u64, visitor: ConnectedVisitor) {
        let named = self.presence.identify(&tenant(), ConnectionId(connection), visitor).await;
        named.expect("it is taken");
    }

    /// A visitor for whom a secret key vouched.
    async fn proves(&self, connection: u64, name: &str, session: &str) {
        self.enter(connection, ConnectedVisitor { verified: true, ..visitor(name, session) }).await;
    }

    async fn wrote(&self, session: &str) {
        self.presence.wrote(&tenant(), id(session)).await.expect("it is taken");
    }

    /// Whether the log says of each `user.online` that staff were told before.
    async fn told(&self) -> Vec<bool> {
        let told = |recorded: &_| match codec::decode(recorded).expect("an event") {
            Event::Presence(PresenceEvent::Online(online)) => Some(online.is_told),
            _ => None,
        };
        self.store.log().await.iter().filter_map(told).collect()
    }

    /// Each listed user with whether they are verified and whom they only claim to be.
    async fn proofs(&self) -> Vec<(String, Option<bool>, Option<String>)> {
        let listed = self.listed().await.users;
        let proof = |user: amoiq_actors::presence::OnlineUser| {
            (user.user_id.to_string(), user.verified, user.claimed_user_id.map(|claimed| claimed.to_string()))
        };
        let mut proofs: Vec<_> = listed.into_iter().map(proof).collect();
        proofs.sort();
        proofs
    }
}

#[test]
fn connections_alone_write_nothing_to_the_log() {
    paused(async {
        let given = GivenPresence::new();
        for number in 0..50 {
            given.identify(number, &format!("user {number}"), &format!("silent {number}")).await;
        }
        a_batch().await;
        assert_eq!((given.signalled().len(), given.listed().await.total), (50, 50));
        (0..50).for_each(|number| {
            drop(actix::spawn({
                let given = given.clone();
                async move { given.close(number).await }
            }))
        });
        rest().await;
        assert_eq!((given.signalled().len(), given.listed().await.total), (50, 0));
        assert_eq!(given.said().await, NOTHING);
        assert_eq!(given.store.appends(), [0_usize; 0]);
    });
}

#[test]
fn signals_follow_the_rules_of_tabs_and_grace_periods() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "provisional", "silent p").await;
        a_batch().await;
        given.identify(1, "ann", "silent").await;
        given.identify(2, "ann", "silent").await;
        a_batch().await;
        given.close(1).await;
        rest().await;
        let said = ["online provisional silent p", "offline provisional silent p", "online ann silent"];
        assert_eq!(given.signalled(), said);
        given.close(2).await;
        sleep(Duration::from_secs(1)).await;
        given.identify(3, "ann", "silent").await;
        rest().await;
        assert_eq!(given.signalled(), NOTHING);
        given.close(3).await;
        rest().await;
        assert_eq!(given.signalled(), ["offline ann silent"]);
    });
}

#[test]
fn the_first_message_brings_a_visitor_into_the_log_and_staff_are_not_told_twice() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "silent").await;
        a_batch().await;
        let before = given.listed().await;
        given.wrote("silent").await;
        rest().await;
        assert_eq!(
            (given.said().await, given.told().await),
            (vec!["online ann silent".to_owned()], vec![true])
        );
        assert_eq!(given.listed().await, before);
        given.close(1).await;
        rest().await;
        assert_eq!(given.said().await, ["online ann silent", "offline ann silent"]);
        assert_eq!(given.signalled(), ["online ann silent"], "what the log says is not signalled too");
        assert_eq!(given.names().await, NOTHING);
    });
}

#[test]
fn a_visitor_who_wrote_before_being_announced_is_announced_once() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "silent").await;
        given.wrote("silent").await;
        rest().await;
        let said = (given.signalled(), given.said().await, given.told().await);
        assert_eq!(said, (vec![], vec!["online ann silent".to_owned()], vec![false]));
    });
}

#[test]
fn a_message_announces_its_visitor_without_waiting_for_the_next_batch() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "silent").await;
        given.identify(2, "bob", "s1").await;
        given.presence.flush(&tenant());
        sleep(BATCH / 10).await;
        assert_eq!(
            (given.signalled(), given.said().await),
            (vec!["online ann silent".to_owned()], vec!["online bob s1".to_owned()])
        );
        given.wrote("silent").await;
        sleep(BATCH / 10).await;
        assert_eq!(given.said().await, ["online bob s1", "online ann silent"]);
    });
}

#[test]
fn a_store_that_refuses_does_not_delay_signals() {
    paused(async {
        let given = GivenPresence::new();
        let may = Arc::new(Notify::new());
        given.store.next(ScriptedAppend::Held(Arc::clone(&may)));
        given.identify(1, "bob", "s1").await;
        a_batch().await;
        given.identify(2, "ann", "silent").await;
        a_batch().await;
        assert_eq!(given.signalled(), ["online ann silent"]);
        may.notify_one();
        rest().await;
        assert_eq!(given.names().await, ["ann silent", "bob s1"]);
    });
}

#[test]
fn a_forgotten_visitor_is_signalled_as_offline() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "silent").await;
        a_batch().await;
        let whom = amoiq_actors::presence::ForgetTarget { user: Some(user("ann")), ..Default::default() };
        given.presence.forget(&tenant(), whom).await.expect("it is said");
        assert_eq!(given.signalled(), ["online ann silent", "offline ann silent"]);
        assert_eq!((given.names().await, given.said().await), (vec![], vec![]));
    });
}

#[test]
fn more_signals_than_the_receiver_takes_wait_and_none_is_lost() {
    paused(async {
        let (signals, mut heard) = PresenceSignals::new();
        let (store, ambient) = (GivenPresence::new().shared, Ambient::system());
        let settings = PresenceSettings { offline_grace: Duration::ZERO, batch: BATCH };
        let presence = PresenceHandle::start_here(settings, &store, &ambient, &signals);
        for number in 0..40 {
            let comes = visitor(&format!("user {number}"), &format!("silent {number}"));
            presence.identify(&tenant(), ConnectionId(number), comes).await.expect("it is taken");
            a_batch().await;
        }
        assert_eq!(heard.len(), heard.max_capacity(), "the others wait");
        let (mut told, mut signals) = (0, 0);
        while told < 40 {
            let signal = timeout(DEADLINE, heard.recv()).await.expect("another one").expect("another one");
            (told, signals) = (told + signal.events.len(), signals + 1);
            a_batch().await;
        }
        assert_eq!(told, 40);
        assert!(signals < 40, "what waited was told together");
    });
}

#[test]
fn a_claim_beside_a_proof_is_shown_as_anonymous() {
    for has_written in [true, false] {
        paused(async {
            let given = GivenPresence::new();
            let (real, false_one) = if has_written { ("s1", "s2") } else { ("silent 1", "silent 2") };
            given.proves(1, "ann", real).await;
            a_batch().await;
            given.identify(2, "ann", false_one).await;
            rest().await;
            let stranger = format!("anonymous-{false_one}");
            let both = [
                ("ann".to_owned(), Some(true), None),
                (stranger.clone(), Some(false), Some("ann".to_owned())),
            ];
            assert_eq!(given.proofs().await, both);
            given.close(2).await;
            rest().await;
            assert_eq!(given.proofs().await, both[..1]);
            let said = if has_written { given.said().await } else { given.signalled() };
            let (came, went) =
                (format!("online {stranger} {false_one}"), format!("offline {stranger} {false_one}"));
            assert_eq!(said, [format!("online ann {real}"), came, went]);
        });
    }
}

#[test]
fn a_proof_takes_the_name_from_claimants_and_is_never_replaced() {
    for (claims_in, proves_in) in
        [("s1", "s2"), ("s1", "silent 2"), ("silent 1", "s2"), ("silent 1", "silent 2")]
    {
        paused(async {
            let given = GivenPresence::new();
            given.identify(1, "ann", claims_in).await;
            given.identify(2, "ann", claims_in).await;
            given.close(2).await;
            a_batch().await;
            given.proves(3, "ann", proves_in).await;
            rest().await;
            let names = [format!("ann {proves_in}"), format!("anonymous-{claims_in} {claims_in}")];
            assert_eq!(given.names().await, names, "{claims_in} {proves_in}");
            given.close(1).await;
            rest().await;
            assert_eq!(given.names().await, names[..1], "{claims_in} {proves_in}");
            let said: Vec<_> = given.signalled().into_iter().chain(given.said().await).collect();
            assert!(!said.iter().any(|line| line.starts_with("offline ann ")), "{said:?}");
        });
    }
}

#[test]
fn a_proof_in_the_log_takes_the_name_too() {
    paused(async {
        let given = GivenPresence::new();
        given.identify(1, "ann", "s1").await;
        a_batch().await;
        let proof = VisitorIdentified {
            user_id: Some(user("ann")),
            verified: true,
            claimed_user_id: None,
            user_info: None,
            fingerprint: None,
        };
        let proof = Event::Session(SessionEvent::VisitorIdentified(proof)).envelope(&given.ambient, &cause());
        let stream = StreamName::session(&tenant(), &id("s9"));
        given.store.append(stream, ExpectedVersion::Any, vec![proof]).await.expect("it is appended");
        rest().await;
        let claimed = ("anonymous-s1".to_owned(), Some(false), Some("ann".to_owned()));
        assert_eq!(given.proofs().await, [claimed]);
    });
}

#[test]
fn two_tabs_of_a_proven_user_are_one_entry_and_the_last_close_announces_offline() {
    paused(async {
        let given = GivenPresence::new();
        given.proves(1, "ann", "s1").await;
        given.proves(2, "ann", "s1").await;
        given.identify(3, "ann", "s2").await;
        a_batch().await;
        given.close(1).await;
        given.close(3).await;
        rest().await;
        assert_eq!(given.names().await, ["ann s1"]);
        given.close(2).await;
        rest().await;
        assert_eq!(given.said().await.last().map(String::as_str), Some("offline ann s1"));
        // No proven user is connected any more; whether the name may be claimed is checked elsewhere.
        given.identify(4, "ann", "s3").await;
        a_batch().await;
        assert_eq!(given.names().await, ["ann s3"]);
    });
}
