//! Which addresses sinks may have. Pure.
//!
//! Who may configure a sink, or the DNS of its name, could otherwise have the shard knock at doors that are open only
//! from inside: metadata services of clouds, this process's own admin port. So each address is looked at when a
//! connection is made, after the name has been resolved: a name that later resolves to something else gains nothing.
//!
//! | addresses | allowed |
//! | --- | --- |
//! | link-local, metadata services, multicast, broadcast, unspecified, reserved | never |
//! | `denied` | no, whatever else is written |
//! | loopback | with `--sink`, or if `allowed` has it |
//! | if `allowed` is written: all others | no |
//! | else | yes, private ones too: in a cluster, most sinks have those |
//!
//! IPv6 has several ways to write an IPv4 address, and machines that take each of them at its word. So the IPv4
//! address within is looked at as well. May import nothing of this crate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use signalbox_contract::AddressPolicy;

/// Never allowed: what they are called, and where they are.
const NEVER: [(&str, &[&str]); 6] = [
    ("unspecified", &["0.0.0.0/8", "::/128"]),
    ("link-local", &["169.254.0.0/16", "fe80::/10"]),
    ("multicast", &["224.0.0.0/4", "ff00::/8"]),
    ("broadcast", &["255.255.255.255/32"]),
    ("reserved", &["240.0.0.0/4", "100::/64"]),
    // Those that are not link-local: AWS, GCP, Azure, Alibaba, Oracle.
    ("metadata", &["fd00:ec2::/32", "fd20:ce::254/128", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"]),
];

/// This machine itself.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// A network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    /// Of an IPv4 network, the last 32 bits, the others being zero.
    bits: u128,
    prefix: u32,
    v4: bool,
}

impl Network {
    /// `10.0.0.0/8`. An address alone is a network of one.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let width = width(address);
        // `+8` would be taken for 8.
        let digits = prefix.is_none_or(|prefix| prefix.bytes().all(|byte| byte.is_ascii_digit()));
        let prefix =
            prefix.map_or(Some(width), |prefix| prefix.parse().ok()).filter(|&bits| digits && bits <= width)?;
        let (bits, v4) = (bits(address), address.is_ipv4());
        // Bits behind the prefix are a slip: 10.1.2.3/8 may mean one address or 16 million.
        (masked(bits, prefix, width) == bits).then_some(Self { bits, prefix, v4 })
    }

    fn contains(self, address: IpAddr) -> bool {
        self.v4 == address.is_ipv4() && masked(bits(address), self.prefix, width(address)) == self.bits
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn masked(bits: u128, prefix: u32, width: u32) -> u128 {
    let behind = width.saturating_sub(prefix);
    bits.checked_shr(behind).unwrap_or(0).checked_shl(behind).unwrap_or(0)
}

/// An address that a sink may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {address} is not allowed: {rule}")]
pub(super) struct NotAllowed {
    address: IpAddr,
    rule: String,
}

/// The addresses that sinks of this shard may have.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    never: Vec<(&'static str, Network)>,
    loopback: Vec<Network>,
    loopback_allowed: bool,
    denied: Vec<Network>,
    allowed: Vec<Network>,
}

impl Addresses {
    /// What `policy` says. `standalone` is a shard on somebody's own machine. The error says what to write.
    pub(super) fn new(policy: &AddressPolicy, standalone: bool) -> Result<Self, String> {
        let read = |field: &str, texts: &[String]| {
            let network = |text: &String| {
                Network::parse(text).ok_or_else(|| {
                    format!(
                        "addresses.{field} has {text:?}, which is no network: write one in CIDR notation such as \
                         10.0.0.0/8, with no bits set behind the prefix"
                    )
                })
            };
            texts.iter().map(network).collect::<Result<Vec<_>, _>>()
        };
        let never = NEVER.iter().flat_map(|(name, texts)| {
            texts.iter().filter_map(move |text| Network::parse(text).map(|network| (*name, network)))
        });
        Ok(Self {
            never: never.collect(),
            loopback: LOOPBACK.iter().filter_map(|text| Network::parse(text)).collect(),
            loopback_allowed: standalone,
            denied: read("denied", &policy.denied)?,
            allowed: read("allowed", &policy.allowed)?,
        })
    }

    /// Whether a sink may have this address, and the one within it if there is one.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), NotAllowed> {
        let within = embedded(address);
        // A mapped address is the IPv4 one, and connects to it. The others are addresses of their own, too.
        let canonical = address.to_canonical();
        self.check_one(canonical, address)?;
        within.filter(|v4| IpAddr::V4(*v4) != canonical).map_or(Ok(()), |v4| self.check_one(IpAddr::V4(v4), address))
    }

    fn check_one(&self, address: IpAddr, shown: IpAddr) -> Result<(), NotAllowed> {
        let refuse = |rule: String| Err(NotAllowed { address: shown, rule });
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        if let Some((name, _)) = self.never.iter().find(|(_, network)| network.contains(address)) {
            return refuse(format!("{name} addresses never are"));
        }
        if is_in(&self.denied) {
            return refuse("it is in addresses.denied".to_owned());
        }
        if is_in(&self.allowed) {
            return Ok(());
        }
        if is_in(&self.loopback) {
            return if self.loopback_allowed {
                Ok(())
            } else {
                refuse("loopback addresses are only if addresses.allowed has them".to_owned())
            };
        }
        if self.allowed.is_empty() { Ok(()) } else { refuse("it is not in addresses.allowed".to_owned()) }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64, 6to4 or Teredo.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = address else { return None };
    let bits = v6.to_bits();
    let within = |shift: u32| Some(Ipv4Addr::from_bits(u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or(0)));
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => within(0),
        [0, 0, 0, 0, 0, 0, ..] if v6 != Ipv6Addr::LOCALHOST && v6 != Ipv6Addr::UNSPECIFIED => within(0),
        [0x2002, ..] => within(80),
        // Stored with all bits turned.
        [0x2001, 0, ..] => within(0).map(|v4| Ipv4Addr::from_bits(!v4.to_bits())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, NEVER, Network};
    use proptest::prelude::*;
    use signalbox_contract::AddressPolicy;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn addresses(denied: &[&str], allowed: &[&str], standalone: bool) -> Addresses {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Addresses::new(&AddressPolicy { denied: own(denied), allowed: own(allowed) }, standalone).unwrap()
    }

    fn said(policy: &Addresses, address: &str) -> Option<String> {
        policy.check(address.parse().unwrap()).err().map(|refused| refused.to_string())
    }

    #[test]
    fn all_networks_that_are_never_allowed_are_understood() {
        for text in NEVER.iter().flat_map(|(_, texts)| texts.iter()).chain(&super::LOOPBACK) {
            assert!(Network::parse(text).is_some(), "{text}");
        }
    }

    #[test]
    fn metadata_services_are_never_allowed_however_they_are_written() {
        let everything = addresses(&[], &["0.0.0.0/0", "::/0"], true);
        for address in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            // Teredo: 169.254.169.254 with all bits turned.
            "2001:0:4136:e378:8000:63bf:5601:5601",
            "0.0.0.0",
            "::",
            "255.255.255.255",
            "224.0.0.1",
            "ff02::1",
            "240.0.0.1",
        ] {
            let refused = said(&everything, address).unwrap_or_else(|| panic!("{address} is allowed"));
            assert!(refused.contains("never are"), "{refused}");
        }
    }

    #[test]
    fn loopback_is_for_a_shard_of_ones_own_or_where_it_is_written() {
        for address in ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"] {
            assert_eq!(said(&addresses(&[], &[], true), address), None);
            let refused = said(&addresses(&[], &[], false), address).unwrap();
            assert!(refused.contains("loopback") && refused.contains("addresses.allowed"), "{refused}");
        }
        let written = addresses(&[], &["127.0.0.0/8"], false);
        assert_eq!(said(&written, "127.0.0.1"), None);
        assert_eq!(said(&written, "::ffff:127.0.0.1"), None);
        assert!(said(&written, "10.0.0.1").is_some());
    }

    #[test]
    fn private_and_public_addresses_are_allowed_unless_the_policy_says_otherwise() {
        let open = addresses(&["10.1.0.0/16"], &[], false);
        for (address, allowed) in [("10.0.0.1", true), ("93.184.216.34", true), ("fd12::1", true), ("10.1.2.3", false)]
        {
            assert_eq!(said(&open, address).is_none(), allowed, "{address}");
        }
        let closed = addresses(&["10.1.0.0/16"], &["10.0.0.0/8", "2001:db8::/32"], false);
        for (address, rule) in
            [("10.1.2.3", "it is in addresses.denied"), ("93.184.216.34", "it is not in addresses.allowed")]
        {
            assert_eq!(said(&closed, address).unwrap(), format!("the address {address} is not allowed: {rule}"));
        }
        assert_eq!((said(&closed, "10.2.0.1"), said(&closed, "2001:db8::5")), (None, None));
    }

    #[test]
    fn what_is_no_network_is_refused_in_a_sentence() {
        for text in ["10.0.0.0/33", "10.0.0.1/8", "ten", "10.0.0.0/", "::/129", "10.0.0.0/+8", ""] {
            let policy = AddressPolicy { denied: vec![text.to_owned()], allowed: vec![] };
            let sentence = Addresses::new(&policy, false).unwrap_err();
            assert!(sentence.contains("addresses.denied") && sentence.contains("write one in CIDR"), "{sentence}");
        }
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "10.1.2.3", "fd00::/8", "::1"] {
            assert!(Network::parse(text).is_some(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_address_panics_and_an_ipv4_address_within_another_gains_nothing(bits in any::<u128>(), v4 in any::<u32>()) {
            let policy = addresses(&["10.0.0.0/8"], &[], false);
            let _ = policy.check(IpAddr::V6(Ipv6Addr::from_bits(bits)));
            let v4 = Ipv4Addr::from_bits(v4);
            let plain = policy.check(IpAddr::V4(v4)).is_ok();
            for prefix in ["::ffff:", "64:ff9b::"] {
                let written: Ipv6Addr = format!("{prefix}{v4}").parse().unwrap();
                prop_assert!(plain || policy.check(IpAddr::V6(written)).is_err(), "{}", written);
            }
        }
    }
}
