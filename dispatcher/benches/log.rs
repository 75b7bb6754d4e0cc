//! `cargo bench -p signalbox-dispatcher --bench log [-- DIR]`: the segmented log, the log on the embedded store, and
//! what the disk can do at all, in one run on the disk of `DIR`. Prints tables, and leaves nothing behind.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used, reason = "this is a program for developers")]

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use signalbox_dispatcher::serve::bench::Bench;

const RECORD_BYTES: usize = 1024;

/// Events per group, and groups.
const GROUPS: [(usize, usize); 4] = [(1, 2_000), (10, 1_500), (100, 800), (1_000, 200)];

/// Rounds: the candidates take turns, so that a noisy neighbour hits all of them.
const ROUNDS: usize = 4;

struct Figures {
    latencies: Vec<Duration>,
    cpu: Duration,
    events: usize,
}

impl Figures {
    fn new() -> Self {
        Self { latencies: Vec::new(), cpu: Duration::ZERO, events: 0 }
    }

    fn line(&mut self, name: &str, group: usize) {
        self.latencies.sort_unstable();
        let at = |percent: usize| self.latencies[self.latencies.len() * percent / 100].as_micros();
        let cpu = self.cpu.as_secs_f64() * 1e6 / f64::from(u32::try_from(self.events).unwrap());
        println!("| {group} | {name} | {} | {} | {cpu:.2} |", at(50), at(99));
    }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

fn bytes_in(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return std::fs::metadata(path).map_or(0, |file| file.len()) };
    entries.map(|entry| bytes_in(&entry.unwrap().path())).sum()
}

/// Groups of events, with the first sink settling as it goes and the second getting nothing.
fn append(log: &mut Bench, group: usize, groups: usize, record: &Bytes, figures: &mut Figures) {
    let before = cpu();
    for _ in 0..groups {
        let started = Instant::now();
        log.append(group, record, u128::MAX).unwrap();
        figures.latencies.push(started.elapsed());
        log.settle().unwrap();
    }
    figures.cpu += cpu().saturating_sub(before);
    figures.events += group * groups;
}

/// One write and one sync per group, in a file that is filled with zeros.
fn raw(file: &std::fs::File, at: &mut u64, group: usize, groups: usize, figures: &mut Figures) {
    let bytes = vec![7; group * RECORD_BYTES];
    let before = cpu();
    for _ in 0..groups {
        if *at + bytes.len() as u64 > 64 << 20 {
            *at = 0;
        }
        let started = Instant::now();
        file.write_all_at(&bytes, *at).unwrap();
        file.sync_data().unwrap();
        figures.latencies.push(started.elapsed());
        *at += bytes.len() as u64;
    }
    figures.cpu += cpu().saturating_sub(before);
    figures.events += group * groups;
}

type Open = fn(&Path) -> Bench;

const ENGINES: [(&str, Open); 2] =
    [("segments", |dir| Bench::segments(dir).unwrap()), ("embedded store", |dir| Bench::fjall(dir).unwrap())];

fn main() {
    let place =
        std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map_or_else(std::env::temp_dir, PathBuf::from);
    let home = tempfile::tempdir_in(place).unwrap();
    let record = Bytes::from(vec![7; RECORD_BYTES]);

    println!("Appending records of 1 KiB, one sink settling as it goes:\n");
    println!("| events per group | log | ack p50 us | ack p99 us | CPU us per event |");
    println!("| --- | --- | --- | --- | --- |");
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(home.path().join("raw")).unwrap();
    file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let mut logs = ENGINES.map(|(name, open)| open(&home.path().join(name)));
    // Files are prepared ahead of need, beside the writing: not while it is measured.
    std::thread::sleep(Duration::from_secs(3));
    let mut at = 0;
    for (group, groups) in GROUPS {
        let mut figures = [Figures::new(), Figures::new(), Figures::new()];
        for _ in 0..ROUNDS {
            for (log, figures) in logs.iter_mut().zip(&mut figures) {
                append(log, group, groups / ROUNDS, &record, figures);
            }
            raw(&file, &mut at, group, groups / ROUNDS, &mut figures[2]);
        }
        for (name, figures) in ["segments", "embedded store", "write and fdatasync"].into_iter().zip(&mut figures) {
            figures.line(name, group);
        }
    }
    drop(logs);

    println!("\n400,000 events, of which a stuck sink gets one of 100; then 1,000,000 that no sink has settled:\n");
    println!("| log | MiB on disk, stuck | ready after s | MiB on disk, 1 M events |");
    println!("| --- | --- | --- | --- |");
    for (name, open) in ENGINES {
        let dir = home.path().join(format!("{name} stuck"));
        let mut log = open(&dir);
        for _ in 0..400 {
            log.append(1_000, &record, 100).unwrap();
            log.settle().unwrap();
        }
        drop(log);
        let stuck = bytes_in(&dir) >> 20;
        std::fs::remove_dir_all(&dir).unwrap();
        let mut log = open(&dir);
        for _ in 0..1_000 {
            log.append(1_000, &record, 1).unwrap();
        }
        drop(log);
        let started = Instant::now();
        let log = open(&dir);
        let ready = started.elapsed().as_secs_f64();
        assert_eq!(log.events().unwrap(), 1_000_000);
        drop(log);
        println!("| {name} | {stuck} | {ready:.2} | {} |", bytes_in(&dir) >> 20);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
