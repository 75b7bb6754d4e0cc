//! Carries frames between two interfaces, each later than it came: what a slow network does.
//!
//! ```text
//! one end --read--> Line (each frame waits for `delay`) --write--> other end      and the same the other way
//! ```
//!
//! The ends are character devices of `macvtap` interfaces: a read gives one frame, a write takes one. What the kernel
//! says of a frame (how it is cut into packets, what its checksum still lacks) comes before it and goes on with it, so
//! nothing has to be switched off on either side.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};
use rustix::io::Errno;

/// The largest frame that has not been cut yet, with what the kernel says of it.
const LARGEST: usize = 10 + 14 + 65_536;
/// How soon it ends when it is dropped.
const LOOK: Duration = Duration::from_millis(50);
/// What waits at most, each way: a second of 100 Mbit/s. What is more is lost, as in any full queue.
const MOST: usize = 12 << 20;

/// Frames go both ways until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    over: Arc<AtomicBool>,
    ways: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Begins to carry frames between two ends, which nobody else may have opened.
    pub(crate) fn start([one, other]: [File; 2], delay: Duration) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let ways = [(one.try_clone()?, other.try_clone()?), (other, one)].map(|(from, to)| {
            let over = over.clone();
            // A thread: what else this process has to do must not make the network slower still.
            std::thread::spawn(move || carry(&from, &to, delay, &over))
        });
        Ok(Self { over, ways: ways.into() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for way in self.ways.drain(..) {
            // Whether it panicked or not, it has ended.
            let _ = way.join();
        }
    }
}

/// Opens the character device of this number, `MAJOR:MINOR`, by a file of its own at `path` that is gone afterwards: the
/// files in `/dev` are named by numbers that interfaces of other network namespaces may have too.
pub(crate) fn open(path: &Path, number: &str) -> Result<File> {
    let (major, minor) = number.trim().split_once(':').context("not the number of a device")?;
    let device = makedev(major.parse()?, minor.parse()?);
    // A run that was killed in between may have left it.
    let _ = std::fs::remove_file(path);
    mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)
        .with_context(|| format!("cannot make the device {}", path.display()))?;
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits())?;
    let opened = OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path);
    let _ = std::fs::remove_file(path);
    opened.with_context(|| format!("cannot open the device {}", path.display()))
}

/// One way, until it is over or the end that is read from is gone.
fn carry(mut from: &File, mut to: &File, delay: Duration, over: &AtomicBool) {
    let mut line = Line { delay, waiting: VecDeque::new(), bytes: 0 };
    let mut buffer = vec![0; LARGEST];
    while !over.load(Ordering::Relaxed) {
        let wait = line.next().map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).min(LOOK));
        let Ok(wait) = Timespec::try_from(wait) else { return };
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => match from.read(&mut buffer) {
                Ok(length) => line.take(Instant::now(), buffer.get(..length).unwrap_or_default()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return,
            },
            Err(_) => return,
        }
        while let Some(frame) = line.give(Instant::now()) {
            // An end whose queue is full loses it, and an interface that is down all of them.
            let _ = to.write(&frame);
        }
    }
}

/// Frames on their way, in order, and when each is due.
#[derive(Debug)]
struct Line {
    delay: Duration,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl Line {
    /// Takes a frame, unless too much waits already.
    fn take(&mut self, now: Instant, frame: &[u8]) {
        if self.bytes + frame.len() <= MOST {
            self.bytes += frame.len();
            self.waiting.push_back((now + self.delay, frame.to_vec()));
        }
    }

    /// When the next frame is due.
    fn next(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// The next frame, if it is due.
    fn give(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (_, frame) = self.waiting.pop_front_if(|(due, _)| *due <= now)?;
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    fn line() -> Line {
        Line { delay: DELAY, waiting: VecDeque::new(), bytes: 0 }
    }

    #[test]
    fn frames_come_out_in_order_and_none_before_its_time() {
        let (mut line, begin) = (line(), Instant::now());
        assert_eq!(line.next(), None);
        line.take(begin, b"one");
        line.take(begin + DELAY / 2, b"two");
        assert_eq!(line.next(), Some(begin + DELAY));
        assert_eq!(line.give(begin + DELAY / 2), None);
        assert_eq!(line.give(begin + DELAY).as_deref(), Some(&b"one"[..]));
        assert_eq!(line.give(begin + DELAY), None);
        assert_eq!(line.give(begin + DELAY * 2).as_deref(), Some(&b"two"[..]));
    }

    #[test]
    fn a_line_that_is_full_loses_what_comes_and_takes_more_when_something_left() {
        let (mut line, begin) = (line(), Instant::now());
        let frame = vec![0; MOST / 2];
        for _ in 0..3 {
            line.take(begin, &frame);
        }
        assert_eq!((line.waiting.len(), line.bytes), (2, MOST));
        assert!(line.give(begin + DELAY).is_some());
        line.take(begin, &frame);
        assert_eq!((line.waiting.len(), line.bytes), (2, MOST));
    }
}
