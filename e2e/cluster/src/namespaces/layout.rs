//! Which nodes there are, what everything is called, and which addresses are used.

use std::net::Ipv4Addr;

use sha2::{Digest, Sha256};

use crate::tools::hex;

/// A node to be: two regions of two nodes are the least on which one node of a region can be lost and
/// a whole region too, and on two processors all four are Ready in well under a minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) name: &'static str,
    pub(crate) region: &'static str,
    pub(crate) zone: &'static str,
}

/// The nodes, in the order of their addresses.
pub(crate) const NODES: [Planned; 4] = [
    Planned { name: "eu-west-1", region: "eu-west", zone: "eu-west-a" },
    Planned { name: "eu-west-2", region: "eu-west", zone: "eu-west-b" },
    Planned { name: "us-east-1", region: "us-east", zone: "us-east-a" },
    Planned { name: "us-east-2", region: "us-east", zone: "us-east-b" },
];

/// Cluster-internal addresses of Services. They exist only in the nodes' packet filters, so that clusters
/// beside each other can use the same.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The first of [`SERVICES`], which Kubernetes takes for the API server.
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The customary address of the cluster's DNS.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";
/// Where the API server listens.
pub(crate) const API_PORT: u16 = 6443;

/// 10.x.0.0/16: the nodes in 10.x.0.0/24, the pods of the n-th node in 10.x.(128+n).0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Subnet(u8);

impl Subnet {
    /// Out of the way of what engines, clouds and [`SERVICES`] use by default.
    const CANDIDATES: std::ops::RangeInclusive<u8> = 200..=239;

    /// The first candidate that none of `routes` overlaps, each an address and a prefix length.
    pub(crate) fn choose(routes: &[(Ipv4Addr, u8)]) -> Option<Self> {
        Self::CANDIDATES.map(Self).find(|subnet| {
            // A default route leads everywhere: it is not a network that is in use.
            routes.iter().filter(|(_, length)| *length > 0).all(|route| !subnet.overlaps(*route))
        })
    }

    fn overlaps(self, (address, length): (Ipv4Addr, u8)) -> bool {
        let shared = u32::from(length.min(16));
        let mask = u32::MAX.checked_shl(32 - shared).unwrap_or(0);
        (u32::from(address) & mask) == (u32::from(self.at(0, 0)) & mask)
    }

    fn at(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, self.0, third, fourth)
    }

    /// The control plane's, which is also the API server's.
    pub(crate) fn control_plane(self) -> Ipv4Addr {
        self.at(0, 1)
    }

    /// This machine's own, by which it reaches nodes and pods.
    pub(crate) fn host(self) -> Ipv4Addr {
        self.at(0, 254)
    }

    pub(crate) fn node(self, index: u8) -> Ipv4Addr {
        self.at(0, 10 + index)
    }

    /// The addresses of the pods of one node.
    pub(crate) fn pods_of(self, index: u8) -> String {
        format!("{}/24", self.at(128 + index, 0))
    }

    /// The addresses of all pods.
    pub(crate) fn pods(self) -> String {
        format!("{}/17", self.at(128, 0))
    }
}

/// The indices of [`NODES`], as addresses are made of them.
pub(crate) fn indices() -> impl Iterator<Item = (u8, Planned)> {
    (0u8..).zip(NODES)
}

/// What the cluster `cluster` calls the network namespace of `part`, a node or `fabric`.
pub(crate) fn namespace(cluster: &str, part: &str) -> String {
    format!("e2e-{cluster}-{part}")
}

/// The one network interface that this machine gets. Its name may have 15 characters: hence a hash.
pub(crate) fn link(cluster: &str) -> String {
    format!("e2e-{}", hex(&Sha256::digest(cluster)[..4]))
}

/// The control group of all containers.
pub(crate) fn control_group(cluster: &str) -> String {
    format!("e2e-{cluster}")
}

/// Destinations of the routes in the answer to `ip -json -4 route show table all`.
pub(crate) fn parse_routes(json: &str) -> anyhow::Result<Vec<(Ipv4Addr, u8)>> {
    #[derive(serde::Deserialize)]
    struct Route {
        dst: String,
    }
    let routes: Vec<Route> = serde_json::from_str(json)?;
    Ok(routes
        .iter()
        .filter_map(|route| {
            let (address, length) = route.dst.split_once('/').unwrap_or((&route.dst, "32"));
            Some((address.parse().ok()?, length.parse().ok()?))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> (Ipv4Addr, u8) {
        let (address, length) = text.split_once('/').unwrap();
        (address.parse().unwrap(), length.parse().unwrap())
    }

    #[test]
    fn a_subnet_that_is_routed_already_is_passed_over() {
        assert_eq!(Subnet::choose(&[]), Some(Subnet(200)));
        assert_eq!(Subnet::choose(&[route("0.0.0.0/0"), route("192.0.2.0/24")]), Some(Subnet(200)));
        assert_eq!(Subnet::choose(&[route("10.200.130.0/24")]), Some(Subnet(201)));
        assert_eq!(Subnet::choose(&[route("10.200.0.7/32"), route("10.201.0.0/17")]), Some(Subnet(202)));
        assert_eq!(Subnet::choose(&[route("10.192.0.0/12")]), Some(Subnet(208)));
    }

    #[test]
    fn a_machine_that_routes_all_of_ten_has_no_subnet_left() {
        assert_eq!(Subnet::choose(&[route("10.0.0.0/8")]), None);
    }

    #[test]
    fn nodes_and_pods_do_not_share_addresses() {
        let subnet = Subnet(200);
        assert_eq!(subnet.node(1).to_string(), "10.200.0.11");
        assert_eq!(subnet.pods_of(1), "10.200.129.0/24");
        assert_eq!(subnet.pods(), "10.200.128.0/17");
    }

    #[test]
    fn routes_are_read_with_and_without_a_prefix_length() {
        let json =
            r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"192.0.2.0/24"},{"type":"local","dst":"10.1.2.3"}]"#;
        assert_eq!(parse_routes(json).unwrap(), [route("192.0.2.0/24"), route("10.1.2.3/32")]);
    }

    #[test]
    fn clusters_of_different_names_share_no_name_of_anything() {
        assert_ne!(link("a"), link("b"));
        assert!(link("a-very-long-cluster-name-indeed").len() <= 15);
        assert_ne!(namespace("a", "fabric"), namespace("b", "fabric"));
    }
}
