//! The peer: nats-server with a file stream, fed through its own client. Both are built from the pinned modules in
//! `nats/`, whose compiler keeps what it has built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Lab, Loaded};
use crate::process::Process;

/// When the server calls `fsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Before each acknowledgement, as the dispatcher does.
    Always,
    /// Every two minutes: what was acknowledged since is lost with the machine.
    Default,
}

/// The two programs.
pub(crate) struct Programs {
    server: PathBuf,
    publish: PathBuf,
}

/// Builds them next to this program.
pub(crate) fn build() -> Result<Programs> {
    let here = std::env::current_exe()?;
    let into = here.parent().context("this program is in no directory")?;
    let programs = Programs { server: into.join("nats-server"), publish: into.join("nats-publish") };
    for (file, package) in [(&programs.server, "github.com/nats-io/nats-server/v2"), (&programs.publish, ".")] {
        let mut command = Command::new("go");
        command.args(["build", "-trimpath", "-o"]).arg(file).arg(package);
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("nats")).env("CGO_ENABLED", "0");
        let status = command.status().context("install Go 1.26 or newer from https://go.dev/dl")?;
        ensure!(status.success(), "{package} cannot be built");
    }
    Ok(programs)
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    url: String,
    // Last, so that the server has ended before its files go.
    _home: tempfile::TempDir,
}

impl Programs {
    /// Starts a server that keeps its stream in `dir`.
    pub(crate) async fn server(&self, dir: &Path, sync: Sync) -> Result<Server> {
        let home = tempfile::tempdir_in(dir)?;
        let always = if sync == Sync::Always { "sync_interval: always" } else { "" };
        let store = home.path().join("store");
        let config =
            format!("listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: \"{}\"\n{always} }}\n", store.display());
        std::fs::write(home.path().join("config"), config)?;
        let mut command = Command::new(&self.server);
        command.arg("--config").arg(home.path().join("config")).arg("--ports_file_dir").arg(home.path());
        let mut process = Process::start(&mut command, &home.path().join("log"))?;
        let ports = home.path().join(format!("nats-server_{}.ports", process.id()));
        let bound = process.written(&ports).await?;
        let url = bound["nats"][0].as_str().context("the ports file is not complete")?.to_owned();
        Ok(Server { process, url, _home: home })
    }

    /// Publishes for so long with one message in flight on each connection; with a rate, on a schedule.
    pub(crate) async fn publish(&self, lab: &Lab, server: &Server, seconds: u64, rate: f64) -> Result<Loaded> {
        let mut command = Command::new(&self.publish);
        command.args(["-url", &server.url, "-connections", &lab.connections.to_string()]);
        command.args(["-duration", &format!("{seconds}s"), "-rate", &rate.to_string()]).stdout(Stdio::piped());
        let log = tempfile::NamedTempFile::new_in(&lab.dir)?;
        let (text, cpu) = Process::start(&mut command, log.path())?.finished().await?;
        let loaded: Loaded = serde_json::from_str(&text).with_context(|| {
            format!("nothing was published: {}", std::fs::read_to_string(log.path()).unwrap_or_default())
        })?;
        Ok(Loaded { cpu, ..loaded })
    }
}
