//! A load in a file: one JSON object a line, as `signalbox run --record` writes them, or written by hand. Pure.
//!
//! `{"second": 0, "arrivalPerSecond": 250}` is enough; a rate stands until the next line. What was recorded has `time`
//! instead of `second`, and says of which fleet and region it is. Fields that are not known are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::load::Load;

/// A week: more would not fit into anybody's screen or memory.
const LONGEST: u64 = 7 * 86_400;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Seconds since the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<f64>,
    /// When, instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// `namespace/name` of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
    /// The region; without it, the rate is the whole fleet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Events that arrive, per second.
    pub arrival_per_second: f64,
}

/// Why a file is no load.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A line is not one.
    #[error("line {line}: {why}; write a line such as {{\"second\": 0, \"arrivalPerSecond\": 250}}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// Why.
        why: String,
    },
    /// There is nothing in it for this fleet.
    #[error("nothing in it is of fleet {wanted}; it has {found}")]
    OtherFleets {
        /// The fleet that was looked for.
        wanted: String,
        /// Those that are there.
        found: String,
    },
    /// There is nothing in it.
    #[error("there is no line in it")]
    Empty,
}

/// Reads a load for a fleet, of `namespace/name`, and its regions.
pub(super) fn read(text: &str, fleet: &str, regions: &BTreeSet<&str>) -> Result<Load, TraceError> {
    let (mut points, mut others) = (BTreeMap::<Option<String>, Vec<(f64, f64)>>::new(), BTreeSet::new());
    for (at, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let refuse = |why: String| TraceError::Line { line: at + 1, why };
        let line: Line = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
        if let Some(other) = line.fleet.as_ref().filter(|other| *other != fleet) {
            others.insert(other.clone());
            continue;
        }
        let rate = line.arrival_per_second;
        if !(0.0..=1e9).contains(&rate) {
            return Err(refuse(format!("arrivalPerSecond is {rate}, and must be from 0 to 1000000000")));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let second = match (line.second, line.time) {
            (Some(second), None) => second,
            (None, Some(time)) => time.as_second() as f64,
            _ => return Err(refuse("it has to have either second or time".to_owned())),
        };
        if !(0.0..=1e11).contains(&second) {
            return Err(refuse(format!("second is {second}, and must not be negative")));
        }
        if let Some(region) = line.region.as_ref().filter(|region| !regions.contains(region.as_str())) {
            return Err(refuse(format!("the spec has no region {region}")));
        }
        points.entry(line.region).or_default().push((second, rate));
    }
    let times = || points.values().flatten().map(|(second, _)| *second);
    let Some(first) = times().min_by(f64::total_cmp) else {
        let found = others.into_iter().collect::<Vec<_>>().join(", ");
        return Err(if found.is_empty() {
            TraceError::Empty
        } else {
            TraceError::OtherFleets { wanted: fleet.to_owned(), found }
        });
    };
    let first = if first < 1e8 { 0.0 } else { first };
    let length = times().map(|second| whole(second - first)).max().unwrap_or(0).min(LONGEST) + 1;
    let mut load = Load::default();
    for (region, mut points) in points {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rates = spread(&points, first, length);
        match region {
            Some(region) => drop(load.regions.insert(region, rates)),
            None => load.fleet = rates,
        }
    }
    Ok(load)
}

/// A rate for each second: that of the last point.
fn spread(points: &[(f64, f64)], first: f64, length: u64) -> Vec<f64> {
    let (mut points, mut rate) = (points.iter().peekable(), 0.0);
    let rates = (0..length).map(|second| {
        while let Some((_, next)) = points.next_if(|(at, _)| whole(at - first) <= second) {
            rate = *next;
        }
        rate
    });
    rates.collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole(seconds: f64) -> u64 {
    seconds as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Load, String> {
        read(text, "shop/orders", &BTreeSet::from(["eu-west"])).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rate_stands_until_the_next_line() {
        let text = "{\"second\": 0, \"arrivalPerSecond\": 5}\n\n{\"second\": 3, \"arrivalPerSecond\": 7}\n";
        assert_eq!(load(text).unwrap().fleet, [5.0, 5.0, 5.0, 7.0]);
    }

    #[test]
    fn what_was_recorded_begins_with_its_first_line_and_leaves_other_fleets_out() {
        let of = |time, fleet, rate| {
            let region = Some("eu-west".to_owned());
            let time = Some(format!("2026-03-01T12:00:0{time}Z").parse().unwrap());
            let line = Line { time, fleet: Some(fleet), region, arrival_per_second: rate, second: None };
            serde_json::to_string(&line).unwrap()
        };
        let ours = || "shop/orders".to_owned();
        let text = [of(1, ours(), 5.0), of(2, "shop/other".to_owned(), 9.0), of(3, ours(), 6.0)].join("\n");
        assert_eq!(load(&text).unwrap().regions["eu-west"], [5.0, 5.0, 6.0]);
        let error = load(&of(2, "shop/other".to_owned(), 9.0)).unwrap_err();
        assert_eq!(error, "nothing in it is of fleet shop/orders; it has shop/other");
    }

    #[test]
    fn a_line_that_is_none_is_named_with_what_to_write() {
        for (text, why) in [
            ("", "there is no line in it"),
            ("{\"second\": 0}", "line 1: missing field `arrivalPerSecond`"),
            ("{\"second\": 0, \"arrivalPerSecond\": -1}", "line 1: arrivalPerSecond is -1, and must be from 0"),
            ("{\"second\": -3, \"arrivalPerSecond\": 1}", "line 1: second is -3"),
            ("{\"arrivalPerSecond\": 1}", "line 1: it has to have either second or time; write a line such as"),
            ("{\"second\": 0, \"region\": \"mars\", \"arrivalPerSecond\": 1}", "line 1: the spec has no region mars"),
        ] {
            let error = load(text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
