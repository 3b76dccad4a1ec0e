//! What pages say of visitors who have not written: it is kept in memory and stored with their next message.
//!
//! Every page view says it, and most visitors never write, so nothing of it goes into the log by itself.

use std::sync::Arc;

use amoiq_events::{
    SessionId, ShortText, TenantId, UserId,
    session::{SendMessage, VisitedPage},
};
use hashlink::LinkedHashMap;
use parking_lot::Mutex;
use serde_json::value::RawValue;

/// How many bytes of notes are kept; the oldest leave.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// What an entry takes beside its texts.
const ENTRY_BYTES: usize = 512;

/// What a page says of its visitor.
#[derive(Debug, Clone, Default)]
pub struct VisitorNote {
    /// The user that the visitor claims to be.
    pub user_id: Option<UserId>,
    /// What the visitor says about themselves: a JSON object.
    pub user_info: Option<Box<RawValue>>,
    /// For agents to see.
    pub fingerprint: Option<ShortText>,
    /// The page.
    pub page: VisitedPage,
}

impl VisitorNote {
    /// Takes over what a later note says.
    fn learn(&mut self, later: Self) {
        let Self { user_id, user_info, fingerprint, page } = later;
        self.user_id = user_id.or_else(|| self.user_id.take());
        self.user_info = user_info.or_else(|| self.user_info.take());
        self.fingerprint = fingerprint.or_else(|| self.fingerprint.take());
        if page != VisitedPage::default() {
            self.page = page;
        }
    }

    fn bytes(&self) -> usize {
        let info = self.user_info.as_ref().map_or(0, |info| info.get().len());
        let user = self.user_id.as_ref().map_or(0, |user| user.as_str().len());
        let fingerprint = self.fingerprint.as_ref().map_or(0, |text| text.as_str().len());
        info + user + fingerprint + self.page.texts_bytes() + ENTRY_BYTES
    }
}

/// The notes of all visitors. Cheap to clone.
#[derive(Clone, Default)]
pub struct VisitorNotes(Arc<Mutex<NoteTable>>);

type NoteKey = (TenantId, SessionId);

#[derive(Default)]
struct NoteTable {
    /// From the oldest to the newest.
    notes: LinkedHashMap<NoteKey, VisitorNote>,
    bytes: usize,
}

impl VisitorNotes {
    /// Notes what a page says of the visitor of a session.
    pub fn note(&self, tenant: &TenantId, session: &SessionId, said: VisitorNote) {
        self.0.lock().note((tenant.clone(), session.clone()), said);
    }

    /// Adds what is noted to a visitor's message, where the message says nothing itself. Returns the note, which is not kept: it is
    /// stored with the message.
    pub fn complete(
        &self,
        tenant: &TenantId,
        session: &SessionId,
        message: &mut SendMessage,
    ) -> Option<VisitorNote> {
        let mut table = self.0.lock();
        if table.notes.is_empty() {
            return None;
        }
        let note = table.take(&(tenant.clone(), session.clone()))?;
        message.user_id = message.user_id.take().or_else(|| note.user_id.clone());
        message.user_info = message.user_info.take().or_else(|| note.user_info.clone());
        message.fingerprint = message.fingerprint.take().or_else(|| note.fingerprint.clone());
        if message.page == VisitedPage::default() {
            message.page = note.page.clone();
        }
        Some(note)
    }

    /// Forgets what was said of these sessions, and whatever was said of a user.
    pub fn erase(&self, tenant: &TenantId, sessions: &[SessionId], user: Option<&UserId>) {
        let mut table = self.0.lock();
        let NoteTable { notes, bytes } = &mut *table;
        notes.retain(|(of, session), note| {
            let is_theirs = user.is_some() && note.user_id.as_ref() == user;
            let is_erased = of == tenant && (is_theirs || sessions.contains(session));
            if is_erased {
                *bytes -= note.bytes();
            }
            !is_erased
        });
    }

    /// Keeps a note again whose message was not stored. What was said since takes precedence.
    pub fn give_back(&self, tenant: &TenantId, session: &SessionId, mut note: VisitorNote) {
        let key = (tenant.clone(), session.clone());
        let mut table = self.0.lock();
        if let Some(later) = table.take(&key) {
            note.learn(later);
        }
        table.note(key, note);
    }
}

impl NoteTable {
    fn note(&mut self, key: NoteKey, said: VisitorNote) {
        let mut note = self.take(&key).unwrap_or_default();
        note.learn(said);
        self.bytes += note.bytes();
        self.notes.insert(key, note);
        while self.bytes > KEPT_BYTES
            && let Some((_, oldest)) = self.notes.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    fn take(&mut self, key: &NoteKey) -> Option<VisitorNote> {
        let note = self.notes.remove(key)?;
        self.bytes -= note.bytes();
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn session(number: usize) -> SessionId {
        SessionId::parse(&format!("session-{number:010}")).unwrap()
    }

    fn named(user: &str) -> VisitorNote {
        VisitorNote { user_id: Some(UserId::parse(user).unwrap()), ..VisitorNote::default() }
    }

    #[test]
    fn a_later_note_changes_what_it_says_and_nothing_else() {
        let mut note = VisitorNote { fingerprint: ShortText::cut("f1"), ..named("ann") };
        note.learn(named("bob"));
        assert_eq!((note.user_id, note.fingerprint), (UserId::parse("bob").ok(), ShortText::cut("f1")));
    }

    #[test]
    fn a_note_that_was_not_stored_comes_back_under_what_was_said_since() {
        let (notes, of) = (VisitorNotes::default(), session(1));
        notes.note(&tenant(), &of, VisitorNote { fingerprint: ShortText::cut("f1"), ..named("ann") });
        let note = notes.0.lock().take(&(tenant(), of.clone())).unwrap();
        notes.note(&tenant(), &of, named("bob"));
        notes.give_back(&tenant(), &of, note);
        let note = notes.0.lock().take(&(tenant(), of)).unwrap();
        assert_eq!((note.user_id, note.fingerprint), (UserId::parse("bob").ok(), ShortText::cut("f1")));
        assert_eq!(notes.0.lock().bytes, 0);
    }

    #[test]
    fn beyond_the_bound_the_oldest_notes_leave() {
        let notes = VisitorNotes::default();
        let info = || serde_json::value::to_raw_value(&"x".repeat(4_000)).ok();
        for number in 0..10_000 {
            let said = VisitorNote { user_info: info(), ..named("ann") };
            notes.note(&tenant(), &session(number), said);
        }
        let table = notes.0.lock();
        assert!(table.bytes <= KEPT_BYTES);
        assert_eq!(table.bytes, table.notes.values().map(VisitorNote::bytes).sum::<usize>());
        assert!(!table.notes.contains_key(&(tenant(), session(0))));
        assert!(table.notes.contains_key(&(tenant(), session(9_999))));
    }
}
