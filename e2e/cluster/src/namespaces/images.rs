//! Loads image archives into a node's containerd, and remembers which ones it has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::config::CONTAINERD_SOCKET;
use super::manifests::{COREDNS_IMAGE, PAUSE_IMAGE};
use super::node::inside;
use crate::archive;
use crate::command;
use crate::process::Process;
use crate::tools::{Tool, Tools};

/// The containerd namespace that the kubelet uses.
const NAMESPACE: &str = "k8s.io";
/// The first arguments of the containerd client.
pub(crate) const CTR: [&str; 4] = ["--address", CONTAINERD_SOCKET, "--namespace", NAMESPACE];

/// The archives of the images that the cluster itself needs, made beside the programs in them.
pub(crate) fn own_archives(tools: &Tools) -> Result<Vec<PathBuf>> {
    [(Tool::PAUSE, PAUSE_IMAGE), (Tool::COREDNS, COREDNS_IMAGE)]
        .into_iter()
        .map(|(tool, name)| archive::of_program(name, &tools.program(&tool)?))
        .collect()
}

/// The containerd client, on a node.
pub(crate) fn ctr(containerd: &Process) -> tokio::process::Command {
    let mut command = inside(containerd, "ctr");
    command.args(CTR);
    command
}

/// Imports an archive unless the node whose files are in `dir` has all of its images already.
pub(crate) async fn import(containerd: &Process, dir: &Path, archive: &Path) -> Result<()> {
    let identity = archive::identity(archive)?;
    let marker = dir.join("images").join(identity);
    // Names and digests as they were after the import: a name may point to another image by now.
    if let Ok(recorded) = std::fs::read_to_string(&marker) {
        let present = images(containerd).await?;
        if !recorded.is_empty() && recorded.lines().all(|image| present.iter().any(|line| line == image)) {
            return Ok(());
        }
    }
    // On standard input: the archive may be where the node does not look.
    let file = std::fs::File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    let mut import = ctr(containerd);
    import.args(["images", "import", "-"]).stdin(file);
    let said = command::output(&mut import, None).await?;
    let present = images(containerd).await?;
    let imported: Vec<String> =
        present.into_iter().filter(|line| names(&said).any(|name| starts(line, name))).collect();
    std::fs::write(&marker, imported.join("\n")).with_context(|| format!("cannot write {}", marker.display()))
}

/// The images of a node: a line of name and digest for each.
async fn images(containerd: &Process) -> Result<Vec<String>> {
    let list = command::output(ctr(containerd).args(["images", "list"]), None).await?;
    Ok(parse_list(&list))
}

/// From a table with a headline: the first column is the name, the third the digest.
fn parse_list(list: &str) -> Vec<String> {
    let rows = list.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_whitespace();
        Some(format!("{} {}", columns.next()?, columns.nth(1)?))
    });
    rows.collect()
}

/// The names that an import reports: `unpacking <name> (<digest>)...done`.
fn names(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| line.trim().strip_prefix("unpacking ")?.split_whitespace().next())
}

fn starts(line: &str, name: &str) -> bool {
    line.split_whitespace().next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_is_remembered_by_the_names_and_digests_it_left() {
        let list =
            "REF TYPE DIGEST SIZE PLATFORMS LABELS\nlocalhost/a:1 application/x sha256:aa 1.0 MiB linux/amd64 -\n";
        assert_eq!(parse_list(list), ["localhost/a:1 sha256:aa"]);
        let said = "unpacking localhost/a:1 (sha256:aa)...done\n";
        assert_eq!(names(said).collect::<Vec<_>>(), ["localhost/a:1"]);
        assert!(starts("localhost/a:1 sha256:aa", "localhost/a:1") && !starts("localhost/a:10 x", "localhost/a:1"));
    }
}
