//! Counts the connections that a pod begins to the pods of a region, where its packets leave its node.
//!
//! A `nat` chain sees the first packet of a connection only: no packet that is sent again, and none that follows. It comes
//! before the chains that change addresses on the way out, and after those that choose the pod of a Service.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::step::Step;

/// A counter, until it is dropped.
#[derive(Debug)]
pub struct Tap {
    read: Step,
    remove: Step,
}

impl Tap {
    /// Connections so far.
    pub fn connections(&self) -> Result<u64> {
        connections(&self.read.output()?)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.remove.output();
    }
}

impl Cluster {
    /// Counts from now on the connections that the pod begins to `port` of pods in `region`.
    pub async fn tap(&self, namespace: &str, pod: &str, region: &str, port: u16) -> Result<Tap> {
        static TAPS: AtomicU32 = AtomicU32::new(0);
        let json = self.kubectl(&["get", "pod", pod, "--namespace", namespace, "--output=json"]).await?;
        let found: Value = serde_json::from_str(&json)?;
        let from = found["status"]["podIP"].as_str().context("the pod has no address yet")?;
        let name = found["spec"]["nodeName"].as_str().context("the pod is on no node yet")?;
        let node = self.nodes().iter().find(|node| node.name == name).context("the pod's node is not known")?;
        let pods: Vec<&str> =
            self.nodes().iter().filter(|node| node.region == region).map(|node| &*node.pods).collect();
        ensure!(
            !pods.is_empty() && pods.iter().all(|pods| !pods.is_empty()),
            "{region} has no pods of known addresses"
        );
        let table = format!("signalbox_tap_{}_{}", std::process::id(), TAPS.fetch_add(1, Ordering::Relaxed));
        self.filter(node, &rules(&table, from, &pods, port))?.output()?;
        let nft = |words: &[&str]| Ok::<_, anyhow::Error>(self.on_network_of(node)?.with(&["nft"]).with(words));
        Ok(Tap {
            read: nft(&["--json", "list", "counter", "ip", &table, "begun"])?,
            remove: nft(&["delete", "table", "ip", &table])?,
        })
    }
}

fn rules(table: &str, from: &str, pods: &[&str], port: u16) -> String {
    format!(
        "table ip {table} {{\n  counter begun {{ }}\n  chain out {{\n    type nat hook postrouting priority 50\n    ip saddr {from} ip daddr {{ {} }} tcp dport {port} counter name \"begun\"\n  }}\n}}\n",
        pods.join(", ")
    )
}

/// From what `nft --json list counter` prints.
fn connections(json: &str) -> Result<u64> {
    let list: Value = serde_json::from_str(json).context("the counter is not what was expected")?;
    let items = list["nftables"].as_array().context("the counter is not what was expected")?;
    items.iter().find_map(|item| item["counter"]["packets"].as_u64()).context("there is no counter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_of_the_counter_are_the_connections() {
        let json = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"counter": {"packets": 12, "bytes": 720}}]}"#;
        assert_eq!(connections(json).unwrap(), 12);
        assert!(connections(r#"{"nftables": []}"#).is_err());
    }
}
