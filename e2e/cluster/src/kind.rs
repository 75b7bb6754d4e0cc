//! A cluster made by kind, where a Docker daemon answers. The path is short on purpose: create, load images.

mod config;
mod images;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use futures::future::try_join_all;

use crate::audit;
use crate::command;
use crate::nodes::Node;
use crate::place::Place;
use crate::progress::Progress;
use crate::step::Step;
use crate::tools::{Tool, Tools};

/// The environment variable with the node image to use instead of kind's own choice.
const NODE_IMAGE: &str = "SIGNALBOX_KIND_NODE_IMAGE";
/// Where a node keeps its routes while it is cut off; in memory, as they do not outlive its network either.
const SAVED_ROUTES: &str = "/run/signalbox-routes";

/// Why it cannot be had here, in a sentence.
pub(crate) async fn unavailable(tools: &Tools) -> Option<String> {
    if command::find("docker").is_none() {
        return Some("install Docker, and start it".to_owned());
    }
    if let Err(error) = command::run("docker", &["info", "--format", "{{.ServerVersion}}"]).await {
        return Some(format!("start Docker, or set DOCKER_HOST to where it runs ({error:#})"));
    }
    tools.missing(&[Tool::KIND])
}

/// A cluster that is up.
#[derive(Debug)]
pub(crate) struct Kind {
    place: Place,
    program: PathBuf,
    startup: Duration,
    audit_log: PathBuf,
}

impl Kind {
    /// The cluster at `place`, if kind knows it.
    pub(crate) async fn attach(place: &Place, tools: &Tools) -> Option<Self> {
        let startup = std::fs::read_to_string(startup_file(place)).ok()?.trim().parse().ok()?;
        let program = tools.program(&Tool::KIND).ok()?;
        let known = known(&program, place.name()).await.ok()?;
        known.then(|| Self::at(place, program, Duration::from_millis(startup)))
    }

