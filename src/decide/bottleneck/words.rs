//! What limits a region, in a sentence: with its numbers, to two digits, and what would help.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::reading::{AtSink, Reading, Shard, Sink};
use super::{quickest, since};
use crate::fleet::{FleetIntent, Limit, Quickest, RegionIntent, approximate_count, names};

/// Numbers in a sentence are brought up to date when they are older.
const STALE: Duration = Duration::from_mins(5);

/// Whether a sentence of then should be said anew.
pub(super) fn is_stale(at: Timestamp, now: Timestamp) -> bool {
    since(at, now) >= STALE
}

/// The sentence. Empty when nothing limits the region.
pub(super) fn sentence(
    limit: &Limit,
    intent: &FleetIntent,
    region: &RegionIntent,
    reading: &Reading<'_>,
    quickest: &BTreeMap<String, Quickest>,
) -> String {
    let sink = |name: &str| reading.sinks.iter().find(|sink| sink.intent.name == name);
    match limit {
        Limit::Nothing => String::new(),
        Limit::Cpu => {
            let busy = percent(reading.most(|shard| shard.rates.cpu).unwrap_or(1.0));
            format!(
                "its shards use {busy} of the processors that they may use; more shards help, or more processors each"
            )
        }
        Limit::Disk => {
            let busy = percent(reading.most(|shard| Some(shard.rates.disk)).unwrap_or(1.0));
            format!("its volumes are written to for {busy} of the time; more shards help, or a quicker storage class")
        }
        Limit::Ingest => {
            let refused = rate(reading.sum(|shard| shard.rates.receive_refused));
            format!("{refused} requests/s are refused because too much is received at once; more shards help")
        }
        Limit::Skew => skew(intent, region, reading),
        Limit::Sink(name) => sink(name).map_or_else(String::new, |sink| of_sink(sink, reading, quickest)),
        Limit::ConcurrencyLimit(name) => sink(name).map_or_else(String::new, |sink| {
            let (time, most) = (duration(sink.attempt_time), sink.intent.max_concurrency);
            let (shards, taken) = (reading.shards.len(), rate(sink.delivered));
            format!(
                "sink {name} answers within {time} and is sent {most} at once by each of {shards} shards, which makes \
                 {taken} events/s; raise maxConcurrency of sink {name}"
            )
        }),
        Limit::HotKey(name) => sink(name).map_or_else(String::new, |sink| hot_key(sink, reading.at(sink))),
    }
}

fn of_sink(sink: &Sink<'_>, reading: &Reading<'_>, quickest: &BTreeMap<String, Quickest>) -> String {
    let (name, taken) = (&sink.intent.name, rate(sink.delivered));
    if reading.at(sink).is_some_and(|here| here.is_failing()) {
        return format!("sink {name} fails, and more shards do not help; see the condition SinksHealthy");
    }
    let amount = format!("sink {name} takes {taken} events/s whatever the number of shards");
    if sink.throttled > 0.0 {
        return format!("{amount}: it asks for less (429 or 503); raise what it takes");
    }
    let time = duration(sink.attempt_time);
    match quickest.get(name).map(quickest::best) {
        Some(best) if best < sink.attempt_time => {
            format!("{amount}: its answers take {time}, and {} at its best; make it quicker", duration(best))
        }
        _ => format!("{amount}: its answers take {time}; make it quicker"),
    }
}

fn hot_key(sink: &Sink<'_>, here: Option<AtSink<'_>>) -> String {
    let name = &sink.intent.name;
    let most = here.filter(|here| here.report.largest_lane_events * 2 >= here.report.window_events);
    let who = match most {
        #[allow(clippy::cast_precision_loss, reason = "a share of counts")]
        Some(AtSink { report, .. }) => format!(
            "one key has {} of the events that wait for sink {name}",
            percent(report.largest_lane_events as f64 / report.window_events.max(1) as f64)
        ),
        None => format!("few keys have most of the events that wait for sink {name}"),
    };
    let time = duration(sink.attempt_time);
    format!(
        "{who}, and those of one key are delivered one after another, each within {time}, whatever the number of shards; \
         spread them over more keys, or set ordering: None"
    )
}

fn skew(intent: &FleetIntent, region: &RegionIntent, reading: &Reading<'_>) -> String {
    let waiting: u64 = reading.shards.iter().map(Shard::waiting).sum();
    let Some(fullest) = reading.shards.iter().max_by_key(|shard| shard.waiting()) else { return String::new() };
    #[allow(clippy::cast_precision_loss, reason = "a share of counts")]
    let share = percent(fullest.waiting() as f64 / waiting.max(1) as f64);
    let pod = names::pod(&intent.name, &region.name, fullest.ordinal);
    format!("shard {pod} has {share} of the events that wait, and the others keep up; more shards do not help")
}

/// To five percent: `95 %`.
fn percent(share: f64) -> String {
    format!("{:.0} %", (share * 20.0).round() * 5.0)
}

fn rate(per_second: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative")]
    let whole = per_second.round() as u64;
    if whole == 0 && per_second > 0.0 { "less than 1".to_owned() } else { approximate_count(whole) }
}

/// To two digits: `7ms`, `120ms`, `1.5s`.
fn duration(span: Duration) -> String {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    match micros {
        0..1_000 => "1ms".to_owned(),
        1_000..1_000_000 => {
            let ms = approximate_count(micros / 1_000);
            if ms == "1k" { "1s".to_owned() } else { format!("{ms}ms") }
        }
        _ => format!("{:.1}s", span.as_secs_f64()),
    }
}
