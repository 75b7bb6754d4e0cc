//! Processes that the harness started, told apart from others that later got the same number.
//!
//! Only two kinds of process are ever ended: those recorded with their start time, and those whose
//! environment carries the cluster's mark, which every daemon of the cluster inherits and nothing else has.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// The environment variable that marks a cluster's daemons with the cluster's directory.
pub(crate) const MARK: &str = "SIGNALBOX_E2E_MARK";

/// A process, identified for as long as the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What runs in it, for messages.
    pub(crate) what: String,
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot: together with the number, unique.
    pub(crate) started: u64,
}

impl Process {
    /// The process that has this number now.
    pub(crate) fn now(what: &str, pid: u32) -> Option<Self> {
        let (_, started) = stat(pid)?;
        Some(Self { what: what.to_owned(), pid, started })
    }

    /// Whether it still runs. A zombie does not: it only waits for its parent to look.
    pub(crate) fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, started)| state != 'Z' && state != 'X' && started == self.started)
    }

    /// Sends SIGKILL, unless the number belongs to another process by now.
    pub(crate) fn kill(&self) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        // The handle is taken first and the start time compared after: then the signal goes to the
        // process that was compared, even if the number is given to another in between.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && self.alive()
        {
            // It may end by itself at this moment, which is what is wanted.
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

/// State letter and start time from `/proc/<pid>/stat`.
fn stat(pid: u32) -> Option<(char, u64)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command, second, is in parentheses and may itself hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    /// Counted from the state, which is the third field of the file; the start time is the 22nd.
    const START_TIME: usize = 19;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().collect();
    Some((fields.first()?.chars().next()?, fields.get(START_TIME)?.parse().ok()?))
}

/// Every process on the machine whose environment holds `MARK=<mark>`.
pub(crate) fn marked(mark: &str) -> Vec<Process> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes()).then_some(pid)
        })
        .filter_map(|pid| Process::now("a daemon", pid))
        .collect()
}

/// Ends all processes that `find` finds, again until it finds none: what they started meanwhile too.
pub(crate) fn end_all(mut find: impl FnMut() -> Vec<Process>) -> Result<()> {
    /// A process in a system call that cannot be interrupted takes a moment to go.
    const PATIENCE: Duration = Duration::from_secs(20);
    const PAUSE: Duration = Duration::from_millis(20);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut left = find();
        left.retain(Process::alive);
        let Some(first) = left.first() else { return Ok(()) };
        if Instant::now() > deadline {
            bail!("{} processes do not end; the first is {} ({})", left.len(), first.pid, first.what);
        }
        left.iter().for_each(Process::kill);
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_does_not_shift_the_fields() {
        let line = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_stat(line), Some(('S', 4711)));
    }

    #[test]
    fn a_process_is_alive_until_it_is_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::now("sleep", child.id()).unwrap();
        assert!(process.alive());
        process.kill();
        child.wait().unwrap();
        assert!(!process.alive());
    }

    #[test]
    fn another_process_with_the_same_number_is_not_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let now = Process::now("sleep", child.id()).unwrap();
        let earlier = Process { started: now.started - 1, ..now.clone() };
        assert!(!earlier.alive());
        earlier.kill();
        assert!(now.alive());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn marked_processes_are_found_and_ended_and_no_others() {
        let mark = format!("/tried/{}", std::process::id());
        let mut ours = std::process::Command::new("sleep").arg("60").env(MARK, &mark).spawn().unwrap();
        let mut other = std::process::Command::new("sleep").arg("60").env(MARK, format!("{mark}0")).spawn().unwrap();
        // The mark is in place only once the child has become `sleep`.
        while marked(&mark).is_empty() {
            std::thread::yield_now();
        }
        let found = marked(&mark);
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [ours.id()]);
        end_all(|| marked(&mark)).unwrap();
        ours.wait().unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
