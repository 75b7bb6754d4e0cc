//! The control groups that the containers of a cluster are in: one of the cluster's own, and one per node in it.
//!
//! They bound what a pod may use, and they are how a container is known to be this cluster's when it has
//! to be ended.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Process;

const ROOT: &str = "/sys/fs/cgroup";
/// Those that version 2 lets one pass on, of those that a kubelet asks for.
const PASSED_ON: [&str; 5] = ["cpu", "cpuset", "memory", "hugetlb", "pids"];

/// Makes the control group `cluster/node`, in every hierarchy.
pub(crate) fn make(cluster: &str, node: &str) -> Result<()> {
    if is_version_2() {
        let root = Path::new(ROOT);
        for parent in [root.to_owned(), root.join(cluster), root.join(cluster).join(node)] {
            fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
            pass_controllers_on(&parent)?;
        }
        return Ok(());
    }
    // Version 1 has a hierarchy per controller, and systemd one without any, which kubelets ask for too.
    for controller in children(Path::new(ROOT)).iter().filter(|path| path.join("cgroup.procs").exists()) {
        for group in [controller.join(cluster), controller.join(cluster).join(node)] {
            fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
            // A new group of this controller has no processors and no memory until it is given some.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                inherit(&group, file)?;
            }
        }
    }
    Ok(())
}

fn is_version_2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

fn pass_controllers_on(group: &Path) -> Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))?;
    for controller in available.split_whitespace().filter(|name| PASSED_ON.contains(name)) {
        let file = group.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("cannot pass the controller {controller} on in {}", file.display()))?;
    }
    Ok(())
}

fn inherit(group: &Path, file: &str) -> Result<()> {
    let own = group.join(file);
    if fs::read_to_string(&own).is_ok_and(|value| value.trim().is_empty()) {
        let parent = group.parent().context("a control group has a parent")?.join(file);
        fs::write(&own, fs::read_to_string(&parent)?).with_context(|| format!("cannot write {}", own.display()))?;
    }
    Ok(())
}

/// Where the control group called `name` is: once with version 2, once per hierarchy with version 1.
pub(crate) fn find(name: &str) -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    // Some hierarchies have two names, one a link to the other: that finds a group twice, which does no harm.
    let hierarchies = children(root);
    std::iter::once(root.to_owned()).chain(hierarchies).map(|dir| dir.join(name)).filter(|dir| dir.is_dir()).collect()
}

/// The processes of a control group and of all groups in it.
pub(crate) fn members(group: &Path) -> Vec<Process> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|pid| Process::now("a container", pid.parse().ok()?));
    own.chain(children(group).iter().flat_map(|child| members(child))).collect()
}

/// Removes a control group without processes. Its files go with it; it is removed from the leaves up.
pub(crate) fn remove(group: &Path) -> Result<()> {
    for child in children(group) {
        remove(&child)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the control group {}", group.display()))
        }
        _ => Ok(()),
    }
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect()
}
