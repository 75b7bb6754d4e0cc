//! What has arrived: once, twice, or in the wrong order. Pure.
//!
//! Memory: one bit per index of a source, in blocks of 8 KiB that exist only where something has arrived, and one
//! number per source and key. Nothing per event otherwise.
//!
//! An event's index is its `id`, if that is a decimal number; its place in the order of its key is its `sequence`,
//! likewise. `dispatcher load` sends both. Other events are counted, and that is all.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::arrival::Arrival;
use super::latency::{Latency, LatencyMs, seconds};
use super::signature::Verdict;

const WORDS: usize = 1024;
const BLOCK: u64 = 64 * WORDS as u64;

/// Most sources and keys that are followed. What comes after is counted in the totals only.
const MAX_FOLLOWED: usize = 1_000_000;

/// Most ranges of missing events that are told.
const MAX_MISSING: usize = 100;

/// Indices from here on are not followed, so that a stray number cannot take all memory by itself.
const MAX_INDEX: u64 = 1 << 32;

/// The answer to `GET /summary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Summary {
    /// Events taken, duplicates included.
    pub received: u64,
    /// Events taken for the first time.
    pub unique: u64,
    /// Events taken before.
    pub duplicates: u64,
    /// First arrivals that came after a later event of the same source and key.
    pub out_of_order: u64,
    /// Events failed or left hanging because the sink was told to. They do not count as received.
    pub failed_on_purpose: u64,
    /// Requests that were not events.
    pub invalid: u64,
    /// Events whose id is not a decimal number: they count as received and cannot be told apart.
    pub untracked: u64,
    /// From the first event taken to the last.
    pub seconds: f64,
    /// Events taken, by that.
    pub per_second: f64,
    /// From when events were meant to be sent, as they say in `intendedtime`, to their first arrival. Nothing if no
    /// event has said so.
    pub latency_ms: Option<LatencyMs>,
    /// How requests were signed, if that is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Signatures>,
    /// The counts of each source.
    pub sources: BTreeMap<String, SourceSummary>,
}

/// How requests were signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signatures {
    /// With a secret that is ours.
    pub valid: u64,
    /// With another, or too long ago, or something else was signed. Answered 401.
    pub invalid: u64,
    /// Not at all. Answered 401.
    pub missing: u64,
}

/// The answer to `GET /verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Everything arrived, once and in order.
    pub verified: bool,
    /// Everything arrived.
    pub complete: bool,
    /// Events that were to arrive: those with ids from 0 to this, exclusive.
    pub expected: u64,
    /// Events of these that have not arrived.
    pub lost: u64,
    /// Which, as ranges that include both ends: the first hundred ranges.
    pub missing: Vec<[u64; 2]>,
    /// Events taken more than once.
    pub duplicates: u64,
    /// First arrivals that came after a later event of the same key.
    pub out_of_order: u64,
}

/// What one source has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceSummary {
    /// Events taken, duplicates included.
    pub received: u64,
    /// Events taken for the first time.
    pub unique: u64,
    /// Events taken before.
    pub duplicates: u64,
    /// First arrivals that came after a later event of the same key.
    pub out_of_order: u64,
}

#[derive(Debug, Default)]
struct Source {
    counts: SourceSummary,
    /// Bits of the indices seen, by block.
    seen: BTreeMap<u64, Box<[u64; WORDS]>>,
    /// The highest sequence seen of each key.
    highest: HashMap<String, u64>,
}

/// Everything counted since the start or the last reset.
#[derive(Debug, Default)]
pub struct Tally {
    totals: Summary,
    sources: HashMap<String, Source>,
    followed: usize,
    first_us: Option<i64>,
    last_us: i64,
    latency: Latency,
}

