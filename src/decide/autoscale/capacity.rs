//! What one shard can settle, learned from shards that had more to do than they managed. Pure.
//!
//! While it has been seen fewer than four times it is the mean of what was seen; after that it follows half of the way
//! when it is wrong by more than a tenth, so that noise moves nothing. One sample counts once: the next must be of a
//! time after it. Before any shard was saturated, it is inferred from how busy processors are, and the first sample
//! replaces that.
//!
//! What a shard gets done within the limit of attempts at a sink may be what the sink takes, and not what the shard can
//! do. It counts only while no growth is being judged, which shows which it is, and never lowers what was seen often.
//!
//! **Invariant:** while something outside the shards is the limit, nothing is learned but that a shard can do more: what
//! many shards get from a sink that takes no more says nothing about a shard.

use std::time::Duration;

use jiff::Timestamp;

use super::demand::{Demand, KeptBy, Observed};
use super::numbers::{float, whole};
use crate::fleet::{Capacity, round_to_two_digits, whole_second};

/// Below this share of its processors, a shard's own housekeeping is too much of it to infer from.
const CPU_WORTH_INFERRING: f64 = 0.2;
/// What is wrong by less is right.
const TOLERANCE: f64 = 0.1;
/// Samples whose mean is taken.
const AVERAGED: u32 = 4;
/// How often it is written down that a capacity was seen again.
const REMEMBER_EVERY: Duration = Duration::from_mins(10);

/// What is known after this observation.
pub(super) fn learned(before: Option<Capacity>, demand: &Demand, elsewhere: bool, judging: bool) -> Option<Capacity> {
    let counts = |shard: &&Observed| match shard.saturated {
        Some(KeptBy::Itself) => true,
        Some(KeptBy::Attempts) => {
            let lower =
                before.is_some_and(|known| known.samples >= AVERAGED && shard.settled < float(known.per_second));
            !judging && !lower
        }
        None => false,
    };
    let saturated: Vec<Observed> = demand.shards.iter().filter(counts).copied().collect();
    if !elsewhere && let Some((rate, at)) = median(&saturated) {
        return Some(sampled(before, rate, at, demand.over));
    }
    if let Some(known) = before.filter(|known| known.samples > 0) {
        // A shard that does more than was thought possible shows that it is.
        let best = demand.shards.iter().max_by(|a, b| a.settled.total_cmp(&b.settled));
        return match best {
            Some(best) if best.settled > float(known.per_second) * (1.0 + TOLERANCE) => {
                Some(sampled(before, best.settled, best.taken_at, demand.over))
            }
            _ => before,
        };
    }
    if elsewhere { before } else { inferred(before, demand) }
}

fn sampled(before: Option<Capacity>, rate: f64, at: Timestamp, over: Duration) -> Capacity {
    let Some(known) = before.filter(|known| known.samples > 0) else {
        return Capacity { per_second: two_digits(rate), samples: 1, seen_at: whole_second(at) };
    };
    let since = at.duration_since(known.seen_at);
    // Whole seconds are what the status keeps: one is lost by it.
    if since.is_negative() || since.unsigned_abs() < over + Duration::from_secs(1) {
        return known;
    }
    let old = float(known.per_second);
    let samples = (known.samples + 1).min(Capacity::MOST_SAMPLES);
    let moved = if known.samples < AVERAGED {
        old + (rate - old) / f64::from(samples)
    } else if (rate - old).abs() > old * TOLERANCE {
        f64::midpoint(old, rate)
    } else {
        old
    };
    let next = Capacity { per_second: two_digits(moved), samples, seen_at: whole_second(at) };
    let news = next.per_second != known.per_second || samples != known.samples;
    if news || since.unsigned_abs() >= REMEMBER_EVERY { next } else { known }
}

fn inferred(before: Option<Capacity>, demand: &Demand) -> Option<Capacity> {
    let guesses = demand.shards.iter().filter_map(|shard| {
        let cpu = shard.cpu.filter(|cpu| *cpu >= CPU_WORTH_INFERRING && shard.settled > 0.0)?;
        Some(Observed { settled: shard.settled / cpu.min(1.0), ..*shard })
    });
    let guesses: Vec<_> = guesses.collect();
    let Some((rate, at)) = median(&guesses) else { return before };
    let guess = Capacity { per_second: two_digits(rate), samples: 0, seen_at: whole_second(at) };
    match before {
        // A guess is left alone unless it is off by a quarter: it is used with care anyway.
        Some(known) if (float(known.per_second) - rate).abs() <= 0.25 * rate => Some(known),
        _ => Some(guess),
    }
}

/// The middle rate, the lower of two, with the time of the latest observation.
fn median(shards: &[Observed]) -> Option<(f64, Timestamp)> {
    let mut rates: Vec<f64> = shards.iter().map(|shard| shard.settled).collect();
    rates.sort_by(f64::total_cmp);
    let at = shards.iter().map(|shard| shard.taken_at).max()?;
    Some((*rates.get((rates.len() - 1) / 2)?, at))
}

/// Two digits, at least 1.
fn two_digits(rate: f64) -> u64 {
    round_to_two_digits(whole(rate)).max(1)
}
