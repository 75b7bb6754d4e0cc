//! Values as people write them: times, rates and shares. Pure.

use std::time::Duration;

/// Events per second, such as `500` or `500/s`.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches("/s");
    number
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0)
        .ok_or_else(|| format!("{text:?} is not a rate: write events per second, such as 500"))
}

/// A share, from 0 to 1.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    number.ok_or_else(|| format!("{text:?} is not a share: write a number from 0 to 1, such as 0.01"))
}

/// A time, such as `500ms`, `30s` or `5m`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{text:?} is not a time: write one such as 500ms, 30s or 5m")),
    };
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * seconds).ok())
        .ok_or_else(|| format!("{text:?} is not a time: write one such as 500ms, 30s or 5m"))
}
