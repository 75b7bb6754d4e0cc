//! Compiles the programs as static files that do not depend on where they were compiled.
//!
//! May run `cargo`, `rustc` and `git`, and write below the target directory; touches nothing else.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The programs, ready to be packed.
pub(crate) struct Compiled {
    pub(crate) operator: PathBuf,
    pub(crate) dispatcher: PathBuf,
    /// The commit that they were compiled from, with `-dirty` where files were changed since; absent without git.
    pub(crate) revision: Option<String>,
}

/// What we need of `cargo metadata`.
#[derive(Deserialize)]
struct Workspace {
    packages: Vec<Package>,
    target_directory: PathBuf,
    #[serde(rename = "workspace_root")]
    root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
}

/// Compiles both programs for `target`, or for this machine. The compiler's progress goes to stderr.
pub(crate) fn compile(target: Option<&str>) -> Result<Compiled> {
    let (programs, root) = programs(target, &[("signalbox", "signalbox"), ("signalbox-dispatcher", "dispatcher")])?;
    Ok(Compiled {
        operator: programs.join("signalbox"),
        dispatcher: programs.join("dispatcher"),
        revision: revision(&root),
    })
}

/// Compiles programs, each of a package, the same way. The folder that they are in, and that of the workspace.
pub(crate) fn programs(target: Option<&str>, programs: &[(&str, &str)]) -> Result<(PathBuf, PathBuf)> {
    let target = match target {
        Some(target) => target.to_owned(),
        None => host()?,
    };
    let workspace = workspace(&target)?;
    // A directory of its own: other flags in the same directory would make every other build start anew, and back.
    let directory = workspace.target_directory.join("images");
    let packages = programs.iter().flat_map(|(package, program)| ["--package", package, "--bin", program]);
    let status = cargo()
        .current_dir(&workspace.root)
        .args(["build", "--release", "--locked", "--target", &target])
        .args(packages)
        .arg("--target-dir")
        .arg(&directory)
        // Of all places that flags can come from, this one wins; so what a machine has set does not change the image.
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&workspace))
        // C code among the dependencies writes down when it was compiled; C compilers take the time from here. It is
        // not the images' own: what was compiled once is not compiled again because that has changed.
        .env("SOURCE_DATE_EPOCH", "0")
        .stdout(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the programs do not compile: cargo ended with {status}");
    Ok((directory.join(&target).join("release"), workspace.root))
}

/// The compiler's flags, separated as `CARGO_ENCODED_RUSTFLAGS` wants them: static, and no path of this machine.
fn flags(workspace: &Workspace) -> OsString {
    let mut flags = OsString::from("-Ctarget-feature=+crt-static");
    // The last prefix that fits is the one used, so what may be inside another comes later.
    let sources = sources(workspace).into_iter().map(|path| (path, "/dependencies"));
    let remaps =
        sources.chain([(workspace.root.clone(), "/signalbox"), (workspace.target_directory.clone(), "/target")]);
    for (path, stand_in) in remaps {
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(path);
        flags.push("=");
        flags.push(stand_in);
    }
    flags
}

/// The folders that the dependencies' own folders are in. Cargo names them by the registry they came from.
fn sources(workspace: &Workspace) -> BTreeSet<PathBuf> {
    let folder = |package: &Package| package.manifest_path.parent().and_then(Path::parent).map(Path::to_owned);
    let outside = |path: &PathBuf| !path.starts_with(&workspace.root);
    // A package beside the workspace's root has the root's parent here, which would hide the root's own stand-in,
    // were it not that the root's comes later.
    workspace.packages.iter().filter(|package| outside(&package.manifest_path)).filter_map(folder).collect()
}

/// The workspace that we were started from: cargo tells a program that it runs, and otherwise it is around us.
fn workspace(target: &str) -> Result<Workspace> {
    let mut command = cargo();
    command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", target]);
    if let Some(package) = env::var_os("CARGO_MANIFEST_DIR") {
        command.current_dir(package);
    }
    serde_json::from_slice(&run(&mut command)?.stdout).context("cannot read what cargo metadata says")
}

/// This machine's target triple.
fn host() -> Result<String> {
    let output = run(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.map(str::to_owned).context("rustc -vV does not name its host")
}

/// The commit checked out, and whether files differ from it. Nothing, when that cannot be told: it is only a label.
fn revision(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = run(Command::new("git").arg("-C").arg(root).args(arguments)).ok()?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Cargo, as if it were not started from a program that cargo runs. What cargo tells such a program of its package is
/// left out: some dependencies are compiled anew when it changes, and it differs between a test and `cargo images`.
fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_a_package) {
            command.env_remove(name);
        }
    }
    command
}

fn is_of_a_package(name: &str) -> bool {
    ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Runs a command to its end; what it says on stderr is the reason when it fails.
fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {}", output.status, said.trim());
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(root: &str, packages: &[&str]) -> Workspace {
        let packages = packages.iter().map(|path| Package { manifest_path: PathBuf::from(path) }).collect();
        Workspace { packages, target_directory: Path::new(root).join("target"), root: PathBuf::from(root) }
    }

    #[test]
    fn every_folder_that_sources_come_from_has_a_stand_in() {
        let packages =
            ["/w/Cargo.toml", "/w/dispatcher/Cargo.toml", "/r/a-1/x-1.0/Cargo.toml", "/r/a-1/y-2.0/Cargo.toml"];
        let flags = flags(&at("/w", &packages)).into_string().unwrap();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert_eq!(
            flags,
            [
                "-Ctarget-feature=+crt-static",
                "--remap-path-prefix=/r/a-1=/dependencies",
                "--remap-path-prefix=/w=/signalbox",
                "--remap-path-prefix=/w/target=/target",
            ]
        );
    }

    #[test]
    fn what_cargo_says_of_one_package_is_not_handed_to_the_build_of_another() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_images"] {
            assert!(is_of_a_package(name), "{name}");
        }
        for name in ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_NET_OFFLINE", "PATH"] {
            assert!(!is_of_a_package(name), "{name}");
        }
    }

    #[test]
    fn a_folder_without_git_has_no_revision() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(revision(dir.path()), None);
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let message = run(Command::new("rustc").arg("--no-such-flag")).unwrap_err().to_string();
        assert!(message.contains("no-such-flag"), "{message}");
    }
}
