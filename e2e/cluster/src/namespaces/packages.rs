//! What the nodes need from the distribution, and how it gets there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command;
use crate::progress::Progress;

/// Programs, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 8] = [
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("mount", "mount"),
];

/// The package of the network plugins, which are not on the search path.
const PLUGINS_PACKAGE: &str = "containernetworking-plugins";
const PLUGINS: [&str; 3] = ["ptp", "host-local", "loopback"];
/// Where distributions, and people, put them.
const PLUGIN_DIRS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The directory of the network plugins.
pub(crate) fn plugins() -> Option<PathBuf> {
    let complete = |dir: &Path| PLUGINS.iter().all(|plugin| dir.join(plugin).is_file());
    PLUGIN_DIRS.map(PathBuf::from).into_iter().find(|dir| complete(dir))
}

/// The packages that are not installed, each once.
pub(crate) fn missing() -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| command::find(program).is_none()).map(|(_, package)| *package).collect();
    packages.dedup();
    if plugins().is_none() {
        packages.push(PLUGINS_PACKAGE);
    }
    packages
}

/// Why the packages that are missing cannot be had, in a sentence.
pub(crate) fn unobtainable(missing: &[&str]) -> Option<String> {
    if missing.is_empty() || command::find("apt-get").is_some() {
        return None;
    }
    Some(format!("install what the nodes are made of with your package manager: {}", missing.join(", ")))
}

/// Installs what is missing, after saying so.
pub(crate) async fn install(progress: &Progress) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    progress.note(&format!("Installing what the nodes are made of: apt-get install {list}"));
    progress.step(&format!("installing {list}"));
    let apt = |args: Vec<&'static str>| async move {
        let mut command = command::command("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command::output(&mut command, None).await
    };
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(&missing);
    // A fresh machine has no package lists, and an old one has outdated ones: fetch them only then.
    if progress.during(apt(args.clone())).await.is_err() {
        progress.during(apt(vec!["update"])).await?;
        progress.during(apt(args)).await.with_context(|| format!("cannot install {list}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_installed_here_is_named() {
        assert_eq!(unobtainable(&[]), None);
        if command::find("apt-get").is_none() {
            assert!(unobtainable(&["runc"]).unwrap().contains("runc"));
        }
    }
}
