//! A child process, and what the kernel says of it: processor time and memory, of all its threads.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// Longest wait for a process to be there.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running program. Killed when dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it. What it says on stderr goes to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stderr(log).spawn();
        Ok(Self { child: child.with_context(|| format!("cannot start {}", command.get_program().display()))? })
    }

    /// Waits until it has written a file, and gives what is in it.
    pub(crate) async fn written(&mut self, path: &Path) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = std::fs::read(path)
                && let Ok(value) = serde_json::from_slice(&text)
            {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("a process ended at once, with {status}: see its log");
            }
            ensure!(Instant::now() < deadline, "waited in vain for {}", path.display());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time so far, in the program and in the kernel for it.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu_of(&std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?).context("/proc/PID/stat is unreadable")
    }

    /// Processor time since it had this much.
    pub(crate) fn cpu_since(&self, before: Duration) -> Result<Duration> {
        Ok(self.cpu()?.saturating_sub(before))
    }

    /// Memory that is resident now, in MiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        kib_of(&status, "VmRSS:").map(|kib| kib / 1024.0).context("/proc/PID/status has no VmRSS")
    }

    /// The part of [`Self::resident`] that is its own, without the pages of files, in MiB.
    pub(crate) fn anonymous(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        kib_of(&status, "RssAnon:").map(|kib| kib / 1024.0).context("/proc/PID/status has no RssAnon")
    }

    /// Waits until it ends by itself; gives its stdout and the processor time that it took.
    pub(crate) async fn finished(mut self) -> Result<(String, Duration)> {
        // Until it is waited for, an ended process keeps its times.
        while !has_ended(&std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cpu = self.cpu()?;
        let mut text = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut stdout, &mut text)?;
        }
        self.child.wait()?;
        Ok((text, cpu))
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What follows the name in `/proc/PID/stat`, which may itself have spaces and brackets.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn has_ended(stat: &str) -> bool {
    matches!(after_name(stat).next(), Some("Z" | "X") | None)
}

fn cpu_of(stat: &str) -> Option<Duration> {
    let mut fields = after_name(stat).skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    let microseconds = ticks.checked_mul(1_000_000)?.checked_div(rustix::param::clock_ticks_per_second())?;
    Some(Duration::from_micros(microseconds))
}

fn kib_of(status: &str, name: &str) -> Option<f64> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{cpu_of, has_ended, kib_of};
    use std::time::Duration;

    #[test]
    fn times_are_found_behind_a_name_with_brackets() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 900 0 0 0 120 30 0 0 20 0 5 0 100 1000 200";
        let second = rustix::param::clock_ticks_per_second();
        assert_eq!(cpu_of(stat), Some(Duration::from_micros(150 * 1_000_000 / second)));
        assert!(!has_ended(stat));
        assert!(has_ended("7 (a) Z 1"));
        assert_eq!(cpu_of("7 (a) Z"), None);
    }

    #[test]
    fn memory_is_found_by_name() {
        assert_eq!(kib_of("VmHWM:\t  900 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(kib_of("VmHWM:\t  900 kB\n", "VmRSS:"), None);
    }
}