impl Tally {
    /// An event was taken, at this time in microseconds since 1970.
    pub fn event(&mut self, event: &Arrival<'_>, now_us: i64) {
        self.totals.received += 1;
        self.first_us.get_or_insert(now_us);
        self.last_us = self.last_us.max(now_us);
        let Some(index) = event.id.filter(|&index| index < MAX_INDEX) else {
            self.totals.untracked += 1;
            return;
        };
        let name = event.source.as_ref();
        if !self.sources.contains_key(name) {
            if self.followed >= MAX_FOLLOWED {
                self.totals.untracked += 1;
                return;
            }
            self.followed += 1;
            self.sources.insert(name.to_owned(), Source::default());
        }
        let Some(source) = self.sources.get_mut(name) else { return };
        source.counts.received += 1;
        let block = source.seen.entry(index / BLOCK).or_insert_with(|| Box::new([0; WORDS]));
        let word = usize::try_from(index % BLOCK / 64).unwrap_or(0);
        let bit = 1_u64 << (index % 64);
        if block[word] & bit != 0 {
            source.counts.duplicates += 1;
            self.totals.duplicates += 1;
            return;
        }
        block[word] |= bit;
        source.counts.unique += 1;
        self.totals.unique += 1;
        if let Some(intended_us) = event.intended_us {
            self.latency.record(now_us.saturating_sub(intended_us));
        }
        let (Some(key), Some(sequence)) = (&event.key, event.sequence) else { return };
        match source.highest.get_mut(key.as_ref()) {
            Some(highest) if sequence < *highest => {
                source.counts.out_of_order += 1;
                self.totals.out_of_order += 1;
            }
            Some(highest) => *highest = sequence,
            None if self.followed < MAX_FOLLOWED => {
                self.followed += 1;
                source.highest.insert(key.clone().into_owned(), sequence);
            }
            None => {}
        }
    }

    /// How a request was signed.
    pub fn signature(&mut self, verdict: Verdict) {
        let signatures = self.totals.signatures.get_or_insert_default();
        match verdict {
            Verdict::Valid => signatures.valid += 1,
            Verdict::Invalid => signatures.invalid += 1,
            Verdict::Missing => signatures.missing += 1,
        }
    }

    /// An event was failed because the sink was told to.
    pub fn failed_on_purpose(&mut self) {
        self.totals.failed_on_purpose += 1;
    }

    /// A request was not an event.
    pub fn invalid(&mut self) {
        self.totals.invalid += 1;
    }

    /// The counts.
    pub fn summary(&mut self) -> Summary {
        let sources = self.sources.iter().map(|(name, source)| (name.clone(), source.counts)).collect();
        let seconds = seconds(self.last_us.saturating_sub(self.first_us.unwrap_or(self.last_us)));
        let received = u32::try_from(self.totals.received).map_or(f64::from(u32::MAX), f64::from);
        Summary {
            sources,
            seconds,
            per_second: if seconds > 0.0 { received / seconds } else { 0.0 },
            latency_ms: self.latency.summary(),
            ..self.totals.clone()
        }
    }

    /// How long first arrivals took from when they were meant to be sent: `[microseconds, events]`, in growing order.
    pub fn latencies(&self) -> Vec<[u64; 2]> {
        self.latency.counts()
    }

    /// Whether the events 0 to `count`, exclusive, of `source` have all arrived, once and in order.
    pub fn verify(&mut self, source: &str, count: u64) -> Verification {
        let counts = self.sources.get(source).map(|source| source.counts).unwrap_or_default();
        let mut missing = Vec::new();
        let (mut next, mut lost) = (0, 0);
        for [first, last] in self.received(source).into_iter().chain([[count, u64::MAX]]) {
            let end = first.min(count);
            if next < end {
                lost += end - next;
                if missing.len() < MAX_MISSING {
                    missing.push([next, end - 1]);
                }
            }
            next = last.saturating_add(1);
        }
        let SourceSummary { duplicates, out_of_order, .. } = counts;
        let complete = lost == 0;
        let verified = complete && duplicates == 0 && out_of_order == 0;
        Verification { verified, complete, expected: count, lost, missing, duplicates, out_of_order }
    }

