//! The machine that a run was made on, and what the run cost it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What figures depend on besides what is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// When the run ended.
    pub date: String,
    /// The processor's name.
    pub cpu: String,
    /// Threads that it runs at once for us.
    pub cores: usize,
    /// The kernel's version.
    pub kernel: String,
    /// The generator's version.
    pub version: String,
    /// The generator was built without optimisation: its figures say little.
    pub debug_build: bool,
    /// The target is on this machine, so it and the generator took from each other.
    pub co_located: bool,
}

impl Environment {
    /// This machine, now.
    pub(super) fn here(co_located: bool) -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            cpu: model.map_or(std::env::consts::ARCH, |(_, model)| model.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            co_located,
        }
    }
}

/// Time that this process has had a processor.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
