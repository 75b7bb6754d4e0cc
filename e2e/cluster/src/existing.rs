//! A cluster that exists already, which the tests are lent: nothing of it is made, cut off or removed here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::nodes::{self, Node};

/// The environment variable with the path of its kubeconfig.
pub(crate) const KUBECONFIG: &str = "SIGNALBOX_E2E_KUBECONFIG";
/// The environment variable with a command that makes an image archive known to it; `{}` stands for the path.
const LOAD_IMAGE: &str = "SIGNALBOX_E2E_LOAD_IMAGE";

/// The kubeconfig that was given, which must be there: kubectl would go on with its own defaults.
pub(crate) fn checked_kubeconfig() -> Result<PathBuf> {
    let path = kubeconfig().with_context(|| format!("{KUBECONFIG} is not set"))?;
    ensure!(path.is_file(), "{KUBECONFIG} names {}, which is no file: set it to a kubeconfig", path.display());
    Ok(path)
}

/// The kubeconfig that was given, if any.
fn kubeconfig() -> Option<PathBuf> {
    std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Why there is none, in a sentence.
pub(crate) fn unavailable() -> Option<String> {
    kubeconfig().is_none().then(|| format!("set {KUBECONFIG} to the kubeconfig of a cluster to use"))
}

/// Tests move traffic from one region to another: there have to be two.
pub(crate) fn check_regions(nodes: &[Node]) -> Result<()> {
    let regions = nodes::regions(nodes);
    ensure!(
        regions.len() >= 2,
        "the nodes of the cluster in {KUBECONFIG} carry {} region(s) ({}): label them with {} in two regions or more",
        regions.len(),
        if regions.is_empty() { "no such label".to_owned() } else { regions.join(", ") },
        nodes::REGION_LABEL,
    );
    Ok(())
}

/// Runs the command that loads images, or takes it that the cluster can pull them.
pub(crate) async fn load_image(archive: &Path) -> Result<()> {
    let Some(load) = std::env::var(LOAD_IMAGE).ok().filter(|load| !load.is_empty()) else { return Ok(()) };
    command::run("sh", &["-c", &load_command(&load, archive)])
        .await
        .with_context(|| format!("the command in {LOAD_IMAGE} failed"))?;
    Ok(())
}

fn load_command(load: &str, archive: &Path) -> String {
    let path = archive.to_string_lossy().replace('\'', r"'\''");
    load.replace("{}", &format!("'{path}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(region: &str) -> Node {
        Node { name: "n".to_owned(), region: region.to_owned(), pods: String::new() }
    }

    #[test]
    fn a_cluster_with_one_region_is_refused_with_what_to_do() {
        let error = check_regions(&[node("eu-west"), node("")]).unwrap_err().to_string();
        assert!(error.contains("eu-west") && error.contains("topology.kubernetes.io/region"), "{error}");
        assert!(check_regions(&[]).unwrap_err().to_string().contains("no such label"));
        check_regions(&[node("eu-west"), node("us-east")]).unwrap();
    }

    #[test]
    fn an_archive_with_an_unusual_name_reaches_the_command_whole() {
        assert_eq!(load_command("load {} now", Path::new("/a b's.tar")), r"load '/a b'\''s.tar' now");
    }
}
