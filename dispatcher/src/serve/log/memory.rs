//! A log in memory, for tests: the same contract, with a "disk" that outlives the log and can be cut off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::ledger::{Ledger, Settled};
use super::{Entry, LogError, LogStats, NewRecord, OVERHEAD_BYTES, Position, ShardLog, SinkId, SinkSet, Unsettled};

/// What outlives the log: give it to the next one to "restart".
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    records: BTreeMap<Position, (Entry, Bytes)>,
    settled: BTreeMap<String, std::collections::BTreeSet<Position>>,
    end: Position,
    identities: Vec<(i64, u128)>,
    failing: bool,
    full: bool,
}

impl Disk {
    /// From now on every write fails.
    pub(crate) fn fail(&self) {
        self.0.lock().unwrap().failing = true;
    }

    /// From now on there is room for more events, or not.
    pub(crate) fn fill(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }
}

pub(crate) struct MemoryLog {
    disk: Disk,
    names: Vec<String>,
    ledger: Mutex<Ledger>,
}

impl MemoryLog {
    pub(crate) fn open(disk: &Disk, names: &[String]) -> Self {
        let mut files = disk.0.lock().unwrap();
        let end = files.end;
        files.settled.retain(|name, _| names.contains(name));
        for name in names {
            if !files.settled.contains_key(name) {
                let all = files.records.keys().copied().collect();
                files.settled.insert(name.clone(), all);
            }
        }
        let first = files.records.keys().next().copied().unwrap_or(end);
        let mut ledger = Ledger::new(&vec![first; names.len()], first);
        let mut gone = Vec::new();
        for (&position, (entry, _)) in &files.records {
            let marked: Vec<SinkId> =
                (0..names.len()).filter(|&sink| files.settled[&names[sink]].contains(&position)).collect();
            if !ledger.recover(position, entry.bytes, &marked) {
                gone.push(position);
            }
        }
        for position in gone {
            files.records.remove(&position);
        }
        ledger.skip_to(end);
        drop(files);
        Self { disk: disk.clone(), names: names.to_vec(), ledger: Mutex::new(ledger) }
    }

    fn files(&self) -> Result<MutexGuard<'_, Files>, LogError> {
        let files = self.disk.0.lock().unwrap();
        if files.failing { Err(LogError::Store("the disk failed".to_owned())) } else { Ok(files) }
    }
}

impl ShardLog for MemoryLog {
    fn append(&self, group: &[NewRecord]) -> Result<Position, LogError> {
        let mut files = self.files()?;
        if files.full {
            return Err(LogError::Full);
        }
        let first = files.end;
        for (position, new) in (first..).zip(group) {
            let bytes = new.record.len() as u64 + OVERHEAD_BYTES;
            let skip = SinkSet::default();
            let entry = Entry { position, accepted_at_us: new.accepted_at_us, key: new.key, bytes, skip };
            files.records.insert(position, (entry, new.record.clone()));
            files.identities.push((new.accepted_at_us, new.identity));
            files.end = position + 1;
            let mut ledger = self.ledger.lock().unwrap();
            ledger.append(bytes, skip);
            for sink in new.skip.iter() {
                ledger.settle(sink, position, bytes, skip);
                files.settled.get_mut(&self.names[sink]).unwrap().insert(position);
            }
        }
        Ok(first)
    }

    fn settle(&self, settlements: &[(SinkId, Entry)]) -> Result<(), LogError> {
        let mut files = self.files()?;
        for (sink, entry) in settlements {
            match self.ledger.lock().unwrap().settle(*sink, entry.position, entry.bytes, SinkSet::default()) {
                Settled::Before => {}
                Settled::Here => {
                    files.settled.get_mut(&self.names[*sink]).unwrap().insert(entry.position);
                }
                Settled::Everywhere => {
                    files.records.remove(&entry.position);
                }
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), LogError> {
        self.files().map(|_| ())
    }

    fn unsettled(&self, sink: SinkId, from: Position, limit: usize) -> Result<Unsettled, LogError> {
        let files = self.disk.0.lock().unwrap();
        let ledger = self.ledger.lock().unwrap();
        let entries: Vec<Entry> = files
            .records
            .range(from..)
            .filter(|(position, _)| !ledger.is_settled(sink, **position))
            .map(|(_, (entry, _))| *entry)
            .take(limit)
            .collect();
        let next = if entries.len() < limit { files.end } else { entries.last().unwrap().position + 1 };
        Ok(Unsettled { entries, next })
    }

    fn read(&self, position: Position) -> Result<Option<Bytes>, LogError> {
        Ok(self.disk.0.lock().unwrap().records.get(&position).map(|(_, record)| record.clone()))
    }

    fn identities(&self, _: i64) -> Result<Vec<(i64, u128)>, LogError> {
        Ok(self.disk.0.lock().unwrap().identities.clone())
    }

    fn end(&self) -> Position {
        self.ledger.lock().unwrap().end()
    }

    fn stats(&self) -> Result<LogStats, LogError> {
        let files = self.disk.0.lock().unwrap();
        let ledger = self.ledger.lock().unwrap();
        let oldest = ledger.oldest().and_then(|p| files.records.get(&p)).map(|(entry, _)| entry.accepted_at_us);
        Ok(LogStats {
            events: ledger.events(),
            bytes: ledger.bytes(),
            oldest_accepted_at_us: oldest,
            sinks: ledger.unsettled(),
            lost: 0,
            end: ledger.end(),
            departed: 0,
        })
    }

    fn backlog_bytes(&self) -> u64 {
        self.ledger.lock().unwrap().bytes()
    }
}
