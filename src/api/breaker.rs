//! A region's breaker, as users write it, and what the status tells of it: a new leader reads it from there.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a region is taken out of service, and how it comes back. A region whose shards answer nobody is taken out at once;
/// what follows is about regions that answer, and fail.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.baseTripTime.matches('^([0-9]+(ms|s|m|h))+$') || !self.maxTripTime.matches('^([0-9]+(ms|s|m|h))+$') || duration(self.baseTripTime) <= duration(self.maxTripTime)")
    .message("breaker: baseTripTime must not be longer than maxTripTime; raise maxTripTime or lower baseTripTime"))]
pub struct Breaker {
    /// Share of attempts at a sink that must fail, or of events that must be refused, within the window, 1 to 100
    /// percent. A sink that fails from every region trips none. Default: 50. Example: 20
    #[serde(default = "default_failure_ratio")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_ratio: i32,

    /// What is looked at at once, 5s to 5m. A region whose deliveries all fail is Tripped when it ends; what fails for half
    /// of it and then goes well trips nothing. Default: 10s. Example: 30s
    #[serde(default = "default_window")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('5s') && duration(self) <= duration('5m')")
        .message("window: write a duration from 5s to 5m; for example \"10s\""))]
    pub window: String,

    /// Attempts within the window, of all shards of the region, below which their share says nothing, 1 to 1000000.
    /// Default: 50. Example: 500
    #[serde(default = "default_minimum_attempts")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub minimum_attempts: i32,

    /// How long the first trip lasts, 1s to 1h. The actual time is drawn between half of it and the whole; each relapse
    /// doubles it. Default: 30s. Example: 1m
    #[serde(default = "default_base_trip_time")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')")
        .message("baseTripTime: write a duration from 1s to 1h; for example \"30s\""))]
    pub base_trip_time: String,

    /// How long any trip lasts at most, 1s to 24h. A region that serves for so long makes up for one earlier trip.
    /// Default: 10m. Example: 1h
    #[serde(default = "default_max_trip_time")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h')")
        .message("maxTripTime: write a duration from 1s to 24h; for example \"10m\""))]
    pub max_trip_time: String,

    /// The shares of its weight with which a region comes back, one after another, in percent: 1 to 16 of them, growing,
    /// the last one 100. Each is kept until what the region then does is clean. Default: [5, 10, 25, 50, 100].
    /// Example: [10, 50, 100]
    #[serde(default = "default_ramp_percents")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 100)))]
    #[x_kube(validation = Rule::new("self.isSorted() && self.all(percent, self.exists_one(other, other == percent)) && self.exists(percent, percent == 100)")
        .message("rampPercents: write 1 to 16 percentages that grow and end with 100; for example [5, 10, 25, 50, 100]"))]
    pub ramp_percents: Vec<i32>,

    /// What becomes of new events when no region is well. HoldWeights: they are accepted by the weights of the spec, and
    /// wait on disk. Shed: they are refused with 503 and Retry-After. Default: HoldWeights. Example: Shed
    #[serde(default)]
    pub when_all_unhealthy: WhenAllUnhealthy,
}

/// What becomes of new events when no region is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WhenAllUnhealthy {
    /// They are accepted, and wait.
    #[default]
    HoldWeights,
    /// They are refused.
    Shed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failure_ratio: default_failure_ratio(),
            window: default_window(),
            minimum_attempts: default_minimum_attempts(),
            base_trip_time: default_base_trip_time(),
            max_trip_time: default_max_trip_time(),
            ramp_percents: default_ramp_percents(),
            when_all_unhealthy: WhenAllUnhealthy::HoldWeights,
        }
    }
}

fn default_failure_ratio() -> i32 {
    50
}

fn default_window() -> String {
    "10s".to_owned()
}

fn default_minimum_attempts() -> i32 {
    50
}

fn default_base_trip_time() -> String {
    "30s".to_owned()
}

fn default_max_trip_time() -> String {
    "10m".to_owned()
}

fn default_ramp_percents() -> Vec<i32> {
    vec![5, 10, 25, 50, 100]
}

/// Where a region's breaker is.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerStatus {
    /// Serving (it gets its share), Tripped (it gets nothing new) or Probing (it comes back, with a part of its share).
    pub phase: String,
    /// Since when; of Probing, since when with this part of its share.
    pub since: Time,
    /// Of Tripped, when it may come back at the earliest. In the past when it is not well yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// Of Probing, the part of its share that it gets, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i32>,
    /// Of Probing, which entry of breaker.rampPercents that is, counted from 0. Absent: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: i32,
    /// Trips that it has not made up for by serving: the next one lasts twice as long for each. Absent: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trips: i32,
    /// Why it is not Serving, in one word for machines: Unreachable, NoShardReady, SinkFailing, Refusing, Held, Drained or
    /// Drill. Absent of Serving.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why it is where it is, in one word for machines: the cause; or Suspected, Unknown, SinkFailsEverywhere or TooFewLeft,
    /// which trip nothing; or Ramping; or Held, by an annotation. Absent when nothing speaks against the region.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}
