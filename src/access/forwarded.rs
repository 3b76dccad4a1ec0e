//! Who the client is behind proxies: `server.trusted_proxies` and `X-Forwarded-For`.
//!
//! Each proxy adds the address that it was called from at the right end of the header. So the header is read from
//! the right: the first address that is not one of our own proxies is the client, and everything to the left
//! of it is the client's own word. `Forwarded` (RFC 7239) and the PROXY protocol are not read: see
//! `docs/decisions/0018-behind-proxies.md`.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use actix_web::{HttpRequest, http::header::HeaderMap};
use amoiq_connections::LogThrottle;
use ipnet::IpNet;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// How much of a hop that is no address is shown in the log, in bytes.
const SHOWN_BYTES: usize = 64;

/// Whether a request says that a proxy passed it on.
#[must_use]
pub fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED)
}

/// The proxies whose `X-Forwarded-For` is believed, and what was seen of others.
#[derive(Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Requests whose headers were not believed.
    ignored: AtomicU64,
    /// For the line about a peer that is not trusted.
    stranger: LogThrottle,
    /// For the line about a proxy that names the client in `Forwarded` alone.
    other_header: LogThrottle,
    /// Whether the log has the line about a hop that is no address.
    told_unreadable: AtomicBool,
}

impl TrustedProxies {
    /// Believes the peers in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, ..Self::default() }
    }

    /// How many requests had a header that names a client, from a peer that is not trusted.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Relaxed)
    }

    /// Whether the peer of a request is one of them.
    #[must_use]
    pub fn is_peer_of(&self, request: &HttpRequest) -> bool {
        request.peer_addr().is_some_and(|peer| self.contains(peer.ip().to_canonical()))
    }

    /// The address of the client behind a request. It counts what is not believed, so it is asked once for each
    /// request.
    #[must_use]
    pub fn client_of(&self, request: &HttpRequest) -> IpAddr {
        let peer = request.peer_addr().map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let peer = peer.to_canonical();
        let headers = request.headers();
        if !self.contains(peer) {
            if is_forwarded(headers) {
                self.ignore(peer);
            }
            return peer;
        }
        if !headers.contains_key(X_FORWARDED_FOR) && headers.contains_key(FORWARDED) {
            self.miss(peer);
        }
        let lines = headers.get_all(X_FORWARDED_FOR).map(|line| line.as_bytes());
        self.nearest_client(peer, &lines.collect::<Vec<_>>())
    }

    /// The nearest address that is not a trusted proxy; the farthest proxy when there is none. `peer` is one.
    fn nearest_client(&self, peer: IpAddr, lines: &[&[u8]]) -> IpAddr {
        let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        let mut nearest = peer;
        // An empty element of a list is nothing (RFC 9110, 5.6.1): some proxies end the list with a comma.
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
            let Some(address) = read_hop(hop) else {
                // Anybody can have written what is to the left of it.
                self.tell_unreadable(hop, nearest);
                break;
            };
            nearest = address;
            if !self.contains(address) {
                break;
            }
        }
        nearest
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    fn ignore(&self, peer: IpAddr) {
        self.ignored.fetch_add(1, Relaxed);
        if self.stranger.is_due() {
            let known = self.networks.iter().map(|network| format!("\"{network}\", "));
            let known: String = known.collect();
            tracing::warn!(
                proxy.address = %peer,
                "X-Forwarded-For or Forwarded comes from {peer}, which is not in server.trusted_proxies: all clients \
                 behind it count as one address. If it is your own proxy, add under [server]: \
                 trusted_proxies = [{known}\"{}\"]",
                IpNet::from(peer),
            );
        }
    }

    fn miss(&self, peer: IpAddr) {
        if self.other_header.is_due() {
            tracing::warn!(
                proxy.address = %peer,
                "the trusted proxy {peer} sends Forwarded and no X-Forwarded-For: all clients behind it count as one \
                 address. Only X-Forwarded-For is read: let the proxy write it"
            );
        }
    }

    fn tell_unreadable(&self, hop: &[u8], counted: IpAddr) {
        if !self.told_unreadable.swap(true, Relaxed) {
            let hop = String::from_utf8_lossy(hop);
            let shown = hop.get(..hop.floor_char_boundary(SHOWN_BYTES)).unwrap_or_default();
            tracing::warn!(
                hop = ?shown,
                client.address = %counted,
                "an element of X-Forwarded-For is no address: the one to its right counts as the client. This is \
                 said once"
            );
        }
    }
}

