//! Builds one Go program into the cache, whole or not at all.

use std::path::Path;

use anyhow::{Context, Result};

use super::{Tool, modules};
use crate::command;
use crate::lock::Lock;

/// The arguments of `go build` that shape its result: static, no paths of this machine, no symbols.
pub(crate) fn flags(tool: &Tool) -> Vec<String> {
    let link = format!("-s -w {}", tool.link);
    vec!["-trimpath".to_owned(), "-ldflags".to_owned(), link.trim_end().to_owned(), tool.package.to_owned()]
}

/// Builds `tool` into the directory `into` of `cache`, unless another run just did.
///
/// What is built goes to a directory of another name first: an interrupted build leaves that behind,
/// never half an entry, and the next build of the same tool clears it away.
pub(crate) async fn build(tool: &Tool, cache: &Path, into: &Path) -> Result<()> {
    let path = cache.join(format!("{}.lock", tool.name));
    let lock = tokio::task::spawn_blocking(move || Lock::wait(&path)).await??;
    if into.is_dir() {
        return Ok(());
    }
    clear_interrupted(cache, tool.name)?;
    // Of this process's own: a compiler that outlived an interrupted run cannot write into it.
    let unfinished = cache.join(format!("{}{}", unfinished_prefix(tool.name), std::process::id()));
    std::fs::create_dir_all(&unfinished)?;
    let file = unfinished.join(tool.name);
    let go = command::find("go").context("there is no `go` on the PATH")?;
    let mut command = command::command(go);
    let mut flags = flags(tool);
    let package = flags.pop().unwrap_or_default();
    command.arg("build").args(flags).arg("-o").arg(&file).arg(package);
    command.current_dir(modules().join(tool.module)).env("CGO_ENABLED", "0");
    command::output(&mut command, None).await?;
    for name in tool.names {
        std::os::unix::fs::symlink(tool.name, unfinished.join(name))?;
    }
    std::fs::rename(&unfinished, into).with_context(|| format!("cannot put {} in place", into.display()))?;
    drop(lock);
    Ok(())
}

fn unfinished_prefix(name: &str) -> String {
    format!("{name}.unfinished-")
}

/// Clears away what interrupted builds of the same tool left. The tool's lock is held: nobody is at it.
fn clear_interrupted(cache: &Path, name: &str) -> Result<()> {
    let prefix = unfinished_prefix(name);
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path()).context("cannot clear an interrupted build away")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_build_is_cleared_away_and_finished_ones_are_not() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["kube.unfinished-42", "kube-0123456789abcdef", "kubectl.unfinished-42"] {
            std::fs::create_dir(cache.path().join(name)).unwrap();
        }
        clear_interrupted(cache.path(), "kube").unwrap();
        assert!(!cache.path().join("kube.unfinished-42").exists());
        assert!(cache.path().join("kube-0123456789abcdef").exists());
        assert!(cache.path().join("kubectl.unfinished-42").exists());
    }

    #[test]
    fn only_what_needs_a_version_is_linked_with_one() {
        assert_eq!(flags(&Tool::ETCD), ["-trimpath", "-ldflags", "-s -w", "go.etcd.io/etcd/server/v3"]);
        assert!(flags(&Tool::KUBE)[2].contains("gitVersion=v1.37.2 -X"));
        assert_eq!(flags(&Tool::KUBECTL)[3], "k8s.io/kubernetes/cmd/kubectl");
    }
}
