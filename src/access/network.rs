//! Networks of IPv4 addresses in one form, however they are written.

use ipnet::{IpNet, Ipv4Net};

/// A network of IPv4 addresses, also where it is written with IPv6 ones (`::ffff:10.0.0.0/104`). Peers are compared
/// in their canonical form, so it would contain none of them otherwise.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(written) = network else { return network };
    let mapped = written.addr().to_ipv4_mapped().zip(written.prefix_len().checked_sub(96));
    let network_v4 = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    network_v4.map_or(network, IpNet::V4)
}
