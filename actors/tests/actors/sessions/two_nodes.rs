//! Sessions whose actors live on two nodes at once: each remembers what it read and what it appended itself.

use amoiq_actors::sessions::{ErasureCondition, PageWindow, SentMessage, SessionError};
use amoiq_events::{
    EventLog,
    session::{ConversationCloseReason, SessionRefusal},
};

use crate::given::{Given, cause, id, paused, tenant};

#[test]
fn what_one_node_acknowledged_is_in_the_next_page_of_the_other() {
    paused(async {
        let [a, b] = Given::two_nodes();
        a.say("s", "one").await;
        assert_eq!(b.texts("s").await, ["one"]);
        for number in 2..50 {
            let (writer, reader) = if number % 3 == 0 { (&a, &b) } else { (&b, &a) };
            writer.say("s", &format!("{number}")).await;
            assert_eq!(reader.texts("s").await.last(), Some(&format!("{number}")));
        }
        let seqs: Vec<_> = a.stored().await.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, (1..50).collect::<Vec<_>>());
    });
}

#[test]
fn a_node_reads_only_what_is_new() {
    paused(async {
        let [a, b] = Given::two_nodes();
        for number in 0..1_500 {
            a.say("s", &format!("{number}")).await;
        }
        b.texts("s").await;
        a.say("s", "last").await;
        let reads = b.store.reads();
        let page = b.page("s", PageWindow::Newest, 1).await;
        assert!(page.messages.iter().all(|newest| newest.text.as_str() == "last"));
        assert_eq!(b.store.reads(), reads + 1);
    });
}

#[test]
fn one_client_id_is_one_message_on_whatever_node_it_is_repeated() {
    paused(async {
        let [a, b] = Given::two_nodes();
        a.say("s", "one").await;
        b.say("s", "two").await;
        let first = match a.send("s", "same", "three").await.expect("it is stored") {
            SentMessage::Stored(message) => message.id,
            SentMessage::Duplicate(_) => panic!("it is new"),
        };
        let again = b.send("s", "same", "three").await.expect("it is answered");
        assert_eq!(again, SentMessage::Duplicate(first));
        let other = b.send("s", "same", "four").await;
        assert!(
            matches!(other, Err(SessionError::Refused(SessionRefusal::OtherText(id))) if id == first),
            "{other:?}"
        );
    });
}

#[test]
fn a_node_that_remembers_a_closed_conversation_closes_it_when_another_reopened_it() {
    paused(async {
        let [a, b] = Given::two_nodes();
        a.say("s", "one").await;
        b.close("s").await;
        a.say("s", "two").await;
        b.close("s").await;
        let kinds: Vec<_> = a.store.log().await.into_iter().map(|event| event.event.kind).collect();
        assert_eq!(kinds.last().map(|kind| &**kind), Some("conversation.closed"));
    });
}

#[test]
fn a_node_that_remembers_no_session_finds_the_one_that_another_started() {
    paused(async {
        let [a, b] = Given::two_nodes();
        let close =
            async || b.directory.close(&tenant(), &id("s"), ConversationCloseReason::Agent, cause()).await;
        let missing = close().await;
        assert!(matches!(missing, Err(SessionError::Refused(SessionRefusal::NotFound))), "{missing:?}");
        a.say("s", "one").await;
        close().await.expect("it is closed");
    });
}

#[test]
fn a_session_that_one_node_erased_is_gone_from_the_memory_of_the_other() {
    paused(async {
        let [a, b] = Given::two_nodes();
        a.say("s", "before").await;
        b.say("s", "before").await;
        let end = ErasureCondition::StartedBy(a.store.head());
        let erased = a.directory.erase(&tenant(), &id("s"), end, cause()).await;
        assert!(erased.expect("it is erased").is_some());
        assert_eq!(b.texts("s").await, [""; 0]);
        // The new session has as many events as the old one had.
        a.say("s", "anew").await;
        a.say("s", "anew, too").await;
        assert_eq!(b.texts("s").await, ["anew", "anew, too"]);
        b.say("s", "from b").await;
        assert_eq!(a.texts("s").await, ["anew", "anew, too", "from b"]);
    });
}
