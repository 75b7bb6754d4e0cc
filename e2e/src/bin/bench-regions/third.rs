//! A third region for as long as it is needed: one node of the region without the leader.
//!
//! ```text
//! eu-west: 1, 2 (leader)   us-east: 1, 2   -->   eu-west: 1, 2   us-east: 1   ap-south: 2   -->   as before
//! ```

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use signalbox_cluster::{Cluster, REGION_LABEL};
use signalbox_e2e::Stage;

/// What the third region is called.
pub(crate) const REGION: &str = "ap-south";
/// The label that says which one it was in, for whoever comes after a run that was killed.
const BEFORE: &str = "signalbox.dev/region-before";

/// A node that is a region of its own, until this is dropped.
pub(crate) struct Third {
    cluster: Arc<Cluster>,
    /// The node.
    pub(crate) node: String,
    /// The region that it is from.
    pub(crate) from: String,
    /// The region that the leader is in.
    pub(crate) stays: String,
}

impl Third {
    /// Makes it.
    pub(crate) async fn make(stage: &Stage, cluster: &Arc<Cluster>) -> Result<Self> {
        let stays = stage.leader_region(cluster).await?;
        let from = cluster.regions().into_iter().find(|region| *region != stays).context("there is one region only")?;
        let mut nodes: Vec<_> = cluster.nodes().iter().filter(|node| node.region == from).collect();
        if nodes.len() < 2 {
            bail!("{from} has one node only: it cannot be two regions");
        }
        // Where each node has a name server of its own, it does not matter which goes.
        let names = &["get", "pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns", "--output=wide"];
        let servers = cluster.kubectl(names).await?;
        nodes.sort_by_key(|node| servers.matches(&node.name).count());
        let third = Self { cluster: cluster.clone(), node: nodes[0].name.clone(), from, stays };
        cluster.kubectl(&third.label(REGION, &format!("{BEFORE}={}", third.from)).each_ref().map(|a| &**a)).await?;
        Ok(third)
    }

    fn label(&self, region: &str, before: &str) -> [String; 6] {
        let region = format!("{REGION_LABEL}={region}");
        ["label", "node", &self.node, "--overwrite", &region, before].map(str::to_owned)
    }
}

impl Drop for Third {
    fn drop(&mut self) {
        let back = self.label(&self.from, &format!("{BEFORE}-"));
        let mut kubectl = Command::new(self.cluster.kubectl_path());
        // If this goes wrong, the next run says so.
        let _ = kubectl.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(back).output();
    }
}

/// Puts the node back that a run left which was killed, and says that the cluster has to be looked at anew.
pub(crate) async fn clear(cluster: &Cluster) -> Result<()> {
    let lines =
        "jsonpath={range .items[*]}{.metadata.name} {.metadata.labels.signalbox\\.dev/region-before}{\"\\n\"}{end}";
    let selector = format!("--selector={BEFORE}");
    let left = cluster.kubectl(&["get", "nodes", &selector, "--output", lines]).await?;
    let Some((node, region)) = left.lines().next().and_then(|line| line.trim().split_once(' ')) else { return Ok(()) };
    let (label, before) = (format!("{REGION_LABEL}={region}"), format!("{BEFORE}-"));
    cluster.kubectl(&["label", "node", node, "--overwrite", &label, &before]).await?;
    bail!("a run that was killed had left {node} in another region: it is back in {region}, run this once more")
}