/// The address that an element of `X-Forwarded-For` names: `192.0.2.1`, `192.0.2.1:51001`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:443`, with a zone (`fe80::1%eth0`) or without, each in quotes or not. The port
/// and the zone do not count.
fn read_hop(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop).ok()?;
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim();
    let address = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            if !rest.is_empty() && !is_port(rest.strip_prefix(':')?) {
                return None;
            }
            read_address(address)?
        }
        None => match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse::<Ipv4Addr>().ok()?.into(),
            _ => read_address(text)?,
        },
    };
    Some(address.to_canonical())
}

/// An address without a port.
fn read_address(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        Some((address, zone)) if !zone.is_empty() => address.parse().ok().map(IpAddr::V6),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        client_of_bytes(peer, &forwarded.iter().map(|line| line.as_bytes()).collect::<Vec<_>>())
    }

    fn client_of_bytes(peer: &str, forwarded: &[&[u8]]) -> String {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        trusted.nearest_client(peer.parse().unwrap(), forwarded).to_string()
    }

    #[test]
    fn the_nearest_untrusted_address_is_the_client() {
        assert_eq!(client("10.0.0.1", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4,10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, ::ffff:10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, rubbish, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn an_address_is_read_however_a_proxy_writes_it() {
        for spelling in [
            "198.51.100.7",
            " 198.51.100.7 ",
            "198.51.100.7:51001",
            "\"198.51.100.7\"",
            "\"198.51.100.7:51001\"",
            "::ffff:198.51.100.7",
            "[::ffff:198.51.100.7]:443",
            "198.51.100.7,",
            "198.51.100.7:51001 , ,",
            "6.6.6.6, 198.51.100.7, 10.0.0.2:4711, [fd00::1]:80",
        ] {
            assert_eq!(client("10.0.0.1", &[spelling]), "198.51.100.7", "{spelling}");
        }
        for spelling in [
            "2001:db8::1",
            "[2001:db8::1]",
            "[2001:db8::1]:443",
            "\"[2001:db8::1]:443\"",
            "\"2001:db8::1\"",
            "2001:db8::1%eth0",
            "[2001:db8::1%25eth0]:443",
            "2001:0DB8:0:0:0:0:0:1",
        ] {
            assert_eq!(client("10.0.0.1", &[spelling]), "2001:db8::1", "{spelling}");
        }
    }

    #[test]
    fn what_is_no_address_hides_what_stands_before_it_and_the_one_to_its_right_counts() {
        for hop in [
            "unknown",
            "_hidden",
            "198.51.100",
            "198.51.100.7:",
            "198.51.100.7:x",
            "198.51.100.7:123456",
            "198.51.100.7%eth0",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "[2001:db8::1]:",
            "[]",
            "2001:db8::1%",
            "\"198.51.100.7",
            "for=198.51.100.7",
            "198.51.100.7 6.6.6.6",
            "\"\"",
        ] {
            assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6, {hop}")]), "10.0.0.1", "{hop}");
            assert_eq!(client("10.0.0.1", &[&format!("{hop}, 1.2.3.4")]), "1.2.3.4", "{hop}");
        }
        assert_eq!(client_of_bytes("10.0.0.1", &[b"6.6.6.6", b"\xff, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client_of_bytes("10.0.0.1", &[b"6.6.6.6", b"\xff"]), "10.0.0.1");
    }
}
