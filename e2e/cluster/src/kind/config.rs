//! kind's configuration: the file at the top of the repository, which users have too, adapted to the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_yaml::Value;

/// A kubelet of 1.35 or later does not start on control groups of version 1 unless told to.
const ACCEPT_CGROUP_V1: &str =
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n";

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kind-config.yaml")
}

/// The configuration for a Docker host, with control groups of version 1 or not.
pub(crate) fn prepare(cgroup_v1: bool) -> Result<String> {
    let path = path();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if cgroup_v1 { patch(&text) } else { Ok(text) }
}

fn patch(text: &str) -> Result<String> {
    let mut config: Value = serde_yaml::from_str(text).context("kind-config.yaml is not YAML")?;
    let fields = config.as_mapping_mut().context("kind-config.yaml is not a mapping")?;
    let patches = fields.entry("kubeadmConfigPatches".into()).or_insert_with(|| Value::Sequence(Vec::new()));
    patches.as_sequence_mut().context("kubeadmConfigPatches is not a list")?.push(ACCEPT_CGROUP_V1.into());
    Ok(serde_yaml::to_string(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::tools::{Tool, Tools};

    #[test]
    fn the_patch_is_added_and_all_else_is_kept() {
        let patched = patch("kind: Cluster\nkubeadmConfigPatches: [a]\nnodes: [{role: worker}]\n").unwrap();
        let config: Value = serde_yaml::from_str(&patched).unwrap();
        assert_eq!(config["nodes"][0]["role"], Value::from("worker"));
        assert_eq!(config["kubeadmConfigPatches"][0], Value::from("a"));
        assert_eq!(config["kubeadmConfigPatches"][1], Value::from(ACCEPT_CGROUP_V1));
    }

    #[test]
    fn the_file_has_two_workers_in_each_of_two_regions() {
        let config: Value = serde_yaml::from_str(&prepare(false).unwrap()).unwrap();
        let region = |node: &Value| node["labels"]["topology.kubernetes.io/region"].as_str().map(str::to_owned);
        let mut regions: Vec<String> = config["nodes"].as_sequence().unwrap().iter().filter_map(region).collect();
        regions.sort();
        assert_eq!(regions, ["eu-west", "eu-west", "us-east", "us-east"]);
    }

    /// kind reads its configuration before it looks for Docker, whose address is one that answers nothing here.
    async fn what_kind_says(kind: &Path, config: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let mut create = crate::command::command(kind);
        create.args(["create", "cluster", "--name", "parsed-only", "--config"]).arg(&file);
        create.arg("--kubeconfig").arg(dir.path().join("kubeconfig"));
        create.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").env("KIND_EXPERIMENTAL_PROVIDER", "docker");
        format!("{:#}", crate::command::output(&mut create, None).await.unwrap_err())
    }

    #[tokio::test]
    async fn kinds_own_parser_accepts_the_file_and_refuses_a_field_it_does_not_know() {
        let tools = Tools::new();
        if let Some(missing) = tools.missing(&[Tool::KIND]) {
            println!("skipped: to try kind's parser, {missing}");
            return;
        }
        tools.ensure(&[Tool::KIND], &Progress::new(true)).await.unwrap();
        let kind = tools.program(&Tool::KIND).unwrap();
        let refused = |said: &str| said.contains("unable to decode config") || said.contains("unknown field");
        for config in [prepare(false).unwrap(), prepare(true).unwrap()] {
            let said = what_kind_says(&kind, &config).await;
            assert!(!refused(&said), "{said}");
        }
        let said = what_kind_says(&kind, &format!("{}\nbogus: 1\n", prepare(false).unwrap())).await;
        assert!(refused(&said), "{said}");
    }
}
