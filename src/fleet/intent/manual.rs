//! What people ask for by annotation, parsed. What cannot be read is a sentence, never an error: a slip in an annotation must
//! not stop a fleet.
//!
//! | annotation | value |
//! | --- | --- |
//! | `signalbox.dev/hold-<region>` | `Serving`, `Tripped` or `Probing 25`, then `until <time>` |
//! | `signalbox.dev/drain-<region>`, `signalbox.dev/drill-<region>`, `signalbox.dev/pause-scaling` | `until <time>` |

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use jiff::Timestamp;

use super::RegionIntent;
use crate::api::GROUP;
use crate::fleet::manual::{HeldPhase, HoldPurpose, ManualIntent, PAUSE_SCALING, RegionHold};

/// Problems that are told; further ones are left out.
const PROBLEMS: usize = 8;
/// Characters of what somebody wrote that are repeated.
const QUOTED: usize = 40;
const EXAMPLE: &str = "2026-12-01T10:00:00Z";

/// Reads all annotations that are ours. Of several for one region, the one that ends last is followed.
pub(super) fn parse(annotations: &BTreeMap<String, String>, regions: &[RegionIntent]) -> ManualIntent {
    let mut manual = ManualIntent::default();
    for (key, value) in annotations {
        let Some(verb) = key.strip_prefix(GROUP).and_then(|key| key.strip_prefix('/')) else { continue };
        match order(verb, value.trim(), regions) {
            Ok(Order::Pause(until)) => manual.scaling_paused_until = Some(until),
            Ok(Order::Region(region, hold)) => match manual.holds.entry(region.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(hold);
                }
                Entry::Occupied(mut last) => {
                    let earlier = if last.get().until < hold.until { last.insert(hold) } else { hold };
                    manual.further_holds.push((region, earlier));
                }
            },
            Err(problem) if manual.problems.len() < PROBLEMS => {
                manual.problems.push(format!("annotation {GROUP}/{}: {problem}", shortened(verb)));
            }
            Err(_) => {}
        }
    }
    manual
}

enum Order {
    Pause(Timestamp),
    Region(String, RegionHold),
}

fn order(verb: &str, value: &str, regions: &[RegionIntent]) -> Result<Order, String> {
    if verb == PAUSE_SCALING {
        return Ok(Order::Pause(until(value, value, "")?));
    }
    let Some((purpose, region)) = HoldPurpose::of_order(verb) else {
        return Err("Signalbox knows no such order; write hold-<region>, drain-<region>, drill-<region> or \
                    pause-scaling"
            .to_owned());
    };
    if !regions.iter().any(|known| known.name == region) {
        let known: Vec<_> = regions.iter().map(|region| region.name.as_str()).collect();
        return Err(format!("the fleet has no region {}; it has {}", shortened(region), known.join(", ")));
    }
    let (phase, until) = match purpose {
        HoldPurpose::Hold => {
            let (phase, rest) = phase(value)?;
            (phase, until(rest, value, &format!("{} ", written(phase)))?)
        }
        HoldPurpose::Drain | HoldPurpose::Drill => (HeldPhase::Tripped, until(value, value, "")?),
    };
    Ok(Order::Region(region.to_owned(), RegionHold { phase, until, purpose }))
}

/// The phase at the beginning, and what comes after it.
fn phase(value: &str) -> Result<(HeldPhase, &str), String> {
    let (word, rest) = value.split_once(' ').unwrap_or((value, ""));
    let rest = rest.trim_start();
    match word {
        "Serving" => Ok((HeldPhase::Serving, rest)),
        "Tripped" => Ok((HeldPhase::Tripped, rest)),
        "Probing" => {
            let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let percent = number.parse().ok().filter(|percent| (1..=100).contains(percent));
            let percent = percent.ok_or_else(|| {
                format!("Probing needs a percentage from 1 to 100; write \"Probing 25 until {EXAMPLE}\"")
            })?;
            Ok((HeldPhase::Probing(percent), rest.trim_start()))
        }
        _ => Err(format!(
            "{:?} does not begin with Serving, Tripped or Probing 25; write for example \"Tripped until {EXAMPLE}\"",
            shortened(value)
        )),
    }
}

/// A phase as an annotation has it.
fn written(phase: HeldPhase) -> String {
    match phase {
        HeldPhase::Serving => "Serving".to_owned(),
        HeldPhase::Tripped => "Tripped".to_owned(),
        HeldPhase::Probing(percent) => format!("Probing {percent}"),
    }
}

/// The end, which is the rest of a value. `before` is what is to stand before it.
fn until(rest: &str, value: &str, before: &str) -> Result<Timestamp, String> {
    let Some(time) = rest.strip_prefix("until ") else {
        return Err(format!(
            "{:?} does not say until when, and every order has an end; write \"{before}until {EXAMPLE}\"",
            shortened(value)
        ));
    };
    time.trim().parse().map_err(|_| {
        format!("{:?} is no time with a time zone; write \"{before}until {EXAMPLE}\"", shortened(time.trim()))
    })
}

