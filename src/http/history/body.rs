//! A long page, written a piece at a time.
//!
//! Whoever reads slowly must not make the service hold a page of megabytes for them. Of a long page only the places
//! of its messages are kept, and each piece is read from its session when the client has taken the one before. What
//! was taken never changes, so the length is known at once; when a session is erased meanwhile, or becomes somebody
//! else's, the answer breaks off.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::header::ContentType,
    web::Bytes,
};
use amoiq_actors::sessions::{PageLimit, PageQuery, PageWindow, SessionAccess, SessionDirectory};
use amoiq_events::{TenantId, session::SessionCaller};

use super::page::{HistoryPage, SessionMessage, json_bytes};
use crate::api::{
    messages::{Audience, MessagePlace, MessageResponse},
    problem::Problem,
};

/// A page whose texts have no more than this is written at once; a piece of a longer one has about as much.
const PIECE_BYTES: usize = 64 * 1024;

/// Where pieces are read, and for whom.
pub(super) struct HistorySource {
    pub(super) directory: SessionDirectory,
    pub(super) tenant: TenantId,
    pub(super) caller: SessionCaller,
}

impl HistorySource {
    /// The answer as it goes to the client.
    ///
    /// # Errors
    /// [`Problem::Internal`] when it cannot be written: a defect.
    pub(super) fn respond(self, page: &HistoryPage) -> Result<HttpResponse, Problem> {
        let audience = Audience::of(&self.caller);
        let texts: usize = page.messages.iter().map(|(_, message)| message.size_bytes()).sum();
        if texts <= PIECE_BYTES {
            return Ok(HttpResponse::Ok().json(page.response(audience)));
        }
        let (head, tail) = page.around()?;
        let mut rest = pieces(&page.messages, audience);
        let messages: usize = rest.iter().map(|piece| piece.bytes).sum();
        let commas = page.messages.len() - 1;
        let size = head.len() + messages + commas + tail.len();
        if let Some(last) = rest.back_mut() {
            last.after = tail;
        }
        if let Some(first) = rest.front_mut() {
            first.before = head;
        }
        let body = HistoryBody { source: self.into(), rest, reading: None, size: size as u64 };
        Ok(HttpResponse::Ok().content_type(ContentType::json()).body(body))
    }

    async fn read(&self, piece: PagePiece) -> Result<Bytes, HistoryBodyError> {
        let (window, limit) = (PageWindow::After(piece.first - 1), PageLimit::messages(piece.count));
        let query = PageQuery { caller: self.caller.clone(), window, limit };
        let reading = self.directory.read(&self.tenant, &piece.place.session, query);
        let (access, page) = reading.await.map_err(Problem::from).map_err(HistoryBodyError::Unread)?;
        if access != SessionAccess::Granted || page.messages.len() != piece.count as usize {
            return Err(HistoryBodyError::Gone);
        }
        let audience = Audience::of(&self.caller);
        let mut written = piece.before.into_bytes();
        let start = written.len();
        for message in &page.messages {
            if message.seq != piece.first {
                written.push(b',');
            }
            let view = MessageResponse::of(message, &piece.place, audience);
            serde_json::to_writer(&mut written, &view).map_err(HistoryBodyError::Unwritten)?;
        }
        let commas = page.messages.len() - 1;
        if written.len() - start != piece.bytes + commas {
            return Err(HistoryBodyError::Gone);
        }
        written.extend_from_slice(piece.after.as_bytes());
        Ok(written.into())
    }
}

/// Why the rest of a page does not come. The connection is closed then, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
enum HistoryBodyError {
    #[error("a session could not be read: {0}")]
    Unread(Problem),
    #[error("a session is not there any more, or not open to the reader")]
    Gone,
    #[error("a message could not be written: {0}")]
    Unwritten(serde_json::Error),
}

/// Neighbouring messages of one session.
struct PagePiece {
    place: MessagePlace,
    /// The `seq` of the first.
    first: u32,
    count: u32,
    /// As JSON, without the commas between them.
    bytes: usize,
    /// The JSON before and after them.
    before: String,
    after: String,
}

/// Cuts a page into pieces.
fn pieces(messages: &[SessionMessage], audience: Audience) -> VecDeque<PagePiece> {
    let mut pieces = VecDeque::<PagePiece>::new();
    for found in messages {
        let (place, message) = found;
        let bytes = json_bytes(found, audience);
        match pieces.back_mut() {
            Some(last)
                if last.place == *place
                    && last.first + last.count == message.seq
                    && last.bytes + bytes <= PIECE_BYTES =>
            {
                last.count += 1;
                last.bytes += bytes;
            }
            last => {
                let before = if last.is_some() { "," } else { "" }.to_owned();
                let (place, after) = (place.clone(), String::new());
                pieces.push_back(PagePiece { place, first: message.seq, count: 1, bytes, before, after });
            }
        }
    }
    pieces
}

/// A piece on its way from its session.
type PieceRead = Pin<Box<dyn Future<Output = Result<Bytes, HistoryBodyError>>>>;

/// The pieces of a page that are not written yet.
struct HistoryBody {
    source: Rc<HistorySource>,
    rest: VecDeque<PagePiece>,
    reading: Option<PieceRead>,
    size: u64,
}

impl MessageBody for HistoryBody {
    type Error = HistoryBodyError;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.size)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, HistoryBodyError>>> {
        let this = &mut *self;
        if this.reading.is_none() {
            let Some(piece) = this.rest.pop_front() else { return Poll::Ready(None) };
            let source = Rc::clone(&this.source);
            this.reading = Some(Box::pin(async move { source.read(piece).await }));
        }
        let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
        let read = ready!(reading.as_mut().poll(task));
        this.reading = None;
        Poll::Ready(Some(read))
    }
}
