//! Starts the cluster's daemons: in the right namespaces, marked, recorded, and outliving the harness.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::network::netns_path;
use super::state::Journal;
use crate::command::find;
use crate::place::Place;
use crate::process::{MARK, Process};

/// Distributions keep some of what daemons call outside the search path of users.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a daemon runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room<'a> {
    /// In a network namespace.
    Network(&'a str),
    /// Where another process runs: its network and its mounts.
    With(&'a Process),
}

/// Starts daemons of one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemons<'a> {
    pub(crate) place: &'a Place,
    pub(crate) journal: &'a Journal,
}

impl Daemons<'_> {
    /// Starts `program` as `what`, which is also the name of its log.
    pub(crate) fn start(&self, what: &str, room: Room<'_>, program: &Path, args: &[String]) -> Result<Process> {
        let log = self.log(what);
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        // `setsid` frees it from the terminal; neither of the two starts another process, so the process
        // number is the daemon's own.
        let mut command = Command::new("setsid");
        command.arg("nsenter").args(enter(room)).arg("--").arg(program).args(args);
        // A proxy or a kubeconfig in our own environment is none of the daemons' business.
        command.env_clear().env("PATH", PATH).env("HOME", self.place.dir());
        command.env(MARK, self.place.dir());
        command.current_dir("/").stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn().with_context(|| format!("cannot start {what}"))?;
        let process = Process::now(what, child.id()).with_context(|| format!("{what} ended at once"))?;
        self.journal.change(|state| state.add(process.clone()))?;
        Ok(process)
    }

    fn log(&self, what: &str) -> PathBuf {
        self.place.logs().join(format!("{what}.log"))
    }

    /// Waits until `ready` says so; fails with the end of the log if the daemon ends first or takes too long.
    pub(crate) async fn wait<F: Future<Output = bool>>(
        &self,
        process: &Process,
        patience: Duration,
        ready: impl Fn() -> F,
    ) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + patience;
        loop {
            if ready().await {
                return Ok(());
            }
            if !process.alive() {
                bail!("{} ended; the end of its log: {}", process.what, self.last_words(&process.what));
            }
            if Instant::now() > deadline {
                let seconds = patience.as_secs();
                bail!(
                    "{} was not ready after {seconds} s; the end of its log: {}",
                    process.what,
                    self.last_words(&process.what)
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn last_words(&self, what: &str) -> String {
        const LINES: usize = 8;
        let log = std::fs::read(self.log(what)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        format!("\n{}\n(all of it: {})", last.join("\n"), self.log(what).display())
    }
}

/// The arguments that make `nsenter` go there.
pub(crate) fn enter(room: Room<'_>) -> Vec<String> {
    match room {
        Room::Network(namespace) => vec![format!("--net={}", netns_path(namespace))],
        Room::With(process) => {
            let namespaces = format!("/proc/{}/ns", process.pid);
            vec![format!("--net={namespaces}/net"), format!("--mount={namespaces}/mnt")]
        }
    }
}

/// The path of a program that a distribution's package brings.
pub(crate) fn installed(program: &str) -> Result<PathBuf> {
    find(program).with_context(|| format!("{program} is not installed"))
}
