//! A cluster whose nodes are network namespaces of this machine.
//!
//! Real control plane, real kubelets, real containers; only the machines are not. It may touch: its
//! directory, namespaces, one interface, one control group and processes of its own, all written down in
//! its state file first. It changes no setting of the machine, no packet filter and no container engine.

mod certificates;
mod config;
mod control_group;
mod control_plane;
mod daemon;
mod images;
mod layout;
mod manifests;
mod network;
mod node;
mod packages;
mod slow;
mod state;
mod teardown;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;

use self::certificates::Authority;
use self::control_plane::ControlPlane;
use self::daemon::{Daemons, Room};
use self::layout::{NODES, Planned};
use self::node::Making;
use self::slow::Detour;
use self::state::{Journal, State};
use crate::command;
use crate::lock::Lock;
use crate::place::Place;
use crate::progress::Progress;
use crate::relay::{self, Relay};
use crate::step::Step;
use crate::tools::{Tool, Tools};

/// What the cluster is made of; `helm` is for its users.
const TOOLS: [Tool; 6] = [Tool::KUBE, Tool::ETCD, Tool::COREDNS, Tool::PAUSE, Tool::VOLUMES, Tool::HELM];

/// How long all nodes may take to become Ready.
const READY: &str = "120s";

/// Why it cannot be had here, in a sentence.
pub(crate) fn unavailable(tools: &Tools) -> Option<String> {
    if std::env::consts::OS != "linux" {
        return Some("needs Linux: start Docker for kind instead".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("makes namespaces and mounts: run as root (or start Docker for kind)".to_owned());
    }
    packages::unobtainable(&packages::missing()).or_else(|| tools.missing(&TOOLS))
}

/// A cluster that is up.
#[derive(Debug)]
pub(crate) struct Namespaces {
    place: Place,
    state: State,
    audit_log: PathBuf,
}

impl Namespaces {
    /// The cluster at `place`, if there is one and all of its daemons run.
    pub(crate) fn attach(place: &Place) -> Option<Self> {
        let state = State::read(place).ok()??;
        state.startup?;
        let audit_log = control_plane::audit_log(&place.logs());
        state.is_whole().then(|| Self { place: place.clone(), state, audit_log })
    }

    /// Makes a cluster at `place`, in place of what may be left of another.
    pub(crate) async fn make(place: &Place, tools: &Tools, progress: &Progress) -> Result<Self> {
        packages::install(progress).await?;
        tools.ensure(&TOOLS, progress).await?;
        let begin = Instant::now();
        progress.step("clearing away what an earlier run left");
        teardown::remove(place).await?;
        progress.step("starting the control plane");
        let journal = Self::plan(place).await?;
        let state = journal.state()?;
        std::fs::create_dir_all(place.logs())?;
        let authority = Authority::new(&place.dir().join("pki"))?;
        let control = ControlPlane {
            daemons: Daemons { place, journal: &journal },
            authority: &authority,
            tools,
            subnet: state.subnet,
            fabric: &state.fabric,
        };
        let archives = {
            let tools = tools.clone();
            tokio::task::spawn_blocking(move || images::own_archives(&tools)).await??
        };
        let making: Vec<Making<'_>> = layout::indices()
            .map(|(index, planned)| Making { control: &control, state: &state, index, planned })
            .collect();
        let (containerds, ()) = tokio::try_join!(
            try_join_all(making.iter().map(|node| node.start_containerd(&archives))),
            control.start_api(),
        )?;
        progress.step("starting the nodes");
        control.start_controllers()?;
        let kubectl = tools.path(&Tool::KUBE, "kubectl")?;
        apply(&kubectl, place, &manifests::all(state.subnet)).await?;
        for (node, containerd) in making.iter().zip(&containerds) {
            node.start_kubelet(containerd)?;
        }
        progress.step("waiting for the nodes to be Ready");
        let wait = ["wait", "--for=condition=Ready", "nodes", "--all", "--timeout", READY];
        let ready = kubectl_at(&kubectl, place, &wait, None);
        progress.during(unless_a_daemon_ends(&journal, ready)).await.with_context(|| said(place))?;
        let startup = begin.elapsed();
        progress.step("waiting for DNS");
        let wait = ["rollout", "status", "daemonset/coredns", "--namespace=kube-system", "--timeout", READY];
        let ready = kubectl_at(&kubectl, place, &wait, None);
        progress.during(unless_a_daemon_ends(&journal, ready)).await.with_context(|| said(place))?;
        // Last: a cluster without it is one that was never finished.
        journal.change(|state| state.startup = Some(startup))?;
        Self::attach(place).with_context(|| format!("a daemon ended while the cluster came up; {}", said(place)))
    }

    /// Chooses addresses and writes down all that is going to be made. Two clusters that start at once must
    /// not choose the same addresses, so the first interface is made under a lock as well.
    async fn plan(place: &Place) -> Result<Journal> {
        let path = place.root().join("addresses");
        let lock = tokio::task::spawn_blocking(move || Lock::wait(&path)).await??;
        let state = State::plan(place, network::free_subnet().await?);
        network::check_names_are_free(&state)?;
        let journal = Journal::begin(place, state.clone())?;
        network::make_fabric(&state).await?;
        lock.remove()?;
        Ok(journal)
    }

    /// Removes what there is of the cluster at `place`.
    pub(crate) async fn remove(place: &Place) -> Result<()> {
        teardown::remove(place).await?;
        // The last one takes the common directory too; it is not empty while there are others.
        let _ = std::fs::remove_dir(place.root());
        Ok(())
    }

    /// Whether there is anything at `place` that this way of making clusters has left.
    pub(crate) fn is_at(place: &Place) -> bool {
        place.dir().join("state.json").exists()
    }

    pub(crate) fn startup(&self) -> Duration {
        self.state.startup.unwrap_or_default()
    }

    pub(crate) fn audit_log(&self) -> &Path {
        &self.audit_log
    }

    /// Plugs a node in or out: itself and all its pods, at once.
    pub(crate) fn plug(&self, node: &str, plugged: bool) -> Result<Step> {
        network::plug(&self.state, index_of(node)?, plugged)
    }

    /// What puts a region's nodes on their detour, and what takes it away again.
    pub(crate) fn slow(&self, region: &str) -> Result<(Step, Step)> {
        let detour = self.detour(region)?;
        Ok((detour.lead(true), detour.remove()))
    }

    /// Makes a region's detour, and carries the frames that come along it from now on.
    pub(crate) async fn relay(&self, region: &str, delay: Duration) -> Result<Relay> {
        let (detour, file) = (self.detour(region)?, self.place.dir().join("relayed"));
        let making = tokio::task::spawn_blocking(move || {
            // One that a killed run left has nobody who carries its frames.
            detour.remove().output()?;
            detour.make().output().context("this needs the kernel's macvtap")?;
            let numbers = detour.devices().output()?;
            let (one, other) = numbers.trim().split_once('\n').context("a detour has two ends")?;
            Relay::start([relay::open(&file, one)?, relay::open(&file, other)?], delay)
        });
        making.await?.context("cannot have frames carried")
    }

    fn detour(&self, region: &str) -> Result<Detour> {
        let of_region = |(index, planned): (u8, Planned)| (planned.region == region).then_some(index);
        Detour::of(&self.state, &layout::indices().filter_map(of_region).collect::<Vec<_>>())
    }

    /// A command in the network of a node, to be completed.
    pub(crate) fn on_network_of(&self, node: &str) -> Result<Step> {
        network::on(&self.state, index_of(node)?)
    }

    /// The containerd client on a node, to be completed.
    pub(crate) fn ctr(&self, node: &str) -> Result<Step> {
        let room = daemon::enter(Room::With(node::containerd(&self.state, node)?));
        let room: Vec<&str> = room.iter().map(String::as_str).collect();
        Ok(Step::command(&["nsenter"]).with(&room).with(&["--", "ctr"]).with(&images::CTR))
    }

    /// Signals the API server: `STOP` or `CONT`.
    pub(crate) fn signal_api_server(&self, signal: &str) -> Result<Step> {
        let server = self.state.process("kube-apiserver").filter(|server| server.alive());
        let pid = server.context("there is no API server")?.pid.to_string();
        Ok(Step::command(&["kill", &format!("-{signal}"), &pid]))
    }

    /// Loads an image archive on every node.
    pub(crate) async fn load_image(&self, archive: &Path) -> Result<()> {
        try_join_all(NODES.iter().map(async |planned| {
            let containerd = node::containerd(&self.state, planned.name)?;
            let dir = node::dir(&self.place, planned.name);
            images::import(containerd, &dir, archive).await.with_context(|| format!("on the node {}", planned.name))
        }))
        .await?;
        Ok(())
    }

    /// The directories whose logs are worth keeping: of the daemons, and of the pods by node.
    pub(crate) fn logs(&self) -> Vec<(String, PathBuf)> {
        let pods = NODES.iter().map(|planned| {
            (format!("pods-on-{}", planned.name), node::dir(&self.place, planned.name).join("log/pods"))
        });
        std::iter::once(("components".to_owned(), self.place.logs())).chain(pods).collect()
    }
}

/// The place of a node among all.
fn index_of(node: &str) -> Result<u8> {
    let found = layout::indices().find(|(_, planned)| planned.name == node);
    found.map(|(index, _)| index).with_context(|| format!("there is no node {node}"))
}

/// Waits for `ready`, but no longer than all daemons run: without one of them, it will not come.
async fn unless_a_daemon_ends<T>(journal: &Journal, ready: impl Future<Output = Result<T>>) -> Result<T> {
    const PAUSE: Duration = Duration::from_secs(1);
    let ended = async {
        loop {
            tokio::time::sleep(PAUSE).await;
            if let Some(process) = journal.state()?.processes().iter().find(|process| !process.alive()) {
                bail!("{} ended while the cluster came up", process.what);
            }
        }
    };
    tokio::select! {
        ready = ready => ready,
        ended = ended => ended,
    }
}

fn said(place: &Place) -> String {
    format!("the logs of the cluster's daemons are in {}", place.logs().display())
}

async fn kubectl_at(kubectl: &Path, place: &Place, args: &[&str], input: Option<&str>) -> Result<String> {
    let mut command = command::command(kubectl);
    command.arg("--kubeconfig").arg(place.kubeconfig()).args(args);
    command::output(&mut command, input).await
}

/// Applies what the cluster starts with. The namespaces in it are made by the API server itself, a moment
/// after it is ready.
async fn apply(kubectl: &Path, place: &Place, manifests: &str) -> Result<()> {
    const TRIES: u32 = 40;
    const PAUSE: Duration = Duration::from_millis(500);
    let args = ["apply", "--server-side", "--force-conflicts", "--validate=false", "--filename=-"];
    for _ in 0..TRIES {
        if kubectl_at(kubectl, place, &args, Some(manifests)).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    match kubectl_at(kubectl, place, &args, Some(manifests)).await {
        Ok(_) => Ok(()),
        Err(error) => bail!("the cluster's own objects cannot be applied: {error:#}"),
    }
}
