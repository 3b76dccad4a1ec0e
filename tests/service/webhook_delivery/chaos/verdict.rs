//! Compares what every endpoint got with the histories.

use std::collections::{BTreeMap, HashMap, HashSet};

use amoiq_testkit::TestApp;
use amoiq_testkit::receivers::{ReceivedDelivery, VerifyingReceiver};
use serde_json::Value;

use super::{
    Tenant, delivered, reaches, secret_key,
    sender::{Sender, session},
    tenant_id,
};

/// The ids of a tenant's messages, by session and in order.
type Histories = BTreeMap<String, Vec<String>>;

/// Waits until everything is delivered, and checks it.
pub fn give(app: &TestApp, tenants: &[Tenant], senders: &[Sender], sessions: usize) {
    let histories: Vec<_> = tenants.iter().map(|tenant| histories(app, tenant.number, sessions)).collect();
    let known: HashSet<_> = histories.iter().flat_map(BTreeMap::values).flatten().collect();
    let mut texts = HashMap::new();
    for message in senders.iter().flat_map(|sender| &sender.sent) {
        let id = message.id.as_ref().expect("every message was acknowledged in the end");
        assert!(known.contains(id), "{} was acknowledged and is lost", message.text);
        texts.insert(id.as_str(), message.text.as_str());
    }
    assert_eq!(texts.len(), known.len(), "a message that nobody sent");
    let count = |histories: &Histories| histories.values().map(Vec::len).sum::<usize>();
    let all = tenants.iter().zip(&histories).map(|(tenant, own)| count(own) * tenant.endpoints.len()).sum();
    reaches("everything is delivered", all, || delivered(tenants));
    let mut repeats = 0;
    for (tenant, own) in tenants.iter().zip(&histories) {
        for (endpoint, mailbox) in &tenant.endpoints {
            endpoint.settles(app);
            assert_eq!(endpoint.read(app)["status"], "enabled");
            repeats += check(mailbox, &tenant_id(tenant.number), own, &texts);
        }
    }
    eprintln!("{} messages, {all} deliveries, {repeats} attempts more", known.len());
    assert!(repeats > 0, "nothing failed: the receivers were not wild");
}

/// Checks what one endpoint got. Returns the number of repeats.
fn check(
    mailbox: &VerifyingReceiver,
    tenant: &str,
    histories: &Histories,
    texts: &HashMap<&str, &str>,
) -> usize {
    let arrivals = mailbox.arrivals();
    let mut first: HashMap<&str, &ReceivedDelivery> = HashMap::new();
    let mut taken: HashSet<&str> = HashSet::new();
    let mut heard: HashMap<&str, Vec<&ReceivedDelivery>> = HashMap::new();
    for arrival in &arrivals {
        assert!(arrival.is_signed, "{arrival:?} has not the signature of its endpoint");
        assert_eq!(arrival.tenant, tenant, "{} is another tenant's", arrival.text);
        assert_eq!(texts.get(arrival.message.as_str()), Some(&arrival.text.as_str()), "another text");
        let before = first.entry(&arrival.id).or_insert(arrival);
        assert_eq!(before.hash, arrival.hash, "{} is another message the second time", arrival.id);
        let in_session = heard.entry(&arrival.session).or_default();
        if !in_session.iter().any(|earlier| earlier.id == arrival.id) {
            if let Some(last) = in_session.last() {
                assert!(taken.contains(last.id.as_str()), "{} came before {}", arrival.text, last.text);
            }
            in_session.push(arrival);
        }
        if arrival.is_taken {
            taken.insert(&arrival.id);
        }
    }
    assert_eq!(heard.len(), histories.len(), "sessions that are not there, or are missing");
    for (session, history) in histories {
        let heard: Vec<_> = heard[session.as_str()].iter().map(|arrival| &arrival.message).collect();
        assert!(heard.iter().copied().eq(history), "{tenant} {session}: {heard:?} instead of {history:?}");
    }
    assert_eq!(taken.len(), first.len(), "something was not taken");
    arrivals.len() - first.len()
}

fn histories(app: &TestApp, tenant: usize, sessions: usize) -> Histories {
    let names: HashSet<_> =
        (0..sessions).filter(|place| place % super::TENANTS == tenant).map(session).collect();
    let histories = names.into_iter().map(|name| (name.clone(), history(app, &secret_key(tenant), &name)));
    histories.filter(|(_, messages)| !messages.is_empty()).collect()
}

fn history(app: &TestApp, key: &str, session: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut after = Value::from(0);
    loop {
        let path = format!("/api/chat/messages?sessionId={session}&limit=500&after={after}");
        let answer = app.get(key, &path);
        if answer.error() == (404, "SESSION_NOT_FOUND") {
            return ids;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.body["messages"].as_array().expect("a list");
        ids.extend(page.iter().map(|message| message["id"].as_str().expect("an id").to_owned()));
        if answer.body["hasMore"] == false {
            return ids;
        }
        after = page.last().expect("a message")["seq"].clone();
    }
}
