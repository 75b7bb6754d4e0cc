//! The configuration files of a node's three daemons and of its network.

use std::path::Path;

use serde_json::{Value, json};

use super::layout::{DNS_SERVICE, Subnet};
use super::manifests::{CLUSTER_DOMAIN, PAUSE_IMAGE};

/// As every kubelet has it inside its own mounts.
pub(crate) const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";

/// containerd's, for the node whose files are in `dir`.
pub(crate) fn containerd(dir: &Path, plugins: &Path) -> String {
    let (dir, plugins) = (dir.display(), plugins.display());
    // Version 2 is what containerd 1.6 and 1.7 read; 2.x converts it by itself.
    // - `restrict_oom_score_adj`: without the capability to lower the score, every pod would fail to start.
    // - `netns_mounts_under_state_dir`: pods' network namespaces then are among the node's own mounts, and go
    //   when the node goes.
    // - The snapshotters that are off would look for file systems and devices of this machine.
    format!(
        r#"version = 2
root = "{dir}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{dir}/network"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// The pod network of one node: every pod is routed to, none is bridged. So all of a pod's packets pass
/// the node's packet filter, where Services are made, and answers find their way back without help.
pub(crate) fn pod_network(dir: &Path, pods: &str) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": dir.join("leases"),
            },
        }],
    })
}

/// The kubelet's, for the node whose files are in `dir`.
pub(crate) fn kubelet(dir: &Path, authority: &Path, certificate: &Path, key: &Path, control_group: &str) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": certificate,
        "tlsPrivateKeyFile": key,
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": dir.join("resolv.conf"),
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        // Several kubelets on one machine: each has a control group of its own for its pods, and nothing is
        // enforced above the pods, as what else runs on the machine is not the kubelet's to bound.
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{control_group}"),
        "cgroupsPerQOS": true,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        // The disk and the memory are the machine's: a full machine is not for one node to repair.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
        // Images are loaded, not pulled: one that is collected would not come back.
        "imageGCHighThresholdPercent": 100,
        "readOnlyPort": 0,
        "logging": {"flushFrequency": "1s"},
    })
}

/// kube-proxy's.
pub(crate) fn proxy(kubeconfig: &Path, node: &str, subnet: Subnet) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig},
        "hostnameOverride": node,
        "mode": "nftables",
        "clusterCIDR": subnet.pods(),
        // The size of the connection table is the machine's, not the namespace's: it cannot be set here.
        "conntrack": {"maxPerCore": 0, "min": 0},
    })
}

/// The kernel settings that a kubelet insists on making, which concern the whole machine. It gets files in
/// their place, and the machine keeps what it has.
pub(crate) const TUNABLES: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// What a node does before it becomes its containerd: it gives itself mounts of its own, in which the
/// directories that Kubernetes' daemons hold fixed are the node's.
///
/// `dir` holds the node's files, `root` those of all clusters and `programs` those of Kubernetes.
pub(crate) fn entry_script(dir: &Path, root: &Path, programs: &Path) -> String {
    let (dir, root, programs) = (dir.display(), root.display(), programs.display());
    let mut script = format!("set -e\nmount --bind '{programs}' '{dir}/bin'\n");
    for tunable in TUNABLES {
        use std::fmt::Write;
        // Writing to a String does not fail.
        let _ = writeln!(
            script,
            "if [ -e /proc/sys/{tunable} ]; then mount --bind '{dir}/tunables/{tunable}' /proc/sys/{tunable}; fi"
        );
    }
    script
        + &format!(
            "mount --bind '{dir}/log' /var/log\n\
             mount --rbind '{root}' '{dir}/lib/signalbox-e2e'\n\
             mount --rbind '{dir}/lib' /var/lib\n\
             mount --bind '{dir}/run' /run\n\
             exec containerd --config '{dir}/containerd.toml'\n"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_keeps_all_of_its_state_in_its_own_directory() {
        let text = containerd(Path::new("/d/nodes/eu-west-1"), Path::new("/usr/lib/cni"));
        assert!(text.contains(r#"root = "/d/nodes/eu-west-1/containerd""#), "{text}");
        assert!(text.contains(r#"bin_dir = "/usr/lib/cni""#), "{text}");
        let network = pod_network(Path::new("/d/nodes/eu-west-1"), "10.200.128.0/24");
        assert_eq!(network["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.200.128.0/24");
        assert_eq!(network["plugins"][0]["ipam"]["dataDir"], "/d/nodes/eu-west-1/leases");
    }

    #[test]
    fn a_kubelet_starts_on_either_version_of_control_groups() {
        let file = Path::new("/f");
        let config = kubelet(Path::new("/d"), file, file, file, "e2e-tried/eu-west-1");
        assert_eq!(config["failCgroupV1"], false);
        assert_eq!(config["cgroupRoot"], "/e2e-tried/eu-west-1");
    }

    #[test]
    fn a_node_covers_the_machines_settings_before_it_starts_anything() {
        let script = entry_script(Path::new("/r/c/nodes/n"), Path::new("/r"), Path::new("/tools"));
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(lines.first(), Some(&"set -e"));
        assert!(lines.last().unwrap().starts_with("exec containerd"));
        for tunable in TUNABLES {
            assert!(script.contains(&format!("'/r/c/nodes/n/tunables/{tunable}' /proc/sys/{tunable}")), "{script}");
        }
    }
}
