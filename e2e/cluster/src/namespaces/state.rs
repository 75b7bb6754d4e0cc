//! What has been made, written down before it is made: a run that is killed half-way can be cleaned up.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::layout::{self, NODES, Subnet};
use super::network;
use crate::place::Place;
use crate::process::Process;

/// Everything of a cluster that is outside its directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) subnet: Subnet,
    /// The network namespace with the control plane and the bridge that all nodes are plugged into.
    pub(crate) fabric: String,
    /// The network namespaces of the nodes, in the order of [`NODES`].
    pub(crate) nodes: Vec<String>,
    /// This machine's interface to the fabric.
    pub(crate) link: String,
    /// The control group, relative to the mount points of the controllers.
    pub(crate) control_group: String,
    /// What every daemon has in its environment.
    pub(crate) mark: String,
    /// The directory of network namespaces was not there before.
    #[serde(default)]
    pub(crate) made_netns_dir: bool,
    /// Which start of the machine the processes belong to: after another one, their numbers are others'.
    #[serde(default)]
    boot: String,
    processes: Vec<Process>,
    /// How long it took until all nodes were Ready; absent until they are.
    pub(crate) startup: Option<Duration>,
}

impl State {
    /// What the cluster at `place` is going to consist of.
    pub(crate) fn plan(place: &Place, subnet: Subnet) -> Self {
        let name = place.name();
        Self {
            subnet,
            fabric: layout::namespace(name, "fabric"),
            nodes: NODES.iter().map(|node| layout::namespace(name, node.name)).collect(),
            link: layout::link(name),
            control_group: layout::control_group(name),
            mark: place.dir().to_string_lossy().into_owned(),
            made_netns_dir: network::netns_dir_is_missing(),
            boot: boot(),
            processes: Vec::new(),
            startup: None,
        }
    }

    pub(crate) fn read(place: &Place) -> Result<Option<Self>> {
        let path = path(place);
        match std::fs::read(&path) {
            Ok(content) => Ok(Some(
                serde_json::from_slice(&content).with_context(|| format!("{} is not a state file", path.display()))?,
            )),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The recorded processes; none, if the machine has been started anew since.
    pub(crate) fn processes(&self) -> &[Process] {
        if self.boot == boot() { &self.processes } else { &[] }
    }

    /// Whether all that was started still runs.
    pub(crate) fn is_whole(&self) -> bool {
        !self.processes().is_empty() && self.processes().iter().all(Process::alive)
    }

    /// The recorded process that is called `what`.
    pub(crate) fn process(&self, what: &str) -> Option<&Process> {
        self.processes().iter().find(|process| process.what == what)
    }

    pub(crate) fn add(&mut self, process: Process) {
        self.processes.push(process);
    }
}

/// What the kernel calls this start of the machine.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn path(place: &Place) -> PathBuf {
    place.dir().join("state.json")
}

/// The state of a cluster in the making, on disk whenever it changes.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

impl Journal {
    /// Writes `state` down, before any of it exists.
    pub(crate) fn begin(place: &Place, state: State) -> Result<Self> {
        place.create()?;
        let journal = Self { path: path(place), state: Mutex::new(state) };
        journal.change(|_| ())?;
        Ok(journal)
    }

    /// Changes the state and writes it down, whole or not at all.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = self.state.lock().map_err(|_| anyhow!("the state was left in the middle of a change"))?;
        change(&mut state);
        write(&self.path, &serde_json::to_vec_pretty(&*state)?)
    }

    pub(crate) fn state(&self) -> Result<State> {
        Ok(self.state.lock().map_err(|_| anyhow!("the state was left in the middle of a change"))?.clone())
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, content).with_context(|| format!("cannot write {}", next.display()))?;
    std::fs::rename(&next, path).with_context(|| format!("cannot replace {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_on_disk_as_it_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::under(dir.path(), "tried");
        assert_eq!(State::read(&place).unwrap(), None);
        let subnet = Subnet::choose(&[]).unwrap();
        let journal = Journal::begin(&place, State::plan(&place, subnet)).unwrap();
        let process = Process { what: "etcd".to_owned(), pid: 42, started: 4711 };
        journal.change(|state| state.add(process.clone())).unwrap();
        let read = State::read(&place).unwrap().unwrap();
        assert_eq!(read, journal.state().unwrap());
        assert_eq!(read.process("etcd"), Some(&process));
        assert_eq!(read.nodes.len(), NODES.len());
    }

    #[test]
    fn processes_of_an_earlier_start_of_the_machine_are_not_taken_for_ours() {
        let place = Place::under(Path::new("/nonexistent"), "tried");
        let mut state = State::plan(&place, Subnet::choose(&[]).unwrap());
        state.add(Process::now("the test itself", std::process::id()).unwrap());
        assert!(state.is_whole());
        state.boot = "another".to_owned();
        assert!(state.processes().is_empty() && !state.is_whole());
    }

    #[test]
    fn a_state_file_that_cannot_be_read_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::under(dir.path(), "tried");
        place.create().unwrap();
        std::fs::write(path(&place), "{").unwrap();
        assert!(State::read(&place).is_err());
    }
}