    /// Makes a cluster, in place of what may be left of another.
    pub(crate) async fn make(place: &Place, tools: &Tools, progress: &Progress) -> Result<Self> {
        tools.ensure(&[Tool::KIND], progress).await?;
        let program = tools.program(&Tool::KIND)?;
        let begin = Instant::now();
        if Self::is_at(place) {
            Self::remove(place, tools).await?;
        }
        ensure!(
            !known(&program, place.name()).await?,
            "kind has a cluster named {:?} that was not made here: delete it, or choose another SIGNALBOX_E2E_NAME",
            place.name()
        );
        place.create()?;
        // From here on there may be something to remove.
        std::fs::write(marker(place), "")?;
        let version = command::run("docker", &["info", "--format", "{{.CgroupVersion}}"]).await?;
        prepare_audit(place)?;
        let config = config::prepare(version.trim() == "1", &audit_dir(place))?;
        let path = place.dir().join("kind-config.yaml");
        std::fs::write(&path, config).with_context(|| format!("cannot write {}", path.display()))?;
        progress.step("creating the cluster with kind");
        let mut create = command::command(&program);
        create.args(["create", "cluster", "--name", place.name(), "--wait", "180s", "--config"]).arg(&path);
        create.arg("--kubeconfig").arg(place.kubeconfig());
        if let Some(image) = std::env::var_os(NODE_IMAGE).filter(|image| !image.is_empty()) {
            create.arg("--image").arg(image);
        }
        progress.during(command::output(&mut create, None)).await.map_err(name_the_remedy)?;
        // kind waits for the control plane only; a node image has a kubectl that may ask about the others.
        progress.step("waiting for the nodes to be Ready");
        let control_plane = format!("{}-control-plane", place.name());
        let wait = ["exec", &control_plane, "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "wait"];
        let ready = ["--for=condition=Ready", "nodes", "--all", "--timeout=180s"];
        progress.during(command::run("docker", &[&wait[..], &ready[..]].concat())).await?;
        let startup = begin.elapsed();
        std::fs::write(startup_file(place), startup.as_millis().to_string())?;
        Ok(Self::at(place, program, startup))
    }

    fn at(place: &Place, program: PathBuf, startup: Duration) -> Self {
        Self { place: place.clone(), program, startup, audit_log: audit_dir(place).join(config::AUDIT_LOG) }
    }

    /// Deletes the cluster that was made here under this name, if any.
    pub(crate) async fn remove(place: &Place, tools: &Tools) -> Result<()> {
        // The cluster may have been made by another version, whose program is not the one to use now.
        tools.ensure(&[Tool::KIND], &Progress::new(false)).await?;
        let mut delete = command::command(tools.program(&Tool::KIND)?);
        delete.args(["delete", "cluster", "--name", place.name(), "--kubeconfig"]).arg(place.kubeconfig());
        command::output(&mut delete, None).await?;
        std::fs::remove_dir_all(place.dir()).with_context(|| format!("cannot remove {}", place.dir().display()))?;
        let _ = std::fs::remove_dir(place.root());
        Ok(())
    }

    /// Whether there is anything at `place` that this way of making clusters has left.
    pub(crate) fn is_at(place: &Place) -> bool {
        marker(place).exists()
    }

    pub(crate) fn startup(&self) -> Duration {
        self.startup
    }

    /// The file with one line per request that the API server has answered.
    pub(crate) fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// Loads an image archive, unless every node has its images already.
    pub(crate) async fn load_image(&self, archive: &Path) -> Result<()> {
        let wanted = images::of(archive)?;
        let nodes = command::run(&self.program, &["get", "nodes", "--name", self.place.name()]).await?;
        let lists = try_join_all(nodes.lines().map(images::list)).await?;
        if !wanted.is_empty() && lists.iter().all(|list| images::are_in(list, &wanted)) {
            return Ok(());
        }
        let mut load = command::command(&self.program);
        load.args(["load", "image-archive", "--name", self.place.name()]).arg(archive);
        command::output(&mut load, None).await?;
        Ok(())
    }

    /// Takes a node off the network, or puts it back with the routes it had.
    pub(crate) fn plug(&self, node: &Node, plugged: bool) -> Step {
        let script = if plugged {
            format!(
                "if [ -e {SAVED_ROUTES} ]; then ip link set eth0 up && ip -4 route restore < {SAVED_ROUTES} && rm {SAVED_ROUTES}; fi"
            )
        } else {
            // A node that is cut off already has no routes left to save.
            format!("[ -e {SAVED_ROUTES} ] || {{ ip -4 route save > {SAVED_ROUTES} && ip link set eth0 down; }}")
        };
        self.on_node(&node.name).with(&["sh", "-c", &script])
    }

    /// A command on a node, to be completed.
    #[expect(clippy::unused_self, reason = "there are nodes only where there is a cluster")]
    pub(crate) fn on_node(&self, node: &str) -> Step {
        Step::command(&["docker", "exec", "--interactive", node])
    }

    /// The containerd client on a node, to be completed.
    pub(crate) fn ctr(&self, node: &str) -> Step {
        self.on_node(node).with(&["ctr", "--namespace", "k8s.io"])
    }

    /// Signals the API server: `STOP` or `CONT`.
    pub(crate) fn signal_api_server(&self, signal: &str) -> Step {
        let node = format!("{}-control-plane", self.place.name());
        // By its whole name, in the process namespace of the node.
        self.on_node(&node).with(&["pkill", &format!("-{signal}"), "-x", "kube-apiserver"])
    }

    /// Has kind write the logs of all nodes to `into`, and says in a file there what kind could not get.
    pub(crate) async fn export_logs(&self, into: &Path) -> Result<()> {
        let mut export = command::command(&self.program);
        export.args(["export", "logs", "--name", self.place.name()]).arg(into);
        if let Err(error) = command::output(&mut export, None).await {
            std::fs::create_dir_all(into)?;
            std::fs::write(into.join("incomplete.txt"), format!("{error:#}\n"))?;
        }
        Ok(())
    }
}

/// kind names the image that Docker could not pull; that another may be used, only we know.
fn name_the_remedy(error: Error) -> Error {
    if error.to_string().contains("failed to pull image") {
        return error.context(format!("there is no node image: set {NODE_IMAGE} to one that Docker has or can pull"));
    }
    error
}

fn marker(place: &Place) -> PathBuf {
    place.dir().join("made-by-kind")
}

/// The directory that the control plane's node shares with the machine.
fn audit_dir(place: &Place) -> PathBuf {
    place.dir().join("audit")
}

/// The log is made here, and so is ours to read: made by the API server, it would be root's alone.
fn prepare_audit(place: &Place) -> Result<()> {
    let dir = audit_dir(place);
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(dir.join(config::AUDIT_POLICY), audit::POLICY))
        .and_then(|()| std::fs::write(dir.join(config::AUDIT_LOG), ""))
        .with_context(|| format!("cannot write to {}", dir.display()))
}

/// Written last, with the milliseconds it took: a cluster without it was never finished.
fn startup_file(place: &Place) -> PathBuf {
    place.dir().join("startup")
}

async fn known(program: &Path, name: &str) -> Result<bool> {
    Ok(command::run(program, &["get", "clusters"]).await?.lines().any(|line| line == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_image_that_cannot_be_pulled_is_an_error_that_says_what_to_set() {
        let unpulled = anyhow::anyhow!("`kind`: ERROR: failed to create cluster: failed to pull image \"a:1\"");
        let said = format!("{:#}", name_the_remedy(unpulled));
        assert!(said.contains(NODE_IMAGE) && said.contains("a:1"), "{said}");
        let other = name_the_remedy(anyhow::anyhow!("`kind`: ERROR: failed to init node"));
        assert_eq!(format!("{other:#}"), "`kind`: ERROR: failed to init node");
    }
}
