//! kind's configuration: the file at the top of the repository, which users have too, adapted to the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use serde_yaml::Value;

use crate::audit;

/// A kubelet of 1.35 or later does not start on control groups of version 1 unless told to.
const ACCEPT_CGROUP_V1: &str =
    "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n";

/// Where the control plane's node, and on it the API server, have the directory with the audit policy and log.
const AUDIT_DIR: &str = "/var/log/kubernetes-audit";
/// The name of the policy in that directory.
pub(crate) const AUDIT_POLICY: &str = "policy.yaml";
/// The name of the log in that directory.
pub(crate) const AUDIT_LOG: &str = "audit.log";

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kind-config.yaml")
}

/// The configuration for a Docker host, with control groups of version 1 or not; the API server's audit policy
/// and log are in the directory `audit`.
pub(crate) fn prepare(cgroup_v1: bool, audit: &Path) -> Result<String> {
    let path = path();
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    adapt(&text, cgroup_v1, audit)
}

fn adapt(text: &str, cgroup_v1: bool, audit: &Path) -> Result<String> {
    let mut config: Value = serde_yaml::from_str(text).context("kind-config.yaml is not YAML")?;
    let patches = list(&mut config, "kubeadmConfigPatches")?;
    if cgroup_v1 {
        patches.push(ACCEPT_CGROUP_V1.into());
    }
    patches.push(keep_audit_log()?.into());
    let control_plane = list(&mut config, "nodes")?
        .iter_mut()
        .find(|node| node["role"] == "control-plane")
        .context("kind-config.yaml has no control-plane node")?;
    let mount = json!({"hostPath": audit, "containerPath": AUDIT_DIR});
    list(control_plane, "extraMounts")?.push(serde_yaml::to_value(mount)?);
    Ok(serde_yaml::to_string(&config)?)
}

/// The patch has no version of kubeadm's configuration: then kind fits the arguments to the one that it writes.
fn keep_audit_log() -> Result<String> {
    let patch = json!({
        "kind": "ClusterConfiguration",
        "apiServer": {
            "extraArgs": {
                "audit-policy-file": format!("{AUDIT_DIR}/{AUDIT_POLICY}"),
                "audit-log-path": format!("{AUDIT_DIR}/{AUDIT_LOG}"),
                "audit-log-maxsize": audit::LARGEST,
            },
            "extraVolumes": [{"name": "audit", "hostPath": AUDIT_DIR, "mountPath": AUDIT_DIR, "pathType": "Directory"}],
        },
    });
    Ok(serde_yaml::to_string(&patch)?)
}

/// The list of this name in a mapping, which is made if it is not there.
fn list<'a>(mapping: &'a mut Value, name: &str) -> Result<&'a mut Vec<Value>> {
    let fields = mapping.as_mapping_mut().with_context(|| format!("what should have {name} is not a mapping"))?;
    let list = fields.entry(name.into()).or_insert_with(|| Value::Sequence(Vec::new()));
    list.as_sequence_mut().with_context(|| format!("{name} is not a list"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Progress;
    use crate::tools::{Tool, Tools};

    const AUDIT: &str = "/somewhere/audit";

    fn adapted(text: &str, cgroup_v1: bool) -> Value {
        serde_yaml::from_str(&adapt(text, cgroup_v1, Path::new(AUDIT)).unwrap()).unwrap()
    }

    #[test]
    fn patches_are_added_and_all_else_is_kept() {
        let text =
            "kind: Cluster\nkubeadmConfigPatches: [a]\nnodes: [{role: worker}, {role: control-plane, image: b}]\n";
        let config = adapted(text, true);
        assert_eq!(config["nodes"][0], serde_yaml::from_str::<Value>("role: worker").unwrap());
        assert_eq!(config["nodes"][1]["image"], "b");
        assert_eq!(config["nodes"][1]["extraMounts"][0]["hostPath"], AUDIT);
        assert_eq!(config["kubeadmConfigPatches"][0], "a");
        assert_eq!(config["kubeadmConfigPatches"][1], ACCEPT_CGROUP_V1);
        let control_groups_are_new = adapted(text, false);
        assert_eq!(control_groups_are_new["kubeadmConfigPatches"].as_sequence().unwrap().len(), 2);
    }

    #[test]
    fn the_file_has_two_workers_in_each_of_two_regions() {
        let config: Value = serde_yaml::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
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
        let file = std::fs::read_to_string(path()).unwrap();
        let audit = Path::new(AUDIT);
        for config in [&file, &prepare(false, audit).unwrap(), &prepare(true, audit).unwrap()] {
            let said = what_kind_says(&kind, config).await;
            assert!(!refused(&said), "{said}");
        }
        let said = what_kind_says(&kind, &format!("{file}\nbogus: 1\n")).await;
        assert!(refused(&said), "{said}");
    }
}
