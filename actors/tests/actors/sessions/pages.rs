//! Pages are the same from memory and from the log, whatever events are between the messages.

use std::sync::Arc;

use amoiq_actors::sessions::{ChatMessage, MessagePage, PageWindow, SessionConversation};
use amoiq_events::{ConversationId, Event, codec, session::SessionEvent};

use crate::given::{Given, paused};

/// The newest 200 of these are in memory.
const MESSAGES: u32 = 250;

/// The first that is in memory.
const FIRST_KEPT: u32 = MESSAGES - 200 + 1;

#[test]
fn every_page_equals_the_log_from_memory_and_from_the_log() {
    paused(async {
        let given = conversation().await;
        let fresh = given.restarted();
        let all = messages(&given).await;
        for limit in [0, 1, 7, 199, 200, 201, 300] {
            for seq in 0..=MESSAGES + 2 {
                for window in [PageWindow::Before(seq), PageWindow::After(seq)] {
                    let page = given.page("s", window, limit).await;
                    assert_eq!(page, expected(&all, window, limit), "{window:?}, {limit}");
                    assert_eq!(page, fresh.page("s", window, limit).await, "{window:?}, {limit}");
                }
            }
            let newest = given.page("s", PageWindow::Newest, limit).await;
            assert_eq!(newest, given.page("s", PageWindow::Before(MESSAGES + 1), limit).await);
        }
    });
}

#[test]
fn a_page_in_memory_reads_nothing_and_one_before_it_reads_the_log() {
    paused(async {
        let given = conversation().await;
        let reads = given.store.reads();
        given.page("s", PageWindow::Newest, 200).await;
        given.page("s", PageWindow::After(FIRST_KEPT - 1), 10).await;
        assert_eq!(given.store.reads(), reads);
        given.page("s", PageWindow::After(FIRST_KEPT - 2), 10).await;
        assert_eq!(given.store.reads(), reads + 1);
    });
}

#[test]
fn a_long_text_pushes_others_out_of_memory_and_the_pages_stay_the_same() {
    paused(async {
        let given = Given::new();
        for number in 0..12 {
            given.say("s", &"x".repeat(40_000 + number)).await;
        }
        let all = messages(&given).await;
        for seq in 0..=13 {
            for window in [PageWindow::Before(seq), PageWindow::After(seq)] {
                assert_eq!(given.page("s", window, 5).await, expected(&all, window, 5), "{window:?}");
            }
        }
    });
}

#[test]
fn a_missing_session_has_an_empty_page() {
    paused(async {
        let given = Given::new();
        for window in [PageWindow::Newest, PageWindow::Before(3), PageWindow::After(0)] {
            assert_eq!(given.page("nobody", window, 10).await, MessagePage::default());
        }
        assert!(given.store.log().await.is_empty(), "asking makes none");
    });
}

/// A conversation that was closed several times, so that versions run ahead of `seq`.
async fn conversation() -> Given {
    let given = Given::new();
    for number in 1..=MESSAGES {
        given.say("s", &format!("message {number}")).await;
        if number % 40 == 0 || number + 1 == FIRST_KEPT {
            given.close("s").await;
        }
    }
    given
}

async fn messages(given: &Given) -> Vec<Arc<ChatMessage>> {
    let message = |recorded| match codec::decode(&recorded).expect("an event") {
        Event::Session(SessionEvent::MessageCreated(created)) => {
            Some(Arc::new(ChatMessage::of(&created, recorded.event.time, recorded.position)))
        }
        _ => None,
    };
    given.store.log().await.into_iter().filter_map(message).collect()
}

fn expected(all: &[Arc<ChatMessage>], window: PageWindow, limit: u32) -> MessagePage {
    let limit = usize::try_from(limit).expect("a small number");
    let is_wanted = |message: &&Arc<ChatMessage>| match window {
        PageWindow::Newest => true,
        PageWindow::Before(seq) => message.seq < seq,
        PageWindow::After(seq) => message.seq > seq,
    };
    let wanted: Vec<_> = all.iter().filter(is_wanted).cloned().collect();
    let has_more = wanted.len() > limit;
    let skipped = if matches!(window, PageWindow::After(_)) { 0 } else { wanted.len().saturating_sub(limit) };
    let messages = wanted.into_iter().skip(skipped).take(limit).collect();
    let id = all.first().map(|first| ConversationId::from_bytes(*first.id.as_bytes()));
    MessagePage { messages, has_more, conversation: id.map(|id| SessionConversation { id, closed_at: None }) }
}
