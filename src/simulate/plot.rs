//! Plots over time as SVG. Pure: numbers in, text out. Colours are left to the style sheet of the page.

use std::fmt::Write as _;

use super::page::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// About so many marks on an axis.
const TICKS: f64 = 5.0;

/// A row of points with a name.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The class that the style sheet gives a colour.
    pub(super) class: &'static str,
    /// A value stands until the next.
    pub(super) steps: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// One plot over minutes.
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) y: &'static str,
    pub(super) series: Vec<Series>,
}

impl Plot {
    /// The plot with its title and legend.
    pub(super) fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (across, _) = axis(points().map(|point| point.0).fold(0.0, f64::max));
        let last = points().map(|point| point.0).fold(0.0, f64::max).max(1e-9);
        let (up, high) = axis(points().map(|point| point.1).fold(0.0, f64::max));
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let x = |value: f64| LEFT + (value / last).clamp(0.0, 1.0) * (right - LEFT);
        let y = |value: f64| floor - (value / high).clamp(0.0, 1.0) * (floor - TOP);
        let mut out = format!("<figure><figcaption><strong>{}</strong>", escape(self.title));
        for series in &self.series {
            let _ = write!(out, r#"<span class="key {}">{}</span>"#, series.class, escape(series.name));
        }
        let _ = write!(
            out,
            r#"</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{}</title>"#,
            escape(self.title)
        );
        for tick in up {
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{0:.1}" y2="{0:.1}"/><text class="tick" x="{1:.1}" y="{2:.1}" text-anchor="end">{3}</text>"#,
                y(tick),
                LEFT - 8.0,
                y(tick) + 4.0,
                number(tick)
            );
        }
        for tick in across.into_iter().filter(|tick| *tick <= last * 1.0001) {
            let _ = write!(
                out,
                r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                x(tick),
                floor + 19.0,
                number(tick)
            );
        }
        let _ = write!(
            out,
            r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/><text class="label" x="{:.1}" y="{:.1}" text-anchor="middle">minutes</text><text class="label" transform="translate(16 {:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            f64::midpoint(TOP, floor),
            escape(self.y)
        );
        for series in &self.series {
            let mut path = String::new();
            let mut before = None;
            for &(at, value) in &series.points {
                if let Some(before) = before.filter(|_| series.steps) {
                    let _ = write!(path, "{:.1},{:.1} ", x(at), y(before));
                }
                let _ = write!(path, "{:.1},{:.1} ", x(at), y(value));
                before = Some(value);
            }
            let _ = write!(out, r#"<polyline class="line {}" points="{}"/>"#, series.class, path.trim_end());
        }
        out.push_str("</svg></figure>\n");
        out
    }
}

/// Round marks from nothing on, and the value at the end of the axis.
fn axis(high: f64) -> (Vec<f64>, f64) {
    let high = if high > 0.0 { high } else { 1.0 };
    let rough = high / TICKS;
    let decade = 10_f64.powf(rough.log10().floor());
    let of = [1.0, 2.0, 5.0, 10.0].into_iter().find(|of| rough <= of * decade * 1.000_001).unwrap_or(10.0);
    let step = of * decade;
    let ticks: Vec<f64> =
        (0..12_u32).map(|tick| f64::from(tick) * step).take_while(|tick| *tick < high + step * 0.999).collect();
    let end = ticks.last().copied().unwrap_or(high);
    (ticks, end)
}

fn number(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e4 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_round_marks_and_hold_every_value() {
        for high in [0.0, 0.7, 1.0, 9.9, 10.0, 101.0, 2_345.0, 1e7] {
            let (ticks, end) = axis(high);
            assert!((3..=12).contains(&ticks.len()) && end >= high, "{high}: {ticks:?}");
        }
        assert_eq!([0.0, 0.25, 40.0, 20_000.0, 1e6].map(number), ["0", "0.25", "40", "20k", "1M"]);
    }
}
