//! Plots as SVG. Pure: numbers in, text out. Colours are left to the style sheet of the page.

use std::fmt::Write as _;

use super::html::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;

/// About so many marks on an axis.
const TICKS: f64 = 5.0;

/// With more points than this, single ones are not marked.
const MARKED: usize = 150;

/// From this ratio of the highest to the lowest value on, an axis is logarithmic.
const WIDE: f64 = 40.0;

/// How a row of points is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Line,
    Dashed,
    /// Points alone.
    Points,
    /// Bars from nothing up.
    Bars,
}

/// A row of points with a name.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The class that the style sheet gives a colour.
    pub(super) class: &'static str,
    pub(super) style: Style,
    pub(super) points: Vec<(f64, f64)>,
}

/// What the x axis says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Across {
    /// The number itself.
    Number,
    /// Shares of the whole, finer towards its end: 0, 1, 2 and 3 are 0, 90, 99 and 99.9 %.
    Nines,
}

/// One plot.
#[derive(Clone, Debug)]
pub(super) struct Plot {
    pub(super) title: &'static str,
    pub(super) x: &'static str,
    pub(super) y: &'static str,
    pub(super) across: Across,
    pub(super) series: Vec<Series>,
}

/// An axis: which values it spans, and how they are spread.
#[derive(Clone, Debug, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Axis {
    fn linear(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = nice(high / TICKS);
        let count = whole((high / step).ceil());
        let ticks: Vec<f64> = (0..=count).map(|tick| f64::from(tick) * step).collect();
        Self { low: 0.0, high: f64::from(count) * step, logarithmic: false, ticks }
    }

    /// An axis of whole numbers of which the ends are those of the data, such as time.
    fn tight(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let mut axis = Self::linear(high);
        axis.ticks.retain(|tick| *tick <= high * 1.0001);
        Self { high, ..axis }
    }

    /// For values of latency and the like: logarithmic if they are far apart.
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let high = values.clone().fold(0.0, f64::max);
        let low = values.filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        if high / low < WIDE {
            return Self::linear(high);
        }
        let (first, last) = (low.log10().floor(), high.log10().ceil());
        let decades = whole(last - first);
        let ticks = (0..=decades).map(|decade| 10_f64.powf(first + f64::from(decade))).collect();
        Self { low: 10_f64.powf(first), high: 10_f64.powf(last), logarithmic: true, ticks }
    }

    /// Where a value is: 0 at the low end, 1 at the high one.
    fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }
}

impl Plot {
    /// The plot with its title and legend.
    pub(super) fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (across, up) =
            (Axis::tight(points().map(|point| point.0).fold(0.0, f64::max)), Axis::of(points().map(|point| point.1)));
        let mut out = String::new();
        let _ = write!(out, "<figure><figcaption><strong>{}</strong>", escape(self.title));
        for series in &self.series {
            let _ = write!(out, r#"<span class="key {}">{}</span>"#, series.class, escape(series.name));
        }
        let note = if up.logarithmic { ", logarithmic" } else { "" };
        let _ = write!(
            out,
            r#"</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{}</title>"#,
            escape(self.title)
        );
        self.axes(&mut out, &across, &up, note);
        for series in &self.series {
            draw(&mut out, series, &across, &up);
        }
        out.push_str("</svg></figure>\n");
        out
    }

