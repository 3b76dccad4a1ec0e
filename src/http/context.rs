//! What every handler knows of its request: its id, where it comes from, and whose credential it has.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header};
use amoiq_events::event::EventCause;

use crate::{access::auth::Credential, api::problem::Problem};

/// Made once for each request, by [`super::limits`].
#[derive(Debug, Clone)]
pub struct Context {
    /// `X-Request-Id`.
    pub request_id: Box<str>,
    /// The client, behind trusted proxies.
    pub client: IpAddr,
    /// The credential, or why there is none.
    pub credential: Result<Credential, Problem>,
}

impl Context {
    /// The cause that the events of this request carry.
    #[must_use]
    pub fn cause(&self, actor: &str) -> EventCause {
        EventCause { causation: self.request_id.clone(), actor: actor.into() }
    }
}

/// A shared [`Context`], as handlers take it.
#[derive(Debug, Clone)]
pub struct Caller(pub Rc<Context>);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let context = request.extensions().get::<Rc<Context>>().cloned();
        ready(context.map(Self).ok_or(Problem::Internal))
    }
}

/// The credential in `Authorization: Bearer …`.
#[must_use]
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credential.trim())
}
