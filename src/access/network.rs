//! Whom an address stands for, when clients are counted by it; networks, written alike.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

/// The address itself for IPv4; the /64 for IPv6, since one client has all of it.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A network of IPv4 addresses, also where it is written with IPv6 ones (`::ffff:10.0.0.0/104`). Peers are compared
/// in their canonical form, so it would contain none of them otherwise.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(written) = network else { return network };
    let mapped = written.addr().to_ipv4_mapped().zip(written.prefix_len().checked_sub(96));
    let network_v4 = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    network_v4.map_or(network, IpNet::V4)
}
