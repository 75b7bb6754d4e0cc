//! What is in the cluster from the start: its nodes, its DNS and its StorageClass.

use serde_json::{Value, json};

use super::layout::{self, DNS_SERVICE, Subnet};
use crate::nodes::REGION_LABEL;

/// The domain of Services.
pub(crate) const CLUSTER_DOMAIN: &str = "cluster.local";
/// `localhost` says that it comes from nowhere: it is loaded, never pulled.
pub(crate) const PAUSE_IMAGE: &str = "localhost/signalbox-e2e/pause:1";
pub(crate) const COREDNS_IMAGE: &str = "localhost/signalbox-e2e/coredns:1";

/// A port that needs no privilege; the Service has the customary one.
const DNS_PORT: u16 = 1053;

/// What is applied as soon as the API server answers.
pub(crate) fn all(subnet: Subnet) -> String {
    let mut items: Vec<Value> = layout::indices().map(|(index, node)| self::node(index, node, subnet)).collect();
    items.push(storage_class());
    items.extend(dns());
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// The labels that a kubelet gives its node too, should it have to register it again.
pub(crate) fn node_labels(node: layout::Planned) -> [(&'static str, &'static str); 2] {
    [(REGION_LABEL, node.region), ("topology.kubernetes.io/zone", node.zone)]
}

/// A node is made before its kubelet registers it, so that its pods' addresses are known from the start.
fn node(index: u8, node: layout::Planned, subnet: Subnet) -> Value {
    let labels: serde_json::Map<String, Value> = node_labels(node)
        .into_iter()
        .chain([("kubernetes.io/hostname", node.name), ("kubernetes.io/os", "linux")])
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let pods = subnet.pods_of(index);
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": pods, "podCIDRs": [pods]},
    })
}

/// Claims get a directory on the node their pod is placed on: see `e2e/kubernetes/volumes`.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "signalbox.dev/directories",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    })
}

/// CoreDNS, on every node for the pods of that node. With a shared one, cutting a region off would lose every
/// other look-up of the rest for the better part of a minute, and tests would measure that.
fn dns() -> Vec<Value> {
    // Short-lived answers: a test that replaces a Service should not wait for a cache. Nothing is
    // forwarded: there is no name server to forward to, and no test may depend on one.
    let corefile = format!(
        ".:{DNS_PORT} {{\n    errors\n    health :8080\n    ready :8181\n    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{\n        ttl 5\n    }}\n    cache 5\n}}\n"
    );
    let labels = json!({"k8s-app": "kube-dns"});
    let meta = |name: &str| json!({"name": name, "namespace": "kube-system", "labels": labels});
    let role = json!({"name": "system:coredns"});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("coredns")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": role, "rules": [
            {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": role,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}]}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("coredns"), "data": {"Corefile": corefile}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("kube-dns"), "spec": {
            "clusterIP": DNS_SERVICE,
            "internalTrafficPolicy": "Local",
            "selector": labels,
            "ports": [
                {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": DNS_PORT},
                {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": DNS_PORT},
            ],
        }}),
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("coredns"), "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "serviceAccountName": "coredns",
                "priorityClassName": "system-node-critical",
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "coredns", "image": COREDNS_IMAGE, "imagePullPolicy": "Never",
                    "args": ["-conf", "/etc/coredns/Corefile"],
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
                        "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": true}],
                }],
                "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
            }},
        }}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_is_labelled_with_its_region_and_has_its_own_pod_addresses() {
        let subnet = Subnet::choose(&[]).unwrap();
        let list: Value = serde_json::from_str(&all(subnet)).unwrap();
        let nodes: Vec<&Value> =
            list["items"].as_array().unwrap().iter().filter(|item| item["kind"] == "Node").collect();
        assert_eq!(nodes.len(), layout::NODES.len());
        assert_eq!(nodes[2]["metadata"]["labels"][REGION_LABEL], "us-east");
        assert_eq!(nodes[2]["spec"]["podCIDR"], subnet.pods_of(2));
    }
}