fn shortened(text: &str) -> String {
    let more = if text.chars().nth(QUOTED).is_some() { "…" } else { "" };
    format!("{}{more}", text.chars().take(QUOTED).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn read(annotations: &[(&str, &str)]) -> ManualIntent {
        let annotations =
            annotations.iter().map(|(key, value)| (format!("signalbox.dev/{key}"), (*value).to_owned())).collect();
        parse(&annotations, &fixtures::intent().regions)
    }

    fn hold(phase: HeldPhase, until: &str, purpose: HoldPurpose) -> RegionHold {
        RegionHold { phase, until: until.parse().unwrap(), purpose }
    }

    #[test]
    fn every_order_is_read_with_its_end() {
        let manual = read(&[
            ("hold-eu-west", "Probing 25 until 2026-12-01T10:00:00Z"),
            ("drain-us-east", "until 2026-12-01T12:00:00+02:00"),
            ("pause-scaling", " until 2026-12-01T11:00:00Z "),
        ]);
        let holds = [
            ("eu-west".to_owned(), hold(HeldPhase::Probing(25), "2026-12-01T10:00:00Z", HoldPurpose::Hold)),
            ("us-east".to_owned(), hold(HeldPhase::Tripped, "2026-12-01T10:00:00Z", HoldPurpose::Drain)),
        ];
        assert_eq!(manual.holds, holds.into());
        assert_eq!(manual.scaling_paused_until, Some("2026-12-01T11:00:00Z".parse().unwrap()));
        assert_eq!(manual.problems, [""; 0]);
        for (word, phase) in [("Serving", HeldPhase::Serving), ("Tripped", HeldPhase::Tripped)] {
            let manual = read(&[("hold-eu-west", &format!("{word} until 2026-12-01T10:00:00Z"))]);
            assert_eq!(manual.holds["eu-west"], hold(phase, "2026-12-01T10:00:00Z", HoldPurpose::Hold));
        }
    }

    #[test]
    fn of_several_orders_for_one_region_the_one_that_ends_last_is_followed() {
        let manual = read(&[
            ("drain-eu-west", "until 2026-12-01T10:00:00Z"),
            ("drill-eu-west", "until 2026-12-01T11:00:00Z"),
            ("hold-eu-west", "Serving until 2026-12-01T09:00:00Z"),
        ]);
        assert_eq!(manual.holds["eu-west"].purpose, HoldPurpose::Drill);
    }

    #[test]
    fn an_order_that_ends_too_late_stands_in_no_other_ones_way() {
        let manual = read(&[
            ("drain-eu-west", "until 2036-12-01T10:00:00Z"),
            ("drill-eu-west", "until 2026-12-01T09:00:00Z"),
            ("hold-eu-west", "Probing 25 until 2026-12-01T10:00:00Z"),
        ]);
        let at = |time: &str| time.parse().unwrap();
        let followed = |time: &str| manual.hold("eu-west", at(time)).map(|hold| hold.purpose);
        assert_eq!(followed("2026-12-01T08:00:00Z"), Some(HoldPurpose::Hold));
        assert_eq!(followed("2026-12-01T10:00:00Z"), None);
        assert_eq!(followed("2036-12-01T09:00:00Z"), Some(HoldPurpose::Drain));
        assert_eq!(manual.next_end(at("2026-12-01T08:00:00Z")), Some(at("2026-12-01T09:00:00Z")));
        let problems = manual.problems(at("2026-12-01T08:00:00Z"));
        assert!(problems.len() == 1 && problems[0].contains("drain-eu-west is not followed"), "{problems:?}");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_to_write() {
        let regions = "eu-west, us-east";
        for (key, value, problem) in [
            ("hold-eu-wset", "Tripped until 2026-12-01T10:00:00Z", format!("the fleet has no region eu-wset; it has {regions}")),
            ("hold-eu-west", "Tripped", "\"Tripped\" does not say until when, and every order has an end; write \"Tripped until 2026-12-01T10:00:00Z\"".to_owned()),
            ("drain-eu-west", "true", "\"true\" does not say until when, and every order has an end; write \"until 2026-12-01T10:00:00Z\"".to_owned()),
            ("drill-eu-west", "until tomorrow", "\"tomorrow\" is no time with a time zone; write \"until 2026-12-01T10:00:00Z\"".to_owned()),
            ("pause-scaling", "until 2026-12-01T10:00:00", "\"2026-12-01T10:00:00\" is no time with a time zone; write \"until 2026-12-01T10:00:00Z\"".to_owned()),
            ("hold-eu-west", "Open until 2026-12-01T10:00:00Z", "\"Open until 2026-12-01T10:00:00Z\" does not begin with Serving, Tripped or Probing 25; write for example \"Tripped until 2026-12-01T10:00:00Z\"".to_owned()),
            ("hold-eu-west", "Probing until 2026-12-01T10:00:00Z", "Probing needs a percentage from 1 to 100; write \"Probing 25 until 2026-12-01T10:00:00Z\"".to_owned()),
            ("hold-eu-west", "Probing 101 until 2026-12-01T10:00:00Z", "Probing needs a percentage from 1 to 100; write \"Probing 25 until 2026-12-01T10:00:00Z\"".to_owned()),
            ("trip-eu-west", "until 2026-12-01T10:00:00Z", "Signalbox knows no such order; write hold-<region>, drain-<region>, drill-<region> or pause-scaling".to_owned()),
        ] {
            let manual = read(&[(key, value)]);
            assert_eq!(manual.problems, [format!("annotation signalbox.dev/{key}: {problem}")]);
            assert!(manual.holds.is_empty() && manual.scaling_paused_until.is_none());
        }
    }

    #[test]
    fn annotations_of_others_are_none_of_our_business() {
        let annotations = [("example.com/hold-eu-west", "x"), ("hold-eu-west", "x"), ("signalbox.device/hold-x", "x")];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(parse(&annotations, &fixtures::intent().regions), ManualIntent::default());
    }

    #[test]
    fn problems_are_few_and_short_whatever_is_written() {
        let annotations = (0..100).map(|n| (format!("signalbox.dev/{n}"), String::new())).collect();
        assert_eq!(parse(&annotations, &[]).problems.len(), PROBLEMS);
        let manual = read(&[("drain-eu-west", &"ä".repeat(100_000))]);
        assert!(manual.problems[0].len() < 300, "{}", manual.problems[0]);
    }
}
