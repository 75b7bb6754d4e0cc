//! Whether a series rises, and how fast: by ranks and medians, so that single points that are off do not matter.
//!
//! Whether: Mann and Kendall count for every pair of points whether the later one is higher. How fast: the median of
//! the slopes of all pairs (Theil and Sen). Both see each pair once, so a series has to be short.

/// A slope is taken for real when chance would make one as clear in one of a thousand series.
const CLEAR: f64 = 3.1;

/// How a series goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rise {
    /// By how much it rises, per unit of time; above 0.
    pub(super) slope: f64,
    /// Where it is at the time of its last point.
    pub(super) level: f64,
}

/// How a series of (time, value) rises, oldest first, if it clearly does, and its newer half no slower than half as
/// fast as the whole: what rose and has come to rest rises no more.
pub(super) fn rise(points: &[(f64, f64)]) -> Option<Rise> {
    let (slope, clear) = slope(points)?;
    let (newer, _) = self::slope(&points[points.len() / 2..])?;
    if clear < CLEAR || slope <= 0.0 || newer < slope / 2.0 {
        return None;
    }
    let &(end, _) = points.last()?;
    let level = median(points.iter().map(|(at, value)| value + slope * (end - at)).collect())?;
    Some(Rise { slope, level })
}

/// The median slope, and how clear it is that there is one, in standard deviations of chance.
fn slope(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    let mut score = 0.0;
    for (at, (began, low)) in points.iter().enumerate() {
        for (ended, high) in points.iter().skip(at + 1).filter(|(ended, _)| ended > began) {
            slopes.push((high - low) / (ended - began));
            // Equal values have no sign; `signum` would give them one.
            score += if high > low {
                1.0
            } else if high < low {
                -1.0
            } else {
                0.0
            };
        }
    }
    #[allow(clippy::cast_precision_loss, reason = "a few dozen points")]
    let n = points.len() as f64;
    let deviation = (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    Some((median(slopes)?, score / deviation.max(f64::MIN_POSITIVE)))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::rise;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        (0..30).map(f64::from).zip(values).collect()
    }

    #[test]
    fn a_line_is_followed_and_points_that_are_off_do_not_matter() {
        let line = |at: i32| 100.0 + 5.0 * f64::from(at);
        let found = rise(&series((0..30).map(line))).unwrap();
        assert!((found.slope - 5.0).abs() < 1e-9 && (found.level - 245.0).abs() < 1e-9, "{found:?}");
        let off = rise(&series((0..30).map(|at| if at % 7 == 3 { 10_000.0 } else { line(at) }))).unwrap();
        assert!((off.slope - 5.0).abs() < 0.5 && (off.level - 245.0).abs() < 10.0, "{off:?}");
    }

    #[test]
    fn what_falls_rests_or_has_come_to_rest_does_not_rise() {
        assert_eq!(rise(&series((0..30).map(|at| -f64::from(at)))), None);
        assert_eq!(rise(&series([3.0; 30])), None);
        assert_eq!(rise(&series((0..30).map(|at| f64::from(at.min(14))))), None);
        assert_eq!(rise(&series((0..30).map(|at| f64::from((at * 7) % 11)))), None);
        assert_eq!(rise(&[]), None);
        assert_eq!(rise(&[(0.0, 1.0), (1.0, 2.0)]), None, "two points are no proof");
    }
}
