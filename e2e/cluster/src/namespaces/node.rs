//! One node: a network namespace and mounts of its own, a containerd, a kubelet and a kube-proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::control_plane::ControlPlane;
use super::daemon::{Room, enter, installed};
use super::layout::Planned;
use super::state::State;
use super::{config, control_group, images, manifests, network, packages};
use crate::place::Place;
use crate::process::Process;
use crate::tools::Tool;

/// Starting containerd takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The directory of a node's files.
pub(crate) fn dir(place: &Place, node: &str) -> PathBuf {
    place.dir().join("nodes").join(node)
}

/// The recorded containerd of a node, whose namespaces are the node's.
pub(crate) fn containerd<'a>(state: &'a State, node: &str) -> Result<&'a Process> {
    state.process(&format!("{node}-containerd")).with_context(|| format!("the node {node} has no containerd"))
}

/// A node in the making.
pub(crate) struct Making<'a> {
    pub(crate) control: &'a ControlPlane<'a>,
    pub(crate) state: &'a State,
    pub(crate) index: u8,
    pub(crate) planned: Planned,
}

impl Making<'_> {
    fn dir(&self) -> PathBuf {
        dir(self.control.daemons.place, self.planned.name)
    }

    fn what(&self, daemon: &str) -> String {
        format!("{}-{daemon}", self.planned.name)
    }

    /// Makes the namespaces, starts containerd, and loads the images that the cluster itself needs.
    pub(crate) async fn start_containerd(&self, archives: &[PathBuf]) -> Result<Process> {
        network::make_node(self.state, self.index).await?;
        let dir = self.dir();
        self.write_files(&dir)?;
        let namespace = self.state.nodes.get(usize::from(self.index)).context("there is no such node")?;
        let root = self.control.daemons.place.root();
        let kube = self.control.tools.path(&Tool::KUBE, "")?;
        let args = ["--mount", "--propagation=private", "--", "sh", "-c", &config::entry_script(&dir, root, &kube)];
        let args = args.map(str::to_owned);
        let what = self.what("containerd");
        let process = self.control.daemons.start(&what, Room::Network(namespace), &installed("unshare")?, &args)?;
        let socket = dir.join("run/containerd/containerd.sock");
        let answers = || async { tokio::net::UnixStream::connect(&socket).await.is_ok() };
        self.control.daemons.wait(&process, PATIENCE, answers).await?;
        for archive in archives {
            images::import(&process, &dir, archive).await?;
        }
        Ok(process)
    }

    /// Starts what makes a node of it, as soon as the API server answers.
    pub(crate) fn start_kubelet(&self, containerd: &Process) -> Result<()> {
        let dir = self.dir();
        let (name, room) = (self.planned.name, Room::With(containerd));
        let address = self.state.subnet.node(self.index);
        let user = format!("system:node:{name}");
        let authority = self.control.authority;
        let kubeconfig = self.control.client(&format!("{name}-kubelet"), &user, &["system:nodes"])?;
        let serving = authority.issue(&format!("{name}-serving"), &user, &[], &[name], &[address.into()])?;
        control_group::make(&self.state.control_group, name)?;
        let control_group = format!("{}/{name}", self.state.control_group);
        let config = config::kubelet(&dir, &authority.file(), &serving.certificate, &serving.key, &control_group);
        let config = write(&dir.join("kubelet.json"), &config.to_string())?;
        let labels = manifests::node_labels(self.planned).map(|(key, value)| format!("{key}={value}")).join(",");
        // By the node's own path: what is mounted over `/var/lib` and `/run` may hide the cache.
        let program = |name: &str| dir.join("bin").join(name);
        self.control.daemons.start(
            &self.what("kubelet"),
            room,
            &program("kubelet"),
            &[
                format!("--config={}", config.display()),
                format!("--kubeconfig={}", kubeconfig.display()),
                format!("--hostname-override={name}"),
                format!("--node-ip={address}"),
                format!("--node-labels={labels}"),
            ],
        )?;

        let kubeconfig = self.control.client(&format!("{name}-proxy"), "system:kube-proxy", &[])?;
        let config = config::proxy(&kubeconfig, name, self.state.subnet);
        let config = write(&dir.join("proxy.json"), &config.to_string())?;
        self.control.daemons.start(
            &self.what("kube-proxy"),
            room,
            &program("kube-proxy"),
            &[format!("--config={}", config.display())],
        )?;
        Ok(())
    }

    fn write_files(&self, dir: &Path) -> Result<()> {
        for name in ["bin", "log", "run", "lib/signalbox-e2e", "network", "images"] {
            let path = dir.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        for tunable in config::TUNABLES {
            let path = dir.join("tunables").join(tunable);
            std::fs::create_dir_all(path.parent().context("a tunable is in a directory")?)?;
            // A setting that this kernel lacks stays empty, and is not mounted.
            write(&path, &std::fs::read_to_string(Path::new("/proc/sys").join(tunable)).unwrap_or_default())?;
        }
        let plugins = packages::plugins().context("the network plugins are not installed")?;
        write(&dir.join("containerd.toml"), &config::containerd(dir, &plugins))?;
        let network = config::pod_network(dir, &self.state.subnet.pods_of(self.index));
        write(&dir.join("network/pods.conflist"), &network.to_string())?;
        // Pods with the node's own DNS have none: nothing here leads out of the cluster.
        write(&dir.join("resolv.conf"), "")?;
        Ok(())
    }
}

fn write(path: &Path, content: &str) -> Result<PathBuf> {
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path.to_owned())
}

/// A command that runs where the daemons of a node run.
pub(crate) fn inside(containerd: &Process, program: &str) -> tokio::process::Command {
    let mut command = crate::command::command("nsenter");
    command.args(enter(Room::With(containerd))).arg("--").arg(program);
    command
}
