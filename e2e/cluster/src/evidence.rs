//! Gathers what may explain why a test failed. It reads the cluster and writes one directory.

use std::path::Path;

use anyhow::{Context, Result};
use futures::future::try_join_all;

use crate::cluster::{Backend, Cluster};

/// What is asked of the API server, and the file that the answer goes to.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("nodes.txt", &["get", "nodes", "--output=wide", "--show-labels"]),
    ("nodes-described.txt", &["describe", "nodes"]),
    ("events.txt", &["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"]),
    ("pods.txt", &["get", "pods", "--all-namespaces", "--output=wide"]),
    ("pods.yaml", &["get", "pods", "--all-namespaces", "--output=yaml"]),
    (
        "objects.txt",
        &[
            "get",
            "deployments,statefulsets,services,endpointslices,persistentvolumeclaims,persistentvolumes,leases",
            "--all-namespaces",
            "--output=wide",
        ],
    ),
];

/// Writes all of it. What cannot be had is explained in its file: a broken cluster is when this is needed most.
pub(crate) async fn gather(cluster: &Cluster, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    // All at once: should the API server not answer, each waits for its time to run out.
    let answers = QUESTIONS.map(async |(file, question)| {
        let args = [question, &["--request-timeout=20s"]].concat();
        let answer = cluster.kubectl(&args).await.unwrap_or_else(|error| format!("{error:#}\n"));
        std::fs::write(into.join(file), answer).with_context(|| format!("cannot write {file}"))
    });
    try_join_all(answers).await?;
    match &cluster.backend {
        Backend::Namespaces(namespaces) => {
            for (name, logs) in namespaces.logs() {
                copy(&logs, &into.join(name))?;
            }
        }
        Backend::Kind(kind) => kind.export_logs(&into.join("kind")).await?,
        Backend::Existing => pod_logs(cluster, &into.join("pods")).await?,
    }
    Ok(())
}

/// The logs of all pods, by way of the API server.
async fn pod_logs(cluster: &Cluster, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    let template = "{range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
    let output = format!("--output=jsonpath={template}");
    let pods = cluster.kubectl(&["get", "pods", "--all-namespaces", &output]).await?;
    for (namespace, pod) in pods.lines().filter_map(|line| line.split_once(' ')) {
        let args = ["logs", "--namespace", namespace, pod, "--all-containers", "--prefix", "--tail=2000"];
        let log = cluster.kubectl(&args).await.unwrap_or_else(|error| format!("{error:#}\n"));
        std::fs::write(into.join(format!("{namespace}-{pod}.log")), log)?;
    }
    Ok(())
}

/// Copies a directory of logs, while they are being written.
fn copy(from: &Path, into: &Path) -> Result<()> {
    std::fs::create_dir_all(into)?;
    let entries = std::fs::read_dir(from).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let (path, target) = (entry.path(), into.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            // A pod that goes takes its logs along: then there is nothing left to copy.
            let _ = std::fs::copy(&path, &target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_copied_with_their_directories() {
        let from = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(from.path().join("pod/container")).unwrap();
        std::fs::write(from.path().join("pod/container/0.log"), "said").unwrap();
        let into = tempfile::tempdir().unwrap();
        copy(from.path(), &into.path().join("logs")).unwrap();
        assert_eq!(std::fs::read_to_string(into.path().join("logs/pod/container/0.log")).unwrap(), "said");
        copy(Path::new("/nonexistent"), &into.path().join("none")).unwrap();
    }
}
