//! Nothing is lost and sessions stay in order, whatever becomes of nodes.

use std::collections::{BTreeMap, HashSet};

use amoiq_testkit::PostgresServer;
use tokio::time::sleep;

use crate::{
    child_node::{ChildNode, RECEIVED},
    given::{SharedDatabase, TERM, until},
};

/// The endpoints of the tenant.
const ENDPOINTS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// The sessions in which messages are sent.
const SESSIONS: usize = 5;

/// What a receiver got.
struct ReceivedDeliveries<'a> {
    server: &'a PostgresServer,
    schema: &'a str,
}

impl ReceivedDeliveries<'_> {
    fn ask(&self, query: &str) -> String {
        self.server.ask(&query.replace("{schema}", self.schema))
    }

    /// How many different messages arrived at all endpoints together.
    fn distinct(&self) -> usize {
        let count =
            self.ask("SELECT count(*) FROM (SELECT DISTINCT webhook, event FROM {schema}.received) r");
        count.parse().expect("a number")
    }

    /// The nodes that delivered something since a place.
    fn nodes_since(&self, place: usize) -> HashSet<String> {
        let nodes = self.ask(&format!("SELECT DISTINCT node FROM {{schema}}.received WHERE place > {place}"));
        nodes.lines().map(str::to_owned).collect()
    }

    fn last(&self) -> usize {
        self.ask("SELECT coalesce(max(place), 0) FROM {schema}.received").parse().expect("a number")
    }

    /// Each session's messages at each endpoint, in the order of their first arrival.
    fn by_session(&self) -> BTreeMap<(String, String), Vec<usize>> {
        let rows = self.ask(
            "SELECT webhook, session, text FROM (SELECT DISTINCT ON (webhook, event) * FROM {schema}.received
             ORDER BY webhook, event, place) r ORDER BY place",
        );
        let mut texts: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for row in rows.lines() {
            let columns: Vec<_> = row.split('|').collect();
            let of = (columns[0].to_owned(), columns[1].to_owned());
            texts.entry(of).or_default().push(columns[2].parse().expect("a number"));
        }
        texts
    }
}

#[test]
fn every_message_arrives_in_the_order_of_its_session_while_nodes_are_killed_and_stopped() {
    let server = PostgresServer::shared();
    let shared = SharedDatabase::new();
    let schema = shared.options.schema.clone();
    server.ask(&RECEIVED.replace("{schema}", &schema));
    let received = ReceivedDeliveries { server, schema: &schema };
    actix::System::new().block_on(async {
        shared.found(&ENDPOINTS).await;
        let names = ["a", "b", "c"];
        let mut nodes = names.map(|name| ChildNode::start(&shared.options, name));
        let mut said = 0;
        let mut say_some = async |count: usize| {
            for _ in 0..count {
                shared.say(&format!("session-{}", said % SESSIONS), &format!("{}", said / SESSIONS)).await;
                said += 1;
                sleep(std::time::Duration::from_millis(5)).await;
            }
            said
        };
        say_some(50).await;
        until("every node has joined in", async || received.distinct() == 50 * ENDPOINTS.len()).await;
        for (round, signal) in ["KILL", "STOP", "KILL", "STOP"].into_iter().enumerate() {
            let busy = received.nodes_since(0);
            let place = received.last();
            let chosen = names
                .iter()
                .position(|name| busy.contains(*name))
                .map_or(round % 3, |first| (first + round) % 3);
            nodes[chosen].signal(signal);
            let expected = say_some(100).await * ENDPOINTS.len();
            until("the others deliver all of it", async || received.distinct() == expected).await;
            if signal == "KILL" {
                nodes[chosen] = ChildNode::start(&shared.options, names[chosen]);
            } else {
                nodes[chosen].signal("CONT");
            }
            // Everybody has been there for a term, so that the next death is noticed.
            let expected = say_some(100).await * ENDPOINTS.len();
            sleep(TERM).await;
            until("everything arrives", async || received.distinct() == expected).await;
            assert!(!received.nodes_since(place).is_empty());
        }
        for ((webhook, session), numbers) in received.by_session() {
            let whole: Vec<_> = (0..numbers.len()).collect();
            assert_eq!(numbers, whole, "{session} at {webhook}");
            assert_eq!(numbers.len(), said / SESSIONS);
        }
        let pending = format!("SELECT sum(totals[1]) FROM {schema}.lanes");
        until("nothing waits any more", async || server.ask(&pending) == "0").await;
    });
}
