//! What every handler knows of its request: its id, where it comes from, and whose credential it has.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    rc::Rc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header};
use amoiq_events::event::Cause;
use ipnet::IpNet;

use crate::{auth::Credential, problem::Problem};

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
    pub fn cause(&self, actor: &str) -> Cause {
        Cause { causation: self.request_id.clone(), actor: actor.into() }
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

/// The address of the client behind a request.
#[must_use]
pub fn client_of(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip());
    let lines = request.headers().get_all("x-forwarded-for").map(|line| line.as_bytes());
    client_address(peer, &lines.collect::<Vec<_>>(), trusted)
}

/// The client's address: the peer's, or, behind a trusted proxy, the nearest address of
/// `X-Forwarded-For` that is not a trusted proxy itself.
#[must_use]
pub fn client_address(peer: IpAddr, forwarded: &[&[u8]], trusted: &[IpNet]) -> IpAddr {
    let is_trusted =
        |address: &IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    if !is_trusted(&peer) {
        return peer;
    }
    let hops = forwarded.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut nearest = peer;
    for hop in hops {
        // Whatever stands before a hop that is no address is anybody's word.
        let address = str::from_utf8(hop).ok().and_then(|hop| hop.trim().parse::<IpAddr>().ok());
        let Some(address) = address else { break };
        nearest = address;
        if !is_trusted(&address) {
            break;
        }
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        client_of_bytes(peer, &forwarded.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    fn client_of_bytes(peer: &str, forwarded: &[&[u8]]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client_address(peer.parse().unwrap(), forwarded, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("203.0.113.9", &["1.2.3.4"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_nearest_untrusted_address_is_the_client() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4,10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, rubbish, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn a_hop_that_is_no_text_is_no_address_and_hides_none_behind_it() {
        assert_eq!(client_of_bytes("10.0.0.1", &[b"6.6.6.6", b"\xff, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client_of_bytes("10.0.0.1", &[b"6.6.6.6", b"\xff"]), "10.0.0.1");
    }
}
