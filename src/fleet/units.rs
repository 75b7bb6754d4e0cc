//! Durations and quantities as Kubernetes writes them, numbers as people read them, and digests.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The first eight bytes of the SHA-256 of a value's JSON: what tells one value from another across processes.
pub fn digest(value: &impl Serialize) -> u64 {
    // Our values have string keys and no floats: they always serialise.
    let json = serde_json::to_vec(value).unwrap_or_default();
    Sha256::digest(json).iter().take(8).fold(0, |digits, byte| digits << 8 | u64::from(*byte))
}

/// Parses a Go-style duration of whole numbers, such as `1m30s`. `None` if it is not one, or overflows.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: u64 = rest.get(..digits)?.parse().ok()?;
        let (unit_ms, length) = match rest.get(digits..)? {
            unit if unit.starts_with("ms") => (1, 2),
            unit if unit.starts_with('s') => (1_000, 1),
            unit if unit.starts_with('m') => (60_000, 1),
            unit if unit.starts_with('h') => (3_600_000, 1),
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(count.checked_mul(unit_ms)?))?;
        rest = rest.get(digits + length..)?;
    }
    Some(total)
}

/// Parses a Kubernetes quantity into whole bytes, rounding up. `None` if it is not one, is negative, or overflows.
///
/// The forms are those of `resource.Quantity`: a decimal number, then nothing, a decimal or binary suffix, or an
/// exponent.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let (multiplier, divisor) = match suffix {
        "" => (1, divisor),
        "m" => (1, divisor * 1000),
        "k" => (10u128.pow(3), divisor),
        "M" => (10u128.pow(6), divisor),
        "G" => (10u128.pow(9), divisor),
        "T" => (10u128.pow(12), divisor),
        "P" => (10u128.pow(15), divisor),
        "Ki" => (1 << 10, divisor),
        "Mi" => (1 << 20, divisor),
        "Gi" => (1 << 30, divisor),
        "Ti" => (1 << 40, divisor),
        "Pi" => (1 << 50, divisor),
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.trim_start_matches('+').parse().ok()?;
            (10u128.checked_pow(power)?, divisor)
        }
    };
    u64::try_from(digits.checked_mul(multiplier)?.div_ceil(divisor)).ok()
}

/// Whether a text is a network in CIDR notation, such as `10.0.0.0/8`; if not, what to write instead.
pub fn check_network(text: &str) -> Result<(), String> {
    let is_network = text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        // A sign and leading zeros would parse too.
        length.parse().is_ok_and(|bits: u8| bits <= most && bits.to_string() == length)
    });
    if is_network { Ok(()) } else { Err("write a network in CIDR notation, such as 10.0.0.0/8 or fd00::/8".to_owned()) }
}

/// A count to two digits: `0`, `7`, `340`, `1.2k`, `35k`, `2.4M`.
pub fn approximate_count(count: u64) -> String {
    const UNITS: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut divisor = 1u64;
    let mut unit = 0;
    let rounded = round_to_two_digits(count);
    while rounded / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor *= 1000;
        unit += 1;
    }
    let whole = rounded / divisor;
    let tenth = (rounded % divisor) * 10 / divisor;
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{unit}") } else { format!("{whole}{unit}") }
}

/// A share in thousandths as people read it: `40%`, `2.5%`.
pub fn share_text(permille: u32) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

/// The thousandths, 0 to 1000, that [`share_text`] wrote.
pub(super) fn parse_share(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenth: u32 = tenth.parse().ok().filter(|tenth| *tenth < 10)?;
    whole.parse::<u32>().ok()?.checked_mul(10)?.checked_add(tenth).filter(|permille| *permille <= 1000)
}

/// An age, coarse enough not to change all the time: `<10s`, `20s`, `5m`, `3h`, `9d`.
pub fn approximate_age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..=9 => "<10s".to_owned(),
        10..=99 => format!("{}s", seconds / 10 * 10),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=359_999 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The second that has begun. The status keeps whole seconds: a fraction would make it differ from itself.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The nearest number of which only the first two digits are not 0.
pub fn round_to_two_digits(count: u64) -> u64 {
    let step = second_digit(count);
    count.saturating_add(step / 2) / step * step
}

/// The next number of which only the first two digits are not 0, and that is not more.
pub fn floor_to_two_digits(count: u64) -> u64 {
    let step = second_digit(count);
    count / step * step
}

/// What one of the second digit stands for: 1 of 99, 10 of 100, 100 of 1000.
fn second_digit(count: u64) -> u64 {
    let mut step = 1u64;
    while count / step >= 100 {
        step = step.saturating_mul(10);
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, milliseconds) in [("200ms", 200), ("5s", 5_000), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "5", "s", "1.5s", "-1s", "5 s", "1d", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, bytes) in [
            ("64Mi", 64 << 20),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("1G", 1_000_000_000),
            ("1e3", 1_000),
            ("1500m", 2),
            ("7", 7),
        ] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "Gi", "-1Gi", "1 Gi", "1gi", "1..5", "99999P99", "1e99"] {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn networks_are_written_with_their_length() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32", "fd00::/8", "::/0", "2001:db8::1/128"] {
            assert_eq!(check_network(text), Ok(()), "{text}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/08", "fd00::/129", "shop/8"] {
            assert!(check_network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_rounded_to_two_digits() {
        for (count, text) in [
            (0, "0"),
            (7, "7"),
            (99, "99"),
            (104, "100"),
            (994, "990"),
            (999, "1k"),
            (1_249, "1.2k"),
            (9_960, "10k"),
            (35_400, "35k"),
            (2_400_000, "2.4M"),
        ] {
            assert_eq!(approximate_count(count), text);
        }
        assert!(!approximate_count(u64::MAX).is_empty());
        for (count, floor) in
            [(0, 0), (99, 99), (109, 100), (999, 990), (1_050, 1_000), (u64::MAX, 18 * 10_u64.pow(18))]
        {
            assert_eq!(floor_to_two_digits(count), floor);
        }
    }

    #[test]
    fn shares_are_read_as_they_were_written() {
        for (permille, text) in [(0, "0%"), (25, "2.5%"), (400, "40%"), (999, "99.9%"), (1000, "100%")] {
            assert_eq!((share_text(permille).as_str(), parse_share(text)), (text, Some(permille)));
        }
        for text in ["", "%", "40", "-1%", "101%", "2.55%", "2.x%", "99999999999%"] {
            assert_eq!(parse_share(text), None, "{text}");
        }
    }

    #[test]
    fn ages_are_told_in_one_unit() {
        for (seconds, text) in
            [(0, "<10s"), (12, "10s"), (99, "90s"), (100, "1m"), (3_600, "60m"), (7_200, "2h"), (864_000, "10d")]
        {
            assert_eq!(approximate_age(Duration::from_secs(seconds)), text);
        }
    }
}
