//! What has arrived: once, twice, or in the wrong order. Pure.
//!
//! Memory: one bit per index of a source, in blocks of 8 KiB that exist only where something has arrived, and one
//! number per source and key. Nothing per event otherwise.
//!
//! An event's index is its `id`, if that is a decimal number; its place in the order of its key is its `sequence`,
//! likewise. `dispatcher load` sends both. Other events are counted, and that is all.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::event::Event;

const WORDS: usize = 1024;
const BLOCK: u64 = 64 * WORDS as u64;

/// Most sources and keys that are followed. What comes after is counted in the totals only.
const MAX_FOLLOWED: usize = 1_000_000;

/// Indices from here on are not followed, so that a stray number cannot take all memory by itself.
const MAX_INDEX: u64 = 1 << 32;

/// The answer to `GET /summary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// The same for each source.
    pub sources: BTreeMap<String, SourceSummary>,
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
}

impl Tally {
    /// An event was taken.
    pub fn event(&mut self, event: &Event) {
        self.totals.received += 1;
        let number = |name| event.get(name).and_then(|value| value.parse::<u64>().ok());
        let Some(index) = number("id").filter(|&index| index < MAX_INDEX) else {
            self.totals.untracked += 1;
            return;
        };
        let name = event.get("source").unwrap_or_default();
        if !self.sources.contains_key(name) {
            if self.followed >= MAX_FOLLOWED {
                self.totals.untracked += 1;
                return;
            }
            self.followed += 1;
        }
        let source = self.sources.entry(name.to_owned()).or_default();
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
        let (Some(key), Some(sequence)) = (event.get("partitionkey"), number("sequence")) else { return };
        match source.highest.get_mut(key) {
            Some(highest) if sequence < *highest => {
                source.counts.out_of_order += 1;
                self.totals.out_of_order += 1;
            }
            Some(highest) => *highest = sequence,
            None if self.followed < MAX_FOLLOWED => {
                self.followed += 1;
                source.highest.insert(key.to_owned(), sequence);
            }
            None => {}
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
        Summary { sources, ..self.totals.clone() }
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
    use super::Tally;
    use crate::event::Event;

    fn event(id: &str, key: &str, sequence: u64) -> Event {
        let sequence = sequence.to_string();
        Event::unchecked(&[("id", id), ("source", "/s"), ("partitionkey", key), ("sequence", &sequence)], b"").unwrap()
    }

    #[test]
    fn a_late_event_is_out_of_order_and_a_repeated_one_is_a_duplicate_only() {
        let mut tally = Tally::default();
        for (id, key, sequence) in
            [("0", "a", 0), ("1", "b", 0), ("4", "a", 2), ("2", "a", 1), ("0", "a", 0), ("2", "a", 1), ("x", "a", 9)]
        {
            tally.event(&event(id, key, sequence));
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
            tally.event(&event(&index.to_string(), "k", index));
        }
        tally.event(&event("4294967295", "k", 4_294_967_295));
        tally.event(&event("4294967296", "k", 4_294_967_296));
        assert_eq!(tally.received("/s"), [[65_400, 65_699], [4_294_967_295, 4_294_967_295]]);
        assert_eq!(tally.summary().untracked, 1);
    }
}
