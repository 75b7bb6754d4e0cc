//! Faults: regions cut off, processes killed. Only clusters that were made here have them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::{Backend, Cluster};
use crate::existing;
use crate::nodes::Node;

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

    /// Takes a whole region off the network at once: its nodes and their pods, from each other too.
    pub async fn cut_off(&self, region: &str) -> Result<()> {
        self.plug(region, false).await.with_context(|| format!("cannot cut the region {region} off"))
    }

    /// Puts a region back on the network. Its nodes are Ready again some seconds later.
    pub async fn bring_back(&self, region: &str) -> Result<()> {
        self.plug(region, true).await.with_context(|| format!("cannot bring the region {region} back"))
    }

    async fn plug(&self, region: &str, plugged: bool) -> Result<()> {
        let nodes: Vec<&Node> = self.nodes().iter().filter(|node| node.region == region).collect();
        ensure!(!nodes.is_empty(), "there is no such region; there are {}", self.regions().join(", "));
        match &self.backend {
            Backend::Existing => self.supports_faults().map_err(anyhow::Error::msg),
            Backend::Kind(kind) => kind.plug(&nodes, plugged).await,
            Backend::Namespaces(namespaces) => namespaces.plug(region, plugged).await,
        }
    }

    /// Sends SIGKILL to the main process of a container.
    pub async fn kill(&self, namespace: &str, pod: &str, container: &str) -> Result<()> {
        self.supports_faults().map_err(anyhow::Error::msg)?;
        let json = self.kubectl(&["get", "pod", pod, "--namespace", namespace, "--output=json"]).await?;
        let (node, id) = container_of(&serde_json::from_str(&json)?, container)
            .with_context(|| format!("the pod {namespace}/{pod} has no running container {container}"))?;
        match &self.backend {
            Backend::Existing => Ok(()),
            Backend::Kind(kind) => kind.kill(&node, &id).await,
            Backend::Namespaces(namespaces) => namespaces.kill(&node, &id).await,
        }
    }
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
}
