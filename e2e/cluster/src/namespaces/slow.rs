//! A way for a region's frames that goes through a relay.
//!
//! ```text
//! bridge of all nodes -- entry ~ its end (tap)  <- relay ->  (tap) its end ~ exit -- bridge of the region -- its nodes
//! ```
//!
//! Nodes of the region reach each other as ever; to all else, this machine included, they are as far away as the relay
//! says. Each node is moved with one command, and back with one.

use anyhow::{Context, Result};

use super::network::{BRIDGE, port};
use super::state::State;
use crate::step::Step;

/// What a region's way through a relay is made of: names of interfaces in the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Detour {
    fabric: String,
    bridge: String,
    ports: Vec<&'static str>,
}

impl Detour {
    /// The way of the nodes of these indices, of which there is one at least.
    pub(crate) fn of(state: &State, nodes: &[u8]) -> Result<Self> {
        let first = nodes.first().context("a region without nodes")?;
        let ports = nodes.iter().map(|index| port(*index)).collect::<Result<_>>()?;
        Ok(Self { fabric: state.fabric.clone(), bridge: format!("slow{first}"), ports })
    }

    /// Makes it, with nothing on it yet.
    pub(crate) fn make(&self) -> Step {
        let Self { bridge, .. } = self;
        let ends = [("in", BRIDGE), ("out", bridge)].map(|(end, master)| {
            format!(
                "link add {bridge}-{end} type veth peer name {bridge}-{end}-end\n\
                 link set {bridge}-{end} master {master} up\n\
                 link set {bridge}-{end}-end up\n\
                 link add link {bridge}-{end}-end name {bridge}-{end}-tap type macvtap mode passthru\n\
                 link set {bridge}-{end}-tap allmulticast on txqueuelen 4000 up\n"
            )
        });
        self.batch(&format!("link add {bridge} type bridge\nlink set {bridge} up\n{}", ends.concat()))
    }

    /// Prints the numbers of its two character devices, each on a line.
    pub(crate) fn devices(&self) -> Step {
        // `ip netns exec` shows the interfaces of the fabric in /sys, `nsenter` would not.
        let numbers = ["in", "out"].map(|end| format!("cat /sys/class/net/{}-{end}-tap/macvtap/tap*/dev", self.bridge));
        Step::command(&["ip", "netns", "exec", &self.fabric, "sh", "-c", &numbers.join(" && ")])
    }

    /// Puts the region's nodes on it, or back on the bridge of all nodes.
    pub(crate) fn lead(&self, detour: bool) -> Step {
        let bridge = if detour { &self.bridge } else { BRIDGE };
        let moves: Vec<_> = self.ports.iter().map(|port| format!("link set {port} master {bridge}\n")).collect();
        self.batch(&moves.concat())
    }

    /// Puts the nodes back and removes it, however much of it there is.
    pub(crate) fn remove(&self) -> Step {
        let Self { bridge, .. } = self;
        // An interface that goes takes its peer and its tap along.
        let script = format!(
            "for port in {}; do ip link set $port master {BRIDGE} || exit 1; done\n\
             for link in {bridge}-in {bridge}-out {bridge}; do\n\
             ! ip link show $link >/dev/null 2>&1 || ip link delete $link || exit 1\n\
             done",
            self.ports.join(" "),
        );
        Step::command(&["ip", "netns", "exec", &self.fabric, "sh", "-c", &script])
    }

    fn batch(&self, commands: &str) -> Step {
        Step::command(&["ip", "-netns", &self.fabric, "-batch", "-"]).with_input(commands)
    }
}
