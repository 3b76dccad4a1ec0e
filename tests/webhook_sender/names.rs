//! Names with mixed, changing or no addresses, through the client's real path from a name to a socket.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use amoiq::webhooks::{
    HttpSender,
    vetting_resolver::{LookupFuture, NameLookup},
};
use amoiq_actors::webhooks::{WebhookEndpoint, WebhookSender};
use amoiq_events::TenantId;
use amoiq_testkit::receivers::{AfterAnswer, RawReceiver};
use rustls::RootCertStore;
use tokio::net::TcpListener;

use crate::delivery::{
    Answers, PATIENCE, deliver, endpoint, eventually, failed, message, refused_name, sender,
};

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn asking(answers: &Arc<Answers>, networks: &[&str]) -> HttpSender {
    sender(Arc::clone(answers) as _, RootCertStore::empty(), networks)
}

#[tokio::test]
async fn one_refused_address_refuses_the_name_wherever_it_stands() {
    let receiver = RawReceiver::everywhere().await;
    let url = format!("http://endpoint.example:{}/", receiver.address.port());
    for answers in [
        &["127.0.0.2", "127.0.0.1"],
        &["127.0.0.1", "127.0.0.2"],
        &["8.8.8.8", "127.0.0.1"],
        &["2606:4700::1111", "127.0.0.1"],
    ] {
        let answer = deliver(&asking(&Answers::new(&[answers]), &["127.0.0.2/32"]), &url).await;
        assert_eq!(answer, refused_name(), "{answers:?}");
    }
    assert_eq!(receiver.connections(), 0);
}

/// A port that is free on both addresses: another program may use it on one of them.
async fn at_one_port(one: &str, other: &str) -> (TcpListener, TcpListener) {
    loop {
        let first = TcpListener::bind((one, 0)).await.expect("a free port");
        let port = first.local_addr().expect("bound").port();
        if let Ok(second) = TcpListener::bind((other, port)).await {
            return (first, second);
        }
    }
}

#[tokio::test]
async fn a_name_that_changes_its_answer_is_dialled_where_it_was_checked() {
    let (checked, target) = at_one_port("127.0.0.2", "127.0.0.1").await;
    let port = checked.local_addr().expect("bound").port();
    let [checked, target] =
        [checked, target].map(|listener| RawReceiver::on(listener, TAKEN, AfterAnswer::Close));
    let answers = Answers::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let sender = asking(&answers, &["127.0.0.2/32"]);
    let url = format!("http://endpoint.example:{port}/");

    assert!(deliver(&sender, &url).await.is_success());
    assert_eq!((answers.asked(), checked.connections()), (1, 1), "one lookup for check and dial");
    // By now the name means another machine, and the next connection is checked again.
    assert_eq!(deliver(&sender, &url).await, refused_name());
    assert_eq!((answers.asked(), checked.connections(), target.connections()), (2, 1, 0));
}

#[tokio::test]
async fn a_connection_that_is_kept_stays_where_it_was_checked() {
    let checked = RawReceiver::at("127.0.0.2:0", TAKEN, AfterAnswer::Stay).await;
    let answers = Answers::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let sender = asking(&answers, &["127.0.0.2/32"]);
    let url = format!("http://endpoint.example:{}/", checked.address.port());
    for _ in 0..3 {
        assert!(deliver(&sender, &url).await.is_success());
    }
    assert_eq!((answers.asked(), checked.connections(), checked.requests().len()), (1, 1, 3));
}

#[tokio::test]
async fn a_name_with_a_dead_address_is_reached_at_another() {
    let receiver = RawReceiver::at("127.0.0.1:0", TAKEN, AfterAnswer::Close).await;
    let answers = Answers::new(&[&["127.0.0.3", "127.0.0.1"]]);
    let url = format!("http://endpoint.example:{}/", receiver.address.port());
    assert!(deliver(&asking(&answers, &["127.0.0.0/8"]), &url).await.is_success());
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_name_without_an_address_or_with_too_many_is_not_resolved() {
    let many = vec!["8.8.8.8"; 65];
    for answers in [Answers::new(&[]), Answers::new(&[&[]]), Answers::new(&[&many])] {
        let answer = deliver(&asking(&answers, &[]), "http://endpoint.example/").await;
        assert_eq!(answer, failed("the name could not be resolved"));
        assert_eq!(answers.asked(), 1);
    }
}

/// Never resolves a name that says so, and resolves any other to this machine.
struct Selective(AtomicUsize);

impl NameLookup for Selective {
    fn lookup(&self, name: String) -> LookupFuture {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if name.starts_with("slow") {
                std::future::pending::<()>().await;
            }
            Ok(vec![Ipv4Addr::LOCALHOST.into()])
        })
    }
}

#[tokio::test]
async fn a_tenant_whose_names_are_not_found_keeps_no_other_from_being_resolved() {
    let receiver = RawReceiver::at("127.0.0.1:0", TAKEN, AfterAnswer::Close).await;
    let lookup = Arc::new(Selective(AtomicUsize::new(0)));
    let sender = sender(Arc::clone(&lookup) as _, RootCertStore::empty(), &["127.0.0.0/8"]);
    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let sender = sender.clone();
            tokio::spawn(async move { deliver(&sender, &format!("http://slow-{number}.example/")).await })
        })
        .collect();
    eventually("names are looked up", || lookup.0.load(Ordering::SeqCst) > 0).await;
    let url = format!("http://endpoint.example:{}/", receiver.address.port());
    let other = WebhookEndpoint { tenant: TenantId::parse("tenant-456").expect("an id"), ..endpoint(&url) };
    let delivering = sender.send(Arc::new(other), message("Hello"));
    let answer = tokio::time::timeout(PATIENCE, delivering).await.expect("there is an answer");
    assert!(answer.is_success(), "{answer:?}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// An error that says more than the endpoint's owner may know.
struct Talkative;

impl NameLookup for Talkative {
    fn lookup(&self, _: String) -> LookupFuture {
        Box::pin(async { Err(io::Error::other("10.0.0.53 answers SERVFAIL")) })
    }
}

#[tokio::test]
async fn what_the_name_servers_say_is_not_passed_on() {
    let sender = sender(Arc::new(Talkative), RootCertStore::empty(), &[]);
    assert_eq!(
        deliver(&sender, "http://endpoint.example/?key=1").await,
        failed("the name could not be resolved")
    );
}
