//! Any sequence of openings, identities and closings, over a store that fails by seed: once all is quiet
//! the list equals a plain count of the connections, and so does a new fold of the log.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use amoiq_actors::presence::OnlineUser;
use amoiq_events::{
    Event, EventLog, Position, UserId, ambient::SeededEntropy, codec, presence::PresenceEvent,
};
use amoiq_testkit::stores::ScriptedAppend;
use tokio::time::sleep;

use crate::{
    given::{DEADLINE, paused, tenant},
    presence::given::{GivenPresence, rest},
};

const SEEDS: u64 = 40;
const STEPS: u64 = 300;
const CONNECTIONS: u64 = 12;

/// About as long as the pauses between steps, so that some grace periods end and others are cut short.
const GRACE: Duration = Duration::from_millis(150);

struct Dice(Arc<SeededEntropy>);

impl Dice {
    fn below(&self, sides: u64) -> u64 {
        self.0.next() % sides
    }

    fn turn(&self) -> ScriptedAppend {
        match self.below(6) {
            0 => ScriptedAppend::Overloaded,
            1 => ScriptedAppend::Lost,
            2 => ScriptedAppend::DurableButUnknown,
            3 => ScriptedAppend::Panics,
            _ => ScriptedAppend::Works,
        }
    }
}

/// The open connections, each with the step in which it opened or identified itself.
#[derive(Default)]
struct Count(HashMap<u64, (u64, String, String)>);

impl Count {
    /// `ann s1` for each user, in the session of their newest connection.
    fn names(&self) -> Vec<String> {
        let mut newest = BTreeMap::new();
        for (turn, user, session) in self.0.values() {
            let known = newest.entry(user).or_insert((turn, session));
            *known = (turn, session).max(*known);
        }
        newest.into_iter().map(|(user, (_, session))| format!("{user} {session}")).collect()
    }
}

async fn run(given: &GivenPresence, dice: &Dice, fails: bool) -> Count {
    let mut count = Count::default();
    // A closed connection's number is never used again.
    let mut numbers: Vec<u64> = (0..CONNECTIONS).collect();
    let mut last_number = CONNECTIONS;
    for step in 0..STEPS {
        let slot = usize::try_from(dice.below(CONNECTIONS)).expect("an index");
        let number = numbers.get_mut(slot).expect("a slot");
        let user = format!("user {}", dice.below(6));
        let session = if dice.below(3) == 0 { "silent".to_owned() } else { format!("s{}", dice.below(2)) };
        let is_open = count.0.contains_key(number);
        if is_open && dice.below(2) == 0 {
            given.close(*number).await;
            count.0.remove(number);
            last_number += 1;
            *number = last_number;
        } else {
            given.identify(*number, &user, &session).await;
            // A repeated identity is as old as the first time.
            let known = count.0.get(number).filter(|known| known.1 == user && known.2 == session);
            let turn = known.map_or(step, |known| known.0);
            count.0.insert(*number, (turn, user, session));
        }
        if fails && dice.below(3) == 0 {
            given.store.next(dice.turn());
        }
        if dice.below(2) == 0 {
            sleep(Duration::from_millis(dice.below(200))).await;
        }
    }
    given.store.always(ScriptedAppend::Works);
    rest().await;
    count
}

#[test]
fn the_list_always_equals_a_count_of_the_connections() {
    for seed in 0..SEEDS {
        paused(async {
            let given = GivenPresence::with_grace(GRACE);
            let dice = Dice(Arc::new(SeededEntropy::new(seed)));
            let count = run(&given, &dice, seed % 2 == 0).await;
            assert_eq!(given.names().await, count.names(), "seed {seed}");
            let again = given.another_list(Position::START, DEADLINE);
            let folded = again.list(&tenant(), usize::MAX, given.store.head()).await.expect("a list");
            // Of those who have not written it may know more than it has to.
            let mut listed = given.listed().await.users;
            let has_written = |user: &OnlineUser| !user.session_id.as_str().starts_with("silent");
            listed.retain(|user| has_written(user) || folded.users.contains(user));
            assert_eq!(folded.users, listed, "seed {seed}: the log folded from nothing");
        });
    }
}

#[test]
fn with_a_store_that_works_nothing_is_announced_twice() {
    for seed in 0..SEEDS {
        paused(async {
            let given = GivenPresence::with_grace(GRACE);
            run(&given, &Dice(Arc::new(SeededEntropy::new(seed))), false).await;
            let mut said_of: HashMap<UserId, PresenceEvent> = HashMap::new();
            let decode = |recorded| match codec::decode(&recorded).expect("an event") {
                Event::Presence(event) => Some(event),
                _ => None,
            };
            for event in given.store.log().await.into_iter().filter_map(decode) {
                let user = match &event {
                    PresenceEvent::Online(online) => &online.user_id,
                    PresenceEvent::Offline(offline) => &offline.user_id,
                };
                let was_in = match said_of.insert(user.clone(), event.clone()) {
                    Some(PresenceEvent::Online(online)) => Some(online.session_id),
                    _ => None,
                };
                match &event {
                    PresenceEvent::Online(online) => {
                        assert_ne!(was_in.as_ref(), Some(&online.session_id), "seed {seed}: online twice");
                    }
                    PresenceEvent::Offline(_) => {
                        assert!(was_in.is_some(), "seed {seed}: offline without having been online");
                    }
                }
            }
            let online = |said: &&PresenceEvent| matches!(said, PresenceEvent::Online(_));
            let said = said_of.values().filter(online).count();
            let names = given.names().await;
            let written = names.iter().filter(|name| !name.ends_with(" silent")).count();
            assert!((written..=names.len()).contains(&said), "seed {seed}: {said} of {names:?}");
        });
    }
}
