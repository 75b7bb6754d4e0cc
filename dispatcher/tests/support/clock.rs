//! Another time of day for a process: a library that is loaded before all others, and moves the system's clock.
//!
//! Only the time of day is moved, as on a machine whose clock is wrong; what counts from the machine's start is not. The
//! library is compiled by whatever links Rust's programs, `CC` or `cc`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Moves what is asked of the time of day by the seconds in `CLOCK_SHIFT`.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    static long seconds;
    static int known;
    if (!known) {
        const char *text = getenv("CLOCK_SHIFT");
        seconds = text ? atol(text) : 0;
        known = 1;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int answer = (int)syscall(SYS_clock_gettime, clock, at);
    if (answer == 0 && clock == CLOCK_REALTIME) at->tv_sec += shift();
    return answer;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return (time_t)-1;
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

/// How far a process's clock is from this machine's, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock(i64);

impl Clock {
    /// So many hours ahead, or behind if it is below zero.
    pub(crate) fn hours(hours: i64) -> Self {
        Self(hours * 3_600)
    }

    /// Has the command run with this clock.
    pub(crate) fn of(self, mut command: Command) -> Command {
        if self != Self::default() {
            command.env("LD_PRELOAD", library()).env("CLOCK_SHIFT", self.0.to_string());
        }
        command
    }

    /// Checks that whoever answered with this date has this clock.
    pub(crate) fn has_said(self, date: &str) {
        let said = jiff::fmt::rfc2822::parse(date).unwrap().timestamp().as_second();
        let away = said - jiff::Timestamp::now().as_second() - self.0;
        assert!(away.abs() <= 60, "its clock is {away} s away from where it was to be: {date}");
    }
}

/// The library, compiled once.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("clock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
        std::fs::write(&source, SHIM).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let made = Command::new(&compiler).args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).output();
        let made = made.unwrap_or_else(|e| panic!("{compiler} cannot be started: {e}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        library
    })
}
