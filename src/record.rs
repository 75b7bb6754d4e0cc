//! Writes down what the operator observed, one JSON object a line, for `signalbox simulate --load`.
//!
//! A file for looking back, never for deciding: whatever goes wrong with it is told once and changes nothing else. It is
//! bounded: at half of the limit it becomes `<file>.old`, in place of the one before, and a new one is begun. A region is
//! written down every five seconds at most, and only while all of its rates are known.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::fleet::{FleetIntent, FleetPlan, ScalingNumbers, whole_second};

/// A region is written down once in so long.
const EVERY: Duration = Duration::from_secs(5);

/// What writes. Clones write to the same file. The default writes nothing.
#[derive(Clone, Default)]
pub(crate) struct Recorder {
    open: Option<Arc<Mutex<Open>>>,
}

struct Open {
    path: PathBuf,
    file: File,
    written: u64,
    half: u64,
    /// When a region was last written down, by `namespace/fleet/region`.
    last: BTreeMap<String, Timestamp>,
    failed: bool,
}

impl Recorder {
    /// Goes on writing at the end of a file, which takes at most `limit` bytes together with the one before it.
    pub(crate) fn open(path: &Path, limit: u64) -> std::io::Result<Self> {
        let file = append(path)?;
        let written = file.metadata()?.len();
        let open = Open { path: path.to_owned(), file, written, half: limit / 2, last: BTreeMap::new(), failed: false };
        Ok(Self { open: Some(Arc::new(Mutex::new(open))) })
    }

    /// Writes down what was observed of a fleet.
    pub(crate) fn record(&self, intent: &FleetIntent, plan: &FleetPlan, now: Timestamp) {
        let Some(open) = &self.open else { return };
        // A panic elsewhere leaves whole lines behind.
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = format!("{}/{}", intent.namespace, intent.name);
        for region in &plan.regions {
            let Some(decision) = region.scaling.as_ref().filter(|decision| decision.memory.wanted.is_some()) else {
                continue;
            };
            let ScalingNumbers { arrival, settled, backlog, unknown, .. } = decision.numbers;
            let key = format!("{fleet}/{}", region.name);
            let recent = open.last.get(&key).is_some_and(|last| now.duration_since(*last).unsigned_abs() < EVERY);
            if recent || unknown > 0 {
                continue;
            }
            let line = serde_json::json!({
                "time": whole_second(now),
                "fleet": fleet,
                "region": region.name,
                "arrivalPerSecond": arrival,
                "settledPerSecond": settled,
                "backlogEvents": backlog,
                "readyShards": region.ready,
                "wantedShards": region.wanted,
                "reason": decision.reason.as_str(),
            });
            open.last.insert(key, now);
            open.write(&format!("{line}\n"));
        }
    }
}

impl Open {
    fn write(&mut self, line: &str) {
        match self.append(line) {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                self.failed = true;
                tracing::warn!(path = %self.path.display(), %error, "cannot record what was observed");
            }
            Err(_) => {}
        }
    }

    fn append(&mut self, line: &str) -> std::io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.written > 0 && self.written.saturating_add(length) > self.half {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            (self.file, self.written) = (append(&self.path)?, 0);
        }
        self.file.write_all(line.as_bytes())?;
        self.written += length;
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::decide;
    use crate::fixtures;
    use crate::fleet::{FleetMemory, Rates, ShardRange};

    fn plan() -> (FleetIntent, FleetPlan) {
        let mut intent = fixtures::intent();
        intent.regions[0].shards = ShardRange { min: 2, max: 8 };
        let mut snapshot = fixtures::settled();
        for shard in snapshot.regions.get_mut("eu-west").unwrap().shards.values_mut() {
            let rates = Rates { over: Duration::from_secs(10), accepted: 21.0, settled: 20.0, ..Rates::default() };
            shard.report = fixtures::reading_with(3, rates);
        }
        let plan = decide(&intent, &snapshot, &FleetMemory::default(), fixtures::now());
        (intent, plan)
    }

    #[test]
    fn what_was_recorded_is_a_load_and_never_grows_beyond_its_limit() {
        let folder = std::env::temp_dir().join(format!("signalbox-record-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("observed.jsonl");
        let (intent, plan) = plan();
        let recorder = Recorder::open(&path, 4_000).unwrap();
        for second in 0..200 {
            recorder.record(&intent, &plan, fixtures::now() + Duration::from_secs(second));
        }
        let of = |path: &Path| std::fs::read_to_string(path).unwrap();
        let (new, old) = (of(&path), of(&folder.join("observed.jsonl.old")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(new.len() + old.len() <= 4_000, "{} and {}", new.len(), old.len());
        let line: crate::simulate::Line = serde_json::from_str(old.lines().next().unwrap()).unwrap();
        assert_eq!((line.fleet.as_deref(), line.region.as_deref()), (Some("shop/orders"), Some("eu-west")));
        assert!((line.arrival_per_second - 42.0).abs() < 0.1);
        let times: Vec<_> =
            new.lines().map(|line| serde_json::from_str::<crate::simulate::Line>(line).unwrap().time).collect();
        let gap = times[1].unwrap().duration_since(times[0].unwrap()).unsigned_abs();
        assert_eq!(gap, EVERY);
    }
}
