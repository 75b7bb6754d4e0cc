//! `signalbox simulate`: reads a spec and a load, runs the model, prints the timeline.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use signalbox_contract::AddressPolicy;

use super::load::{Load, Shape, shaped};
use super::run::simulate;
use super::summary::summary;
use super::world::World;
use super::{page, text, trace};
use crate::api::EventDispatcher;
use crate::fleet::{FleetIntent, ShardDefaults, parse_duration};

/// A week, in seconds.
const LONGEST: u64 = 7 * 86_400;
/// About so many samples are shown.
const SAMPLES: u64 = 720;

/// Runs a spec and a load through the autoscaler, and prints what it would do: nothing is changed anywhere.
///
/// The model moves in seconds: shards that start, settle and report, and sinks that take so much. The decisions are made
/// by the very code that runs in the operator, which learns what a shard can settle as it does there.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["load", "shape"]))]
pub struct Simulate {
    /// The EventDispatcher, as YAML or JSON.
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// The load, one JSON object a line: {"second": 0, "arrivalPerSecond": 250}, or what `signalbox run --record` wrote.
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// A made-up load instead.
    #[arg(long, value_enum)]
    shape: Option<Shape>,
    /// The low rate of a made-up load, in events per second for the whole fleet.
    #[arg(long, value_name = "RATE", default_value_t = 100.0)]
    low: f64,
    /// Its high rate.
    #[arg(long, value_name = "RATE", default_value_t = 1000.0)]
    high: f64,
    /// How long it lasts, at most a week. Default: 24h for day, 1h for the others.
    #[arg(long, value_name = "DURATION")]
    duration: Option<String>,
    /// What makes it, and lost reports, come out the same again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events that one shard can settle in a second: the autoscaler is not told, it learns.
    #[arg(long, value_name = "RATE", default_value_t = 500.0)]
    shard_capacity: f64,
    /// Seconds from a decision until a new shard serves.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    start_up: u32,
    /// Events that the sinks take in a second from all shards together. Default: any number.
    #[arg(long, value_name = "RATE")]
    sink_limit: Option<f64>,
    /// Seconds that a report takes to the operator.
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    report_delay: u32,
    /// Share of the reports that are lost, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    report_loss: f64,
    /// What is printed: a table of changes, everything as JSON, or a page with plots.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table of changes.
    Text,
    /// Everything.
    Json,
    /// A page with plots that needs nothing else.
    Html,
}

impl Simulate {
    /// Runs, and gives back what is to be printed.
    pub fn run(&self) -> anyhow::Result<String> {
        let intent = intent(&self.spec)?;
        let world = self.world()?;
        let load = self.load(&intent)?;
        let seconds = u64::try_from(load.seconds()).unwrap_or(u64::MAX);
        let timeline = simulate(&intent, &load, &world, self.seed, seconds.div_ceil(SAMPLES));
        let summary = summary(&intent, &timeline, seconds);
        Ok(match self.output {
            Output::Text => text::text(&timeline, &summary),
            Output::Html => page::page(&format!("{}: {}", intent.name, self.of_what()), &timeline, &summary),
            Output::Json => {
                let all = serde_json::json!({"summary": summary, "timeline": timeline});
                format!("{}\n", serde_json::to_string_pretty(&all)?)
            }
        })
    }

    fn of_what(&self) -> String {
        match (&self.load, self.shape) {
            (Some(file), _) => format!("the load of {}", file.display()),
            (None, shape) => {
                let name = shape.and_then(|shape| Some(shape.to_possible_value()?.get_name().to_owned()));
                let name = name.unwrap_or_default();
                format!("a load of shape {name}, {} to {} events per second, seed {}", self.low, self.high, self.seed)
            }
        }
    }