    fn axes(&self, out: &mut String, across: &Axis, up: &Axis, note: &str) {
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for &tick in &up.ticks {
            let y = down(up, tick);
            let _ = write!(
                out,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 8.0,
                y + 4.0,
                number(tick)
            );
        }
        let ticks: Vec<f64> = match self.across {
            Across::Number => across.ticks.clone(),
            Across::Nines => (0..=whole(across.high)).map(f64::from).collect(),
        };
        for tick in ticks {
            let x = along(across, tick);
            let label = match self.across {
                Across::Number => number(tick),
                Across::Nines => percent(tick),
            };
            let _ = write!(
                out,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{floor}" y2="{:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
                floor + 5.0,
                floor + 19.0
            );
        }
        let _ = write!(
            out,
            r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/><text class="label" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="label" transform="translate(16 {:.1}) rotate(-90)" text-anchor="middle">{}{note}</text>"#,
            f64::midpoint(LEFT, right),
            HEIGHT - 8.0,
            escape(self.x),
            f64::midpoint(TOP, floor),
            escape(self.y)
        );
    }
}

fn draw(out: &mut String, series: &Series, across: &Axis, up: &Axis) {
    let class = series.class;
    let places: Vec<(f64, f64)> = series.points.iter().map(|&(x, y)| (along(across, x), down(up, y))).collect();
    match series.style {
        Style::Line | Style::Dashed => {
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let dashed = if series.style == Style::Dashed { " dashed" } else { "" };
            let _ = write!(out, r#"<polyline class="line {class}{dashed}" points="{}"/>"#, path.join(" "));
        }
        Style::Points => {}
        Style::Bars => {
            let (width, floor) = (bar_width(places.len()), HEIGHT - BOTTOM);
            for (x, y) in &places {
                let x = (x - width / 2.0).clamp(LEFT, WIDTH - RIGHT - width);
                let _ = write!(
                    out,
                    r#"<rect class="bar {class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}"/>"#,
                    floor - y
                );
            }
        }
    }
    if series.style == Style::Dashed || series.style == Style::Bars || places.len() > MARKED {
        return;
    }
    let radius = if series.style == Style::Points { 5.0 } else { 2.5 };
    for ((x, y), (_, value)) in places.iter().zip(&series.points) {
        let _ = write!(
            out,
            r#"<circle class="dot {class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{}: {}</title></circle>"#,
            escape(series.name),
            number(*value)
        );
    }
}

fn along(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.at(value) * (WIDTH - LEFT - RIGHT)
}

fn down(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.at(value) * (HEIGHT - BOTTOM - TOP)
}

fn bar_width(count: usize) -> f64 {
    let count = f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX));
    ((WIDTH - LEFT - RIGHT) / count * 0.7).clamp(1.0, 40.0)
}

/// The next of 1, 2, 5, 10, … at or above.
fn nice(step: f64) -> f64 {
    let decade = 10_f64.powf(step.log10().floor());
    let of = [1.0, 2.0, 5.0, 10.0].into_iter().find(|of| step <= of * decade * 1.000_001);
    of.unwrap_or(10.0) * decade
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is a small number")]
fn whole(value: f64) -> u32 {
    value.clamp(0.0, 1000.0) as u32
}

/// A number of which three digits are enough.
pub(super) fn number(value: f64) -> String {
    if value >= 1e6 {
        return format!("{}M", plain(value / 1e6, 2));
    }
    if value >= 1e4 {
        return format!("{}k", plain(value / 1e3, 1));
    }
    plain(
        value,
        if value >= 100.0 {
            0
        } else if value >= 1.0 {
            2
        } else {
            3
        },
    )
}

fn plain(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The share that so many nines stand for.
fn percent(nines: f64) -> String {
    let digits = usize::try_from(whole(nines).saturating_sub(2)).unwrap_or(0);
    format!("{:.digits$} %", (1.0 - 10_f64.powf(-nines)) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::{Across, Axis, Plot, Series, Style, nice, number, percent};

    #[test]
    fn axes_have_few_round_marks_and_hold_every_value() {
        for high in [0.003, 0.7, 1.0, 9.9, 10.0, 101.0, 2_345.0, 1e7] {
            let axis = Axis::linear(high);
            assert!((3..=12).contains(&axis.ticks.len()) && axis.high >= high, "{high}: {axis:?}");
        }
        let wide = Axis::of([0.2, 3.0, 900.0].into_iter());
        assert!(wide.logarithmic && wide.ticks.len() == 5, "{wide:?}");
        assert!((wide.at(10.0) - 0.5).abs() < 1e-9);
        assert!(!Axis::of([1.0, 3.0].into_iter()).logarithmic);
        assert_eq!(Axis::of([].into_iter()).ticks.len(), 6);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (0.25, "0.25"), (20_000.0, "20k"), (1e6, "1M"), (123.4, "123"), (2.5, "2.5")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!([0.0, 1.0, 2.0, 3.0, 5.0].map(percent), ["0 %", "90 %", "99 %", "99.9 %", "99.999 %"]);
        assert!((nice(0.3) - 0.5).abs() < 1e-9 && (nice(20.0) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn points_beyond_the_axes_do_not_leave_the_picture() {
        let series = Series { name: "a<b", class: "a", style: Style::Line, points: vec![(0.0, -5.0), (1.0, 1.0)] };
        let plot = Plot { title: "t&t", x: "x", y: "y", across: Across::Number, series: vec![series] };
        let svg = plot.render();
        assert!(svg.contains("a&lt;b") && svg.contains("t&amp;t"));
        assert!(svg.contains(r#"points="70.0,234.0 706.0,12.0""#), "{svg}");
    }
}
