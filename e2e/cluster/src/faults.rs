//! Faults: what is broken on purpose, and put right again whatever happens. Only clusters that were made here have them.
//!
//! ```text
//! Fault --backend--> steps that break it, steps that mend it --> Injected (mends when it is dropped)
//! ```
//!
//! There is no way here to give a container another time of day: time namespaces shift only the clocks that count from
//! the machine's start, and programs in our images are linked statically, so that nothing can be put before the system's
//! clock. `dispatcher/tests/regions/clocks.rs` gives processes outside of containers another one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::{Backend, Cluster};
use crate::existing;
use crate::namespaces::Namespaces;
use crate::nodes::Node;
use crate::relay::Relay;
use crate::step::{self, Step};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// A region's nodes are off the network, with their pods, from each other too.
    CutOff {
        /// The region.
        region: &'a str,
    },
    /// One node is off the network, with its pods.
    NodeGone {
        /// The node.
        node: &'a str,
    },
    /// What a region's nodes and pods send off their node is lost; what is sent to them arrives.
    Mute {
        /// The region.
        region: &'a str,
    },
    /// What is sent to a region's nodes and pods from off their node is lost; what they send arrives.
    Deaf {
        /// The region.
        region: &'a str,
    },
    /// Packets from and to a region's nodes are lost at random.
    Lossy {
        /// The region.
        region: &'a str,
        /// Of a hundred packets each way, so many: 1 to 99.
        percent: u8,
    },
    /// What goes between a region's nodes and all else arrives late; between its nodes it does not. Network-namespace
    /// nodes only.
    Slow {
        /// The region.
        region: &'a str,
        /// So late, each way: 1 ms to 10 s.
        delay: Duration,
    },
    /// The API server is stopped: connections to it stay open, and nothing is answered.
    ApiServerStopped,
    /// All name servers of the cluster are stopped: who asks one gets no answer.
    NameServersStopped,
    /// The main process of a container is stopped, and knows nothing of it when it goes on.
    Stopped {
        /// The pod's namespace.
        namespace: &'a str,
        /// The pod.
        pod: &'a str,
        /// The container.
        container: &'a str,
    },
}

/// A fault that is there, until this is dropped.
#[derive(Debug)]
#[must_use = "a fault is mended when this is dropped"]
pub struct Injected {
    what: String,
    mend: Vec<Step>,
    /// Carries what is to be late.
    relay: Option<Relay>,
    /// The moment before it began.
    began: Instant,
    /// From then until it was there as a whole.
    took: Duration,
}

impl Injected {
    /// The moment before it began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long it took until it was there as a whole.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Mends it, and says if that went wrong.
    pub async fn mend(mut self) -> Result<()> {
        let steps = std::mem::take(&mut self.mend);
        let mended = tokio::task::spawn_blocking(move || step::all(&steps)).await?;
        mended.with_context(|| format!("cannot mend: {}", self.what))
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // Whoever wants to know whether it went well calls `mend`; the next run mends everything once more.
        let _ = step::all(&self.mend);
    }
}

impl Cluster {
    /// Why nodes cannot be cut off and containers not be killed, unless they can.
    pub fn supports_faults(&self) -> Result<(), String> {
        match self.backend {
            Backend::Existing => Err(format!(
                "the cluster in {} is not ours to break: faults need one made by kind or of namespaces",
                existing::KUBECONFIG
            )),
            Backend::Kind(_) | Backend::Namespaces(_) => Ok(()),
        }
    }

    /// Breaks something, until what is returned is dropped.
    pub async fn inject(&self, fault: Fault<'_>) -> Result<Injected> {
        let what = format!("{fault:?}");
        let (breaking, mend) = self.steps(fault).await.with_context(|| format!("cannot break: {what}"))?;
        // From here on it is mended, however little of it there is.
        let mut injected = Injected { what, mend, relay: None, began: Instant::now(), took: Duration::ZERO };
        if let Fault::Slow { region, delay } = fault {
            // Before anything is sent that way.
            injected.relay = Some(self.network_namespaces()?.relay(region, delay).await?);
            injected.began = Instant::now();
        }
        tokio::task::spawn_blocking(move || step::all(&breaking)).await?.context("cannot break it")?;
        injected.took = injected.began.elapsed();
        Ok(injected)
    }

    /// Takes a whole region off the network at once: its nodes and their pods, from each other too.
    pub async fn cut_off(&self, region: &str) -> Result<()> {
        let (breaking, _) = self.steps(Fault::CutOff { region }).await?;
        let cut = tokio::task::spawn_blocking(move || step::all(&breaking)).await?;
        cut.with_context(|| format!("cannot cut the region {region} off"))
    }

    /// Puts a region back on the network. Its nodes are Ready again some seconds later.
    pub async fn bring_back(&self, region: &str) -> Result<()> {
        let (_, mend) = self.steps(Fault::CutOff { region }).await?;
        let back = tokio::task::spawn_blocking(move || step::all(&mend)).await?;
        back.with_context(|| format!("cannot bring the region {region} back"))
    }

