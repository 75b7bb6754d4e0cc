//! The nodes of a cluster and the regions they carry, read from the cluster itself.

use anyhow::{Context, Result};
use serde::Deserialize;

/// The well-known label that says which region a node is in.
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";

/// A node that workloads can run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name of the Node object.
    pub name: String,
    /// The value of its `topology.kubernetes.io/region` label; empty if it has none.
    pub region: String,
    /// The addresses of its pods, `10.0.0.0/24`; empty if they are not known.
    pub pods: String,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "podCIDR")]
    pods: String,
    #[serde(default)]
    taints: Vec<Taint>,
}

#[derive(Deserialize)]
struct Taint {
    key: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: String,
    status: String,
}

/// The nodes in the answer to `kubectl get nodes -o json`, each with whether it is Ready; control-plane nodes left out.
pub(crate) fn parse(json: &str) -> Result<Vec<(Node, bool)>> {
    let list: List = serde_json::from_str(json).context("the list of nodes is not what was expected")?;
    let nodes = list.items.into_iter().filter(|item| {
        let control_plane = |taint: &Taint| taint.key == "node-role.kubernetes.io/control-plane";
        !item.spec.taints.iter().any(control_plane)
    });
    Ok(nodes
        .map(|item| {
            let ready = item
                .status
                .conditions
                .iter()
                .any(|condition| condition.r#type == "Ready" && condition.status == "True");
            let region = item.metadata.labels.get(REGION_LABEL).cloned().unwrap_or_default();
            (Node { name: item.metadata.name, region, pods: item.spec.pods }, ready)
        })
        .collect())
}

/// The regions of some nodes, each once, in the order of their names.
pub(crate) fn regions(nodes: &[Node]) -> Vec<String> {
    let mut regions: Vec<String> =
        nodes.iter().map(|node| node.region.clone()).filter(|region| !region.is_empty()).collect();
    regions.sort();
    regions.dedup();
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_plane_nodes_are_left_out_and_regions_are_named_once() {
        let json = r#"{"items": [
            {"metadata": {"name": "cp"}, "spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane"}]}},
            {"metadata": {"name": "b", "labels": {"topology.kubernetes.io/region": "us-east"}},
             "spec": {"podCIDR": "10.0.1.0/24"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"name": "c", "labels": {"topology.kubernetes.io/region": "eu-west"}}},
            {"metadata": {"name": "d", "labels": {"topology.kubernetes.io/region": "eu-west"}}}]}"#;
        let nodes = parse(json).unwrap();
        assert_eq!(
            nodes.iter().map(|(node, ready)| (node.name.as_str(), *ready)).collect::<Vec<_>>(),
            [("b", true), ("c", false), ("d", false)]
        );
        assert_eq!(nodes[0].0.pods, "10.0.1.0/24");
        let nodes: Vec<Node> = nodes.into_iter().map(|(node, _)| node).collect();
        assert_eq!(regions(&nodes), ["eu-west", "us-east"]);
    }
}