    /// The indices of `source` that have arrived, as ranges that include both ends.
    pub fn received(&mut self, source: &str) -> Vec<[u64; 2]> {
        let mut ranges: Vec<[u64; 2]> = Vec::new();
        let Some(source) = self.sources.get(source) else { return ranges };
        for (block, words) in &source.seen {
            for (at, &word) in (0_u64..).zip(words.iter()) {
                let mut rest = word;
                while rest != 0 {
                    let index = block * BLOCK + at * 64 + u64::from(rest.trailing_zeros());
                    rest &= rest - 1;
                    match ranges.last_mut() {
                        Some([_, last]) if *last + 1 == index => *last = index,
                        _ => ranges.push([index, index]),
                    }
                }
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::{Tally, Verification};
    use crate::sink::arrival::Arrival;

    fn event(id: &str, key: &'static str, sequence: u64) -> Arrival<'static> {
        Arrival {
            id: id.parse().ok(),
            source: "/s".into(),
            event_type: "t".into(),
            key: Some(key.into()),
            sequence: Some(sequence),
            intended_us: Some(1_000_000),
        }
    }

    #[test]
    fn a_late_event_is_out_of_order_and_a_repeated_one_is_a_duplicate_only() {
        let mut tally = Tally::default();
        for (id, key, sequence) in
            [("0", "a", 0), ("1", "b", 0), ("4", "a", 2), ("2", "a", 1), ("0", "a", 0), ("2", "a", 1), ("x", "a", 9)]
        {
            tally.event(&event(id, key, sequence), 1_500_000);
        }
        let summary = tally.summary();
        assert_eq!((summary.received, summary.unique, summary.duplicates), (7, 4, 2));
        assert_eq!((summary.out_of_order, summary.untracked), (1, 1));
        assert_eq!(summary.sources["/s"].received, 6);
        assert_eq!(tally.received("/s"), [[0, 2], [4, 4]]);
        assert!(tally.received("/other").is_empty());
    }

    #[test]
    fn ranges_join_across_words_and_blocks() {
        let mut tally = Tally::default();
        for index in 65_400..65_700 {
            tally.event(&event(&index.to_string(), "k", index), 0);
        }
        tally.event(&event("4294967295", "k", 4_294_967_295), 0);
        tally.event(&event("4294967296", "k", 4_294_967_296), 0);
        assert_eq!(tally.received("/s"), [[65_400, 65_699], [4_294_967_295, 4_294_967_295]]);
        assert_eq!(tally.summary().untracked, 1);
    }

    #[test]
    fn what_is_lost_twice_or_late_is_not_verified() {
        for (ids, count, expected) in [
            (vec!["0", "1", "2"], 3, (true, true, 0, vec![])),
            (vec!["0", "1", "2"], 2, (true, true, 0, vec![])),
            (vec!["1", "4"], 6, (false, false, 4, vec![[0, 0], [2, 3], [5, 5]])),
            (vec!["0", "0"], 1, (false, true, 0, vec![])),
            (vec![], 2, (false, false, 2, vec![[0, 1]])),
            (vec!["1", "0"], 2, (false, true, 0, vec![])),
        ] {
            let mut tally = Tally::default();
            for id in &ids {
                tally.event(&event(id, "k", id.parse().unwrap()), 0);
            }
            let Verification { verified, complete, lost, missing, .. } = tally.verify("/s", count);
            assert_eq!((verified, complete, lost, missing), expected, "{ids:?} of {count}");
        }
    }

    #[test]
    fn rate_and_latency_count_from_what_events_say() {
        let mut tally = Tally::default();
        for index in 0..11 {
            let id = index.to_string();
            tally.event(&event(&id, "k", index), 1_005_000 + i64::try_from(index).unwrap() * 100_000);
        }
        let summary = tally.summary();
        assert!((summary.seconds - 1.0).abs() < 1e-9 && (summary.per_second - 11.0).abs() < 1e-9);
        let latency = summary.latency_ms.unwrap();
        assert_eq!((latency.samples, latency.p50.round(), latency.max.round()), (11, 505.0, 1005.0));
        assert!(Tally::default().summary().latency_ms.is_none());
        let latencies = tally.latencies();
        assert_eq!(latencies.iter().map(|[_, events]| events).sum::<u64>(), 11);
        assert!(latencies.first().is_some_and(|[us, _]| us.abs_diff(5_000) <= 5), "{latencies:?}");
        assert!(Tally::default().latencies().is_empty());
    }
}