    fn world(&self) -> anyhow::Result<World> {
        let above_zero = |rate: f64| rate > 0.0 && rate <= 1e9;
        ensure!(above_zero(self.shard_capacity), "--shard-capacity: write a rate above 0, such as 500");
        ensure!(self.sink_limit.is_none_or(above_zero), "--sink-limit: write a rate above 0, such as 1000");
        ensure!((0.0..=100.0).contains(&self.report_loss), "--report-loss: write a percentage from 0 to 100");
        ensure!(self.start_up <= 86_400, "--start-up: write at most 86400 seconds");
        ensure!(self.report_delay <= 3_600, "--report-delay: write at most 3600 seconds");
        Ok(World {
            shard_capacity: self.shard_capacity,
            start_up: self.start_up,
            sink_limit: self.sink_limit,
            report_delay: self.report_delay,
            report_loss: self.report_loss / 100.0,
            silence: None,
            faults: Vec::new(),
            leaders: Vec::new(),
        })
    }

    fn load(&self, intent: &FleetIntent) -> anyhow::Result<Load> {
        if let Some(file) = &self.load {
            let fleet = format!("{}/{}", intent.namespace, intent.name);
            let regions: BTreeSet<_> = intent.regions.iter().map(|region| region.name.as_str()).collect();
            return trace::read(&read(file)?, &fleet, &regions).with_context(|| file.display().to_string());
        }
        let Some(shape) = self.shape else { bail!("give either --load or --shape") };
        let fine = |rate: f64| (0.0..=1e9).contains(&rate);
        ensure!(fine(self.low) && fine(self.high), "--low and --high: write rates from 0 to 1000000000");
        ensure!(self.low <= self.high, "--low is above --high: swap them");
        let duration = match &self.duration {
            None => Duration::from_secs(if shape == Shape::Day { 86_400 } else { 3_600 }),
            Some(text) => parse_duration(text)
                .filter(|duration| (1..=LONGEST).contains(&duration.as_secs()))
                .with_context(|| format!("--duration: {text:?} is not from 1s to 168h; write one such as 30m"))?,
        };
        let seconds = u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        Ok(shaped(shape, self.low, self.high, seconds, self.seed))
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The fleet of a manifest that may never have been applied.
fn intent(file: &Path) -> anyhow::Result<FleetIntent> {
    let text = read(file)?;
    let name = file.display();
    let value: serde_yaml::Value = serde_yaml::from_str(&text).with_context(|| {
        format!("{name} is not one YAML document; write one EventDispatcher into a file of its own")
    })?;
    let kind = value.get("kind").and_then(serde_yaml::Value::as_str);
    ensure!(
        kind == Some("EventDispatcher"),
        "{name}: its kind is {}, and must be EventDispatcher",
        kind.unwrap_or("missing")
    );
    let mut dispatcher: EventDispatcher =
        serde_yaml::from_value(value).with_context(|| format!("{name} is not an EventDispatcher"))?;
    let metadata = &mut dispatcher.metadata;
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    metadata.uid.get_or_insert_with(|| "simulated".to_owned());
    let defaults =
        ShardDefaults { image: String::new(), image_pull_policy: String::new(), addresses: AddressPolicy::default() };
    FleetIntent::parse(&dispatcher, &defaults).with_context(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::Simulate;

    #[test]
    fn exactly_one_kind_of_load_is_asked_for_and_both_are_named() {
        let command = || Simulate::augment_args(Command::new("simulate"));
        let said = |args: &[&str]| {
            let all = ["simulate", "--spec", "fleet.yaml"].iter().chain(args).copied();
            command().try_get_matches_from(all).map_or_else(|e| e.to_string(), |_| "taken".to_owned())
        };
        let neither = said(&[]);
        assert!(neither.contains("--load") && neither.contains("--shape"), "{neither}");
        assert!(said(&["--load", "a", "--shape", "day"]).contains("cannot be used with"));
        assert_eq!((said(&["--load", "a"]), said(&["--shape", "day"])), ("taken".to_owned(), "taken".to_owned()));
    }
}
