//! The addresses that no endpoint may have: private, reserved and documentation networks, and every form of IPv6 that
//! contains an IPv4 address.
//!
//! An IPv4-mapped or -compatible address is refused whatever it contains: nobody has to write an address that way,
//! and two readings of one address are how checks are bypassed. NAT64 (`64:ff9b::/96`) is judged by the IPv4 address
//! inside, because networks without IPv4 reach everything through it; so is ISATAP, which any network may use.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether deliveries may go to this address only if `webhooks.allowed_networks` includes it.
#[must_use]
pub fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_refused_v4(address),
        IpAddr::V6(address) => is_refused_v6(address),
    }
}

fn is_refused_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This host, and loopback.
        [0 | 127, ..] => true,
        // Private, and shared behind a carrier's NAT.
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => true,
        // Link-local: the metadata services of clouds are there. One cloud has it at a public address.
        [169, 254, ..] | [168, 63, 129, 16] => true,
        // Protocol assignments, documentation, relays of 6to4, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            true
        }
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    }
}

fn is_refused_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // NAT64. It lies within ::/8, so it comes first.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            is_refused_v4(Ipv4Addr::new(a, b, c, d))
        }
        // ::/8: unspecified, loopback, mapped, compatible, and NAT64 of a local prefix.
        [0..=0xff, ..] => true,
        // Discard only.
        [0x100, 0, 0, 0, ..] => true,
        // Protocol assignments: Teredo, which carries IPv4, is among them.
        [0x2001, 0..=0x1ff, ..] => true,
        // Documentation, twice; 6to4, which carries IPv4; segment routing.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] | [0x5f00, ..] => true,
        // Unique local, link-local, site-local, multicast.
        [0xfc00..=0xfdff | 0xfe80..=0xfebf | 0xfec0..=0xfeff | 0xff00..=0xffff, ..] => true,
        // ISATAP: the second half contains an IPv4 address, and the router unpacks it.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => {
            let [.., a, b, c, d] = address.octets();
            is_refused_v4(Ipv4Addr::new(a, b, c, d))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        is_refused(text.parse().unwrap())
    }

    #[test]
    fn nat64_is_judged_by_the_address_inside() {
        assert!(refused("64:ff9b::127.0.0.1") && refused("64:ff9b::10.1.2.3"));
        assert!(!refused("64:ff9b::8.8.8.8"));
        assert!(refused("64:ff9b:1::8.8.8.8"), "a local prefix leads wherever its network likes");
        assert!(refused("64:ff9b::1:8.8.8.8"), "outside of the /96 it is not NAT64");
    }

    #[test]
    fn isatap_is_judged_by_the_address_inside() {
        assert!(refused("2606:4700::5efe:127.0.0.1") && refused("2606:4700::200:5efe:10.1.2.3"));
        assert!(!refused("2606:4700::5efe:8.8.8.8") && !refused("2606:4700::1:5efe:10.1.2.3"));
    }

    #[test]
    fn ipv4_in_the_form_of_ipv6_is_refused_whatever_it_carries() {
        assert!(refused("::ffff:8.8.8.8") && refused("::8.8.8.8") && refused("::ffff:0:8.8.8.8"));
        assert!(refused("2002:808:808::1"));
    }
}
