//! Every refused network, up to its first and its last address and not one further. The expected answers come from a
//! list of networks as text.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use ipnet::IpNet;
use proptest::prelude::*;

use crate::delivery::{Answers, deliver, destinations, guarded, refused, refused_name, sender};

const REFUSED: [&str; 28] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/8",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

static NETWORKS: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| REFUSED.iter().map(|network| network.parse().expect("a network")).collect());

/// Networks that are judged by the last 32 bits.
const NAT64: &str = "64:ff9b::/96";

/// The same within public networks: these bits come before the last 32.
const ISATAP: [u32; 2] = [0x5efe, 0x0200_5efe];

fn is_listed(address: IpAddr) -> bool {
    let nat64: IpNet = NAT64.parse().expect("a network");
    let is_in_a_network = |address| NETWORKS.iter().any(|network| network.contains(address));
    match address {
        IpAddr::V6(v6) => {
            let last = |bits: u128| u32::try_from(bits & 0xffff_ffff).expect("32 bits");
            let inner = IpAddr::from(Ipv4Addr::from_bits(last(v6.to_bits())));
            if nat64.contains(&address) {
                return is_listed(inner);
            }
            let is_isatap = ISATAP.contains(&last(v6.to_bits() >> 32));
            is_in_a_network(&address) || is_isatap && is_listed(inner)
        }
        address => is_in_a_network(&address),
    }
}

fn is_refused(address: IpAddr) -> bool {
    destinations(&[]).vet_address(address).is_err()
}

/// The address at this distance; `None` beyond the first or the last.
fn beside(address: IpAddr, step: i8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add_signed(step.into())?).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_add_signed(step.into())?).into(),
    })
}

#[test]
fn every_network_is_refused_to_its_first_and_last_address_and_no_further() {
    let mut public = 0;
    for network in &*NETWORKS {
        let (first, last) = (network.network(), network.broadcast());
        assert!(is_refused(first) && is_refused(last), "{network}");
        for neighbour in [beside(first, -1), beside(last, 1)].into_iter().flatten() {
            assert_eq!(is_refused(neighbour), is_listed(neighbour), "{neighbour} beside {network}");
            public += usize::from(!is_refused(neighbour));
        }
    }
    assert!(public >= 20, "only {public} neighbours are public");
}

#[test]
fn public_addresses_are_taken() {
    for address in
        ["1.1.1.1", "8.8.8.8", "192.0.1.0", "2606:4700::1111", "2001:4860::8888", "64:ff9b::8.8.8.8"]
    {
        assert!(!is_refused(address.parse().expect("an address")), "{address}");
    }
}

/// Through the whole sender: it makes no connection, so the answer comes at once.
#[tokio::test]
async fn the_sender_refuses_the_ends_of_every_network_in_urls_and_behind_names() {
    for network in &*NETWORKS {
        for address in [network.network(), network.broadcast()] {
            let shown = address.to_string();
            let host = if address.is_ipv6() { format!("[{address}]") } else { shown.clone() };
            assert_eq!(deliver(&guarded(), &format!("http://{host}:9/")).await, refused(&shown));
            let named = sender(Answers::new(&[&[&shown]]), rustls::RootCertStore::empty(), &[]);
            assert_eq!(deliver(&named, "http://endpoint.example:9/").await, refused_name());
        }
    }
}

/// Anywhere, within a listed network, or close to the end of one.
fn address() -> impl Strategy<Value = IpAddr> {
    let anywhere = prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits))),
    ];
    let nat64 = any::<u32>().prop_map(|bits| {
        let [a, b, c, d] = Ipv4Addr::from_bits(bits).octets().map(u16::from);
        IpAddr::from(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a << 8 | b, c << 8 | d))
    });
    let listed = (0..REFUSED.len(), any::<u128>()).prop_map(|(number, bits)| within(NETWORKS[number], bits));
    let edge = (0..REFUSED.len(), any::<bool>(), -3..=3_i8).prop_map(|(number, is_last, step)| {
        let network = NETWORKS[number];
        let end = if is_last { network.broadcast() } else { network.network() };
        beside(end, step).unwrap_or(end)
    });
    let isatap = (any::<u64>(), any::<bool>(), any::<u32>()).prop_map(|(prefix, is_unique, inner)| {
        let identifier = u128::from(ISATAP[usize::from(is_unique)]) << 32 | u128::from(inner);
        IpAddr::from(Ipv6Addr::from_bits(u128::from(prefix) << 64 | identifier))
    });
    prop_oneof![anywhere, nat64, isatap, listed, edge]
}

/// The address of a network that has these bits after its prefix.
fn within(network: IpNet, bits: u128) -> IpAddr {
    match network {
        IpNet::V4(network) => {
            let bits = u32::try_from(bits & 0xffff_ffff).expect("32 bits");
            Ipv4Addr::from_bits(network.network().to_bits() | bits & network.hostmask().to_bits()).into()
        }
        IpNet::V6(network) => {
            Ipv6Addr::from_bits(network.network().to_bits() | bits & network.hostmask().to_bits()).into()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn an_address_is_refused_exactly_when_it_is_listed(address in address()) {
        prop_assert_eq!(is_refused(address), is_listed(address), "{}", address);
    }

    #[test]
    fn an_allowed_network_opens_itself_and_nothing_else(
        address in address(), opened in 0..REFUSED.len(), bits in any::<u128>()
    ) {
        let opening = destinations(&[REFUSED[opened]]);
        prop_assert_eq!(opening.vet_address(within(NETWORKS[opened], bits)), Ok(()));
        let is_open = NETWORKS[opened].contains(&address);
        prop_assert_eq!(opening.vet_address(address).is_err(), is_listed(address) && !is_open, "{}", address);
    }
}