    /// Sends SIGKILL to the main process of a container.
    pub async fn kill(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        let kill = self.signal(namespace, pod, container, "SIGKILL").await?;
        tokio::task::spawn_blocking(move || step::all(&[kill])).await?
    }

    /// Mends all that an interrupted test may have left, but for stopped containers other than name servers.
    pub(crate) async fn mend_all(&self) -> Result<()> {
        let mut steps = self.name_servers("SIGCONT").await?;
        for node in self.nodes() {
            steps.push(self.plug(node, true)?);
            steps.push(self.filter(node, CLEAR)?);
        }
        if let Backend::Namespaces(namespaces) = &self.backend {
            for region in self.regions() {
                steps.push(namespaces.slow(&region)?.1);
            }
        }
        tokio::task::spawn_blocking(move || step::all(&steps)).await?
    }

    /// What breaks it, and what mends it.
    async fn steps(&self, fault: Fault<'_>) -> Result<(Vec<Step>, Vec<Step>)> {
        self.supports_faults().map_err(anyhow::Error::msg)?;
        let unplugged = |nodes: Vec<&Node>| {
            let steps = |plugged| nodes.iter().map(|node| self.plug(node, plugged)).collect::<Result<Vec<_>>>();
            Ok((steps(false)?, steps(true)?))
        };
        let filtered = |region: &str, rules: &str| {
            let nodes = self.nodes_of(region)?;
            let steps = |rules: &str| nodes.iter().map(|node| self.filter(node, rules)).collect::<Result<Vec<_>>>();
            Ok((steps(rules)?, steps(CLEAR)?))
        };
        match fault {
            Fault::CutOff { region } => unplugged(self.nodes_of(region)?),
            Fault::NodeGone { node } => {
                let found = self.nodes().iter().find(|known| known.name == node).context("there is no such node")?;
                unplugged(vec![found])
            }
            Fault::Mute { region } => filtered(region, &rules(Some("drop"), None)),
            Fault::Deaf { region } => filtered(region, &rules(None, Some("drop"))),
            Fault::Lossy { region, percent } => {
                ensure!((1..=99).contains(&percent), "the loss is {percent} %: choose one from 1 to 99");
                let lost = format!("numgen random mod 100 < {percent} drop");
                filtered(region, &rules(Some(&lost), Some(&lost)))
            }
            Fault::Slow { region, delay } => {
                ensure!(
                    (Duration::from_millis(1)..=Duration::from_secs(10)).contains(&delay),
                    "the delay is {delay:?}: choose one from 1 ms to 10 s"
                );
                self.nodes_of(region)?;
                let (slow, mend) = self.network_namespaces()?.slow(region)?;
                Ok((vec![slow], vec![mend]))
            }
            Fault::ApiServerStopped => Ok((vec![self.api_server("STOP")?], vec![self.api_server("CONT")?])),
            Fault::NameServersStopped => {
                let stop = self.name_servers("SIGSTOP").await?;
                ensure!(!stop.is_empty(), "no name server runs");
                Ok((stop, self.name_servers("SIGCONT").await?))
            }
            Fault::Stopped { namespace, pod, container } => Ok((
                vec![self.signal(namespace, pod, container, "SIGSTOP").await?],
                vec![self.signal(namespace, pod, container, "SIGCONT").await?],
            )),
        }
    }

    fn network_namespaces(&self) -> Result<&Namespaces> {
        match &self.backend {
            Backend::Namespaces(namespaces) => Ok(namespaces),
            Backend::Existing | Backend::Kind(_) => anyhow::bail!(
                "only network-namespace nodes can have a slow network: elsewhere what they are plugged into is not ours"
            ),
        }
    }

    fn nodes_of(&self, region: &str) -> Result<Vec<&Node>> {
        let nodes: Vec<&Node> = self.nodes().iter().filter(|node| node.region == region).collect();
        ensure!(!nodes.is_empty(), "there is no such region; there are {}", self.regions().join(", "));
        Ok(nodes)
    }

    fn plug(&self, node: &Node, plugged: bool) -> Result<Step> {
        match &self.backend {
            Backend::Existing => self.not_ours(),
            Backend::Kind(kind) => Ok(kind.plug(node, plugged)),
            Backend::Namespaces(namespaces) => namespaces.plug(&node.name, plugged),
        }
    }

    /// Has a node's packet filter take rules.
    pub(crate) fn filter(&self, node: &Node, rules: &str) -> Result<Step> {
        Ok(self.on_network_of(node)?.with(&["nft", "--file", "-"]).with_input(rules))
    }

    /// A command in the network of a node, to be completed.
    pub(crate) fn on_network_of(&self, node: &Node) -> Result<Step> {
        match &self.backend {
            Backend::Existing => self.not_ours(),
            Backend::Kind(kind) => Ok(kind.on_node(&node.name)),
            Backend::Namespaces(namespaces) => namespaces.on_network_of(&node.name),
        }
    }

