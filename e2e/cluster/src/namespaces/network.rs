//! The network: one namespace with a bridge, the fabric, and one per node plugged into it.
//!
//! The fabric is a namespace of its own so that this machine's packet filters and forwarding settings see
//! nothing of what nodes and pods say to each other, and need no change. The machine itself gets one
//! interface, with routes to the pods.

use anyhow::{Context, Result, ensure};

use super::layout::{self, API_PORT, Subnet};
use super::state::State;
use crate::command;
use crate::step::Step;

/// The name of the bridge inside the fabric.
pub(crate) const BRIDGE: &str = "nodes";
/// The name of the fabric's interface to this machine.
const HOST_PORT: &str = "host";
/// The only interface of a node, besides those of its pods.
const NODE_LINK: &str = "eth0";

async fn ip(args: &str) -> Result<String> {
    command::run("ip", &args.split_whitespace().collect::<Vec<_>>()).await
}

/// A subnet that nothing on this machine uses.
pub(crate) async fn free_subnet() -> Result<Subnet> {
    let routes = layout::parse_routes(&ip("-json -4 route show table all").await?)?;
    Subnet::choose(&routes).context("every network from 10.200.0.0/16 to 10.239.0.0/16 is in use on this machine")
}

/// Refuses to go on where something already has a name that is about to be used.
pub(crate) fn check_names_are_free(state: &State) -> Result<()> {
    for namespace in state.nodes.iter().chain([&state.fabric]) {
        let path = netns_path(namespace);
        ensure!(
            !std::path::Path::new(&path).exists(),
            "the network namespace {namespace} exists, but no cluster of ours is known by it: delete it with `ip netns delete {namespace}`, or choose another SIGNALBOX_E2E_NAME"
        );
    }
    let link = format!("/sys/class/net/{}", state.link);
    ensure!(!std::path::Path::new(&link).exists(), "the network interface {} exists, but is not ours", state.link);
    Ok(())
}

/// Where `ip` keeps the files that stand for network namespaces. It makes the directory, and mounts it on
/// itself, with the first of them.
const NETNS_DIR: &str = "/run/netns";

/// The file that stands for a network namespace.
pub(crate) fn netns_path(namespace: &str) -> String {
    format!("{NETNS_DIR}/{namespace}")
}

/// Whether there is no such directory on this machine yet.
pub(crate) fn netns_dir_is_missing() -> bool {
    !std::path::Path::new(NETNS_DIR).exists()
}

/// Removes the directory, if nothing is in it. Others may have used it since: then it stays as it is.
pub(crate) fn remove_netns_dir() {
    let empty = std::fs::read_dir(NETNS_DIR).is_ok_and(|mut entries| entries.next().is_none());
    if empty && rustix::mount::unmount(NETNS_DIR, rustix::mount::UnmountFlags::empty()).is_ok() {
        let _ = std::fs::remove_dir(NETNS_DIR);
    }
}

/// Makes the fabric and its way to this machine.
pub(crate) async fn make_fabric(state: &State) -> Result<()> {
    let State { fabric, link, subnet, .. } = state;
    ip(&format!("netns add {fabric}")).await?;
    ip(&format!("-n {fabric} link set lo up")).await?;
    ip(&format!("-n {fabric} link add {BRIDGE} type bridge")).await?;
    ip(&format!("-n {fabric} address add {}/24 dev {BRIDGE}", subnet.control_plane())).await?;
    ip(&format!("-n {fabric} link set {BRIDGE} up")).await?;
    ip(&format!("link add {link} type veth peer name {HOST_PORT} netns {fabric}")).await?;
    ip(&format!("-n {fabric} link set {HOST_PORT} master {BRIDGE} up")).await?;
    ip(&format!("address add {}/24 dev {link}", subnet.host())).await?;
    ip(&format!("link set {link} up")).await?;
    for (index, _) in layout::indices() {
        let (pods, node) = (subnet.pods_of(index), subnet.node(index));
        ip(&format!("route add {pods} via {node} dev {link}")).await?;
        ip(&format!("-n {fabric} route add {pods} via {node} dev {BRIDGE}")).await?;
    }
    Ok(())
}

/// Makes the namespace of the `index`-th node and plugs it in.
pub(crate) async fn make_node(state: &State, index: u8) -> Result<()> {
    let State { fabric, subnet, .. } = state;
    let (namespace, port) = node(state, index)?;
    ip(&format!("netns add {namespace}")).await?;
    ip(&format!("-n {namespace} link set lo up")).await?;
    ip(&format!("-n {fabric} link add {port} type veth peer name {NODE_LINK} netns {namespace}")).await?;
    ip(&format!("-n {fabric} link set {port} master {BRIDGE} up")).await?;
    ip(&format!("-n {namespace} address add {}/24 dev {NODE_LINK}", subnet.node(index))).await?;
    ip(&format!("-n {namespace} link set {NODE_LINK} up")).await?;
    ip(&format!("-n {namespace} route add default via {}", subnet.control_plane())).await?;
    for (other, _) in layout::indices().filter(|(other, _)| *other != index) {
        ip(&format!("-n {namespace} route add {} via {}", subnet.pods_of(other), subnet.node(other))).await?;
    }
    // Inside the namespace only: pods are reached through their node.
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    command::run("nsenter", &[&format!("--net={}", netns_path(namespace)), "--", "sh", "-c", forward]).await?;
    Ok(())
}

/// Plugs a node in or out: itself and all its pods, at once.
pub(crate) fn plug(state: &State, index: u8, plugged: bool) -> Result<Step> {
    let port = port(index)?;
    Ok(Step::command(&["ip", "-n", &state.fabric, "link", "set", port, if plugged { "up" } else { "down" }]))
}

/// A command in the network of a node, to be completed.
pub(crate) fn on(state: &State, index: u8) -> Result<Step> {
    let (namespace, _) = node(state, index)?;
    Ok(Step::command(&["nsenter", &format!("--net={}", netns_path(namespace)), "--"]))
}

/// The namespace of a node, and the name of its port on the bridge.
fn node(state: &State, index: u8) -> Result<(&str, &'static str)> {
    let at = usize::from(index);
    let namespace = state.nodes.get(at).context("there is no such node")?;
    Ok((namespace, port(index)?))
}

/// The name of a node's port on the bridge.
pub(crate) fn port(index: u8) -> Result<&'static str> {
    Ok(layout::NODES.get(usize::from(index)).context("there is no such node")?.name)
}

/// The API server's address, as all clients use it.
pub(crate) fn api_url(subnet: Subnet) -> String {
    format!("https://{}:{API_PORT}", subnet.control_plane())
}
