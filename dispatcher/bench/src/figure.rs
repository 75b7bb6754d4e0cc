//! One measured number, its goal, and what stands beside it. Pure.

use std::fmt;

use serde::Serialize;

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// The same thing measured elsewhere in the same run: a raw limit, or a peer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Beside {
    pub(crate) what: String,
    pub(crate) value: f64,
}

/// A measured number.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
    pub(crate) beside: Vec<Beside>,
}

impl Figure {
    pub(crate) fn new(scenario: &'static str, what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { scenario, what: what.into(), value, unit, goal: None, beside: Vec::new() }
    }

    pub(crate) fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    pub(crate) fn at_least(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtLeast(goal));
        self
    }

    pub(crate) fn beside(mut self, what: impl Into<String>, value: f64) -> Self {
        self.beside.push(Beside { what: what.into(), value });
        self
    }

    /// Whether the goal is reached, if there is one.
    pub(crate) fn reached(&self) -> Option<bool> {
        self.goal.map(|goal| match goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
        })
    }

    /// `23.4 us`.
    pub(crate) fn value_text(&self) -> String {
        format!("{} {}", number(self.value), self.unit).trim_end().to_owned()
    }

    /// `<= 25`, or nothing.
    pub(crate) fn goal_text(&self) -> String {
        match self.goal {
            Some(Goal::AtMost(most)) => format!("<= {}", number(most)),
            Some(Goal::AtLeast(least)) => format!(">= {}", number(least)),
            None => String::new(),
        }
    }

    /// What stands beside it, each with the ratio to it.
    pub(crate) fn beside_text(&self) -> String {
        let one = |beside: &Beside| {
            if beside.value > 0.0 {
                format!("{} {} (x {:.2})", beside.what, number(beside.value), self.value / beside.value)
            } else {
                format!("{} {}", beside.what, number(beside.value))
            }
        };
        self.beside.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.value_text())?;
        if let Some(reached) = self.reached() {
            write!(f, " (goal {}{})", self.goal_text(), if reached { "" } else { ", MISSED" })?;
        }
        if !self.beside.is_empty() {
            write!(f, " beside {}", self.beside_text())?;
        }
        Ok(())
    }
}

/// Two or three digits, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 || size.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

/// Of figures that say the same, the one in the middle, whole: with what was measured beside it in its run.
pub(crate) fn medians(figures: Vec<Figure>) -> Vec<Figure> {
    let mut groups: Vec<Vec<Figure>> = Vec::new();
    for figure in figures {
        let same = |group: &&mut Vec<Figure>| {
            group.first().is_some_and(|first| (first.scenario, &first.what) == (figure.scenario, &figure.what))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(figure),
            None => groups.push(vec![figure]),
        }
    }
    groups
        .into_iter()
        .map(|mut group| {
            group.sort_by(|one, other| one.value.total_cmp(&other.value));
            group.swap_remove(group.len() / 2)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Figure, medians, number};

    #[test]
    fn the_median_is_a_whole_figure_with_what_stood_beside_it() {
        let figure = |value, raw| Figure::new("ack", "p50", value, "ms").at_most(2.0).beside("raw", raw);
        let other = Figure::new("ack", "p99", 9.0, "ms");
        let found = medians(vec![figure(3.0, 1.0), other.clone(), figure(1.0, 5.0), figure(2.0, 4.0)]);
        assert_eq!(found, [figure(2.0, 4.0), other]);
    }

    #[test]
    fn a_goal_is_reached_at_its_bound_and_missed_beyond() {
        let figure = |value| Figure::new("s", "w", value, "");
        assert_eq!(figure(25.0).at_most(25.0).reached(), Some(true));
        assert_eq!(figure(25.1).at_most(25.0).reached(), Some(false));
        assert_eq!(figure(19.9).at_least(20.0).reached(), Some(false));
        assert_eq!(figure(1.0).reached(), None);
        assert!(figure(30.0).at_most(25.0).to_string().contains("MISSED"));
    }

    #[test]
    fn numbers_have_three_digits_and_ratios_stand_beside() {
        assert_eq!([0.0, 0.0036, 0.126, 12.34].map(number), ["0", "0.0036", "0.13", "12.3"]);
        assert_eq!([123.4, 20_000.0].map(number), ["123", "20000"]);
        assert_eq!(Figure::new("s", "w", 3.0, "ms").beside("raw", 2.0).beside_text(), "raw 2 (x 1.50)");
    }
}