    /// Signals the API server: `STOP` or `CONT`.
    pub(crate) fn api_server(&self, signal: &str) -> Result<Step> {
        match &self.backend {
            Backend::Existing => self.not_ours(),
            Backend::Kind(kind) => Ok(kind.signal_api_server(signal)),
            Backend::Namespaces(namespaces) => namespaces.signal_api_server(signal),
        }
    }

    /// Signals the main process of a container.
    async fn signal(&self, namespace: &str, pod: &str, container: &str, signal: &str) -> Result<Step> {
        self.supports_faults().map_err(anyhow::Error::msg)?;
        let json = self.kubectl(&["get", "pod", pod, "--namespace", namespace, "--output=json"]).await?;
        self.signal_in(&serde_json::from_str(&json)?, container, signal)
            .with_context(|| format!("in the pod {namespace}/{pod}"))
    }

    /// Signals the cluster's name servers.
    async fn name_servers(&self, signal: &str) -> Result<Vec<Step>> {
        let labelled = ["get", "pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--output=json"];
        let list: Value = serde_json::from_str(&self.kubectl(&labelled).await?)?;
        let pods = list["items"].as_array().context("a list without items")?;
        // One that does not run needs no signal.
        let running = pods.iter().filter(|pod| container_of(pod, "coredns").is_some());
        running.map(|pod| self.signal_in(pod, "coredns", signal)).collect()
    }

    fn signal_in(&self, pod: &Value, container: &str, signal: &str) -> Result<Step> {
        let (node, id) =
            container_of(pod, container).with_context(|| format!("there is no running container {container}"))?;
        let ctr = match &self.backend {
            Backend::Existing => self.not_ours(),
            Backend::Kind(kind) => Ok(kind.ctr(&node)),
            Backend::Namespaces(namespaces) => namespaces.ctr(&node),
        };
        Ok(ctr?.with(&["tasks", "kill", "--signal", signal, &id]))
    }

    fn not_ours<T>(&self) -> Result<T> {
        self.supports_faults().map_err(anyhow::Error::msg)?;
        anyhow::bail!("the cluster is not ours to break")
    }
}

/// Takes our rules away, whether or not there are any.
const CLEAR: &str = "table inet signalbox_fault\ndelete table inet signalbox_fault\n";

/// What a node does with packets that leave it and that come to it: its own, and its pods'.
fn rules(out: Option<&str>, into: Option<&str>) -> String {
    // All that comes to a node or leaves it goes through its one link, called the same on kind and here.
    let chain = |name: &str, hook: &str, link: &str, rule: Option<&str>| match rule {
        Some(rule) => {
            format!("  chain {name} {{\n    type filter hook {hook} priority -400\n    {link} \"eth0\" {rule}\n  }}\n")
        }
        None => String::new(),
    };
    let (out, into) = (chain("out", "postrouting", "oifname", out), chain("into", "prerouting", "iifname", into));
    format!("{CLEAR}table inet signalbox_fault {{\n{out}{into}}}\n")
}

/// The node of a pod, and the runtime's identifier of one of its containers.
fn container_of(pod: &Value, container: &str) -> Option<(String, String)> {
    let node = pod["spec"]["nodeName"].as_str()?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    let status = statuses.iter().find(|status| status["name"] == container)?;
    status["state"]["running"].as_object()?;
    let (_, id) = status["containerID"].as_str()?.split_once("://")?;
    Some((node.to_owned(), id.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_running_container_has_a_process_to_kill() {
        let pod = json!({
            "spec": {"nodeName": "eu-west-1"},
            "status": {"containerStatuses": [
                {"name": "a", "containerID": "containerd://abc", "state": {"running": {}}},
                {"name": "b", "containerID": "containerd://def", "state": {"waiting": {}}},
            ]},
        });
        assert_eq!(container_of(&pod, "a"), Some(("eu-west-1".to_owned(), "abc".to_owned())));
        assert_eq!(container_of(&pod, "b"), None);
        assert_eq!(container_of(&pod, "c"), None);
    }

    #[test]
    fn one_way_is_one_chain_and_both_ways_are_two() {
        let mute = rules(Some("drop"), None);
        assert!(mute.contains("hook postrouting") && !mute.contains("hook prerouting"), "{mute}");
        let deaf = rules(None, Some("drop"));
        assert!(deaf.contains("hook prerouting") && !deaf.contains("hook postrouting"), "{deaf}");
        assert_eq!(rules(Some("x"), Some("x")).matches("chain").count(), 2);
    }

    #[test]
    fn a_fault_is_mended_when_nobody_has_mended_it() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("mended");
        let mend = vec![Step::command(&["touch"]).with(&[&file.to_string_lossy()])];
        drop(Injected { what: "a test".to_owned(), mend, relay: None, began: Instant::now(), took: Duration::ZERO });
        assert!(file.exists());
    }
}
