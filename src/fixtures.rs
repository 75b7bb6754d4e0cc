//! Things to test with. The names in here differ from the product's, so that swapped labels are noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::{AddressPolicy, BreakerPhase, RoutingReport, ShardReport, SinkReport};

use crate::api::EventDispatcher;
use crate::fleet::{
    Authority, DataPort, FleetIntent, FleetSnapshot, KeyPairPem, Keyring, Observation, PodSnapshot, RegionSnapshot,
    Report, Rollout, ShardDefaults, ShardSnapshot, Volume,
};

pub(crate) fn dispatcher() -> EventDispatcher {
    serde_yaml::from_str(
        "
apiVersion: signalbox.dev/v1alpha1
kind: EventDispatcher
metadata: {name: orders, namespace: shop, uid: 0d0c5f1e, generation: 3}
spec:
  sinks:
  - {name: fulfilment, uri: 'http://fulfilment-{region}.shop.svc:8080/events', maxConcurrency: 16}
  - {name: audit, uri: 'https://audit.example/in', timeout: 2s, retry: {initialBackoff: 1s, maxBackoff: 30s}}
  regions:
  - {name: eu-west, weight: 50, shards: {min: 2}}
  - {name: us-east, weight: 50, shards: {min: 2}}
",
    )
    .unwrap()
}

/// The same fleet with everything that it could do without.
pub(crate) fn equipped() -> EventDispatcher {
    let mut dispatcher = dispatcher();
    let equipment = "
sinks:
- {name: fulfilment, uri: 'http://fulfilment-{region}.shop.svc:8080/events'}
- name: audit
  uri: https://audit.example/in
  ordering: None
  filter: {type: com.shop.order., source: /till/}
  retry: {maxAttempts: 8}
  signing: {secretName: audit-signing, key: current}
queue: {storage: 10Gi, limits: {events: 1000000, age: 1h}, duplicateWindow: 10m}
tls: {secretName: orders-tls}
regions:
- {name: eu-west, shards: {min: 2}}
- {name: us-east, shards: {min: 2}}
";
    dispatcher.spec = serde_yaml::from_str(equipment).unwrap();
    dispatcher
}

/// The same fleet as [`dispatcher`], behind a Gateway.
pub(crate) fn behind_a_gateway() -> EventDispatcher {
    let mut dispatcher = dispatcher();
    let traffic = "
mode: Gateway
gateway:
  parentRefs: [{name: public, namespace: gateways, sectionName: https}]
  hostnames: [orders.example.com]
";
    dispatcher.spec.traffic = serde_yaml::from_str(traffic).unwrap();
    dispatcher
}

pub(crate) fn shard_defaults() -> ShardDefaults {
    ShardDefaults {
        image: "signalbox.dev/dispatcher:test".to_owned(),
        image_pull_policy: "IfNotPresent".to_owned(),
        addresses: AddressPolicy { denied: vec!["192.0.2.0/24".to_owned()], allowed: Vec::new() },
    }
}

pub(crate) fn intent() -> FleetIntent {
    FleetIntent::parse(&dispatcher(), &shard_defaults()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A fleet in which everything is as the spec of [`dispatcher`] says.
pub(crate) fn settled() -> FleetSnapshot {
    FleetSnapshot {
        regions: BTreeMap::from([("eu-west".to_owned(), region(1, 2)), ("us-east".to_owned(), region(2, 2))]),
        ..FleetSnapshot::default()
    }
}

/// A region with `shards` ready shards, whose addresses are in network `number`.
pub(crate) fn region(number: u8, shards: u32) -> RegionSnapshot {
    RegionSnapshot {
        rollout: Some(Rollout { replicas: shards, complete: true, replaces: false, updated: shards }),
        shards: (0..shards).map(|ordinal| (ordinal, shard(number, ordinal))).collect(),
    }
}

/// A shard that is ready, empty and quiet.
pub(crate) fn shard(number: u8, ordinal: u32) -> ShardSnapshot {
    ShardSnapshot {
        pod: Some(PodSnapshot {
            uid: format!("uid-{number}-{ordinal}"),
            ip: Some(format!("10.244.{number}.{}", ordinal + 10)),
            node: Some(format!("node-{number}")),
            zone: None,
            ready: true,
            terminating: false,
            mounting: false,
            trouble: None,
        }),
        volume: Volume::Bound,
        report: reading(0, Duration::from_mins(1)),
        data_port: DataPort::NotAsked,
    }
}

/// A report taken just now.
pub(crate) fn reading(backlog_events: u64, quiet_for: Duration) -> Observation<Report> {
    Observation::Reading {
        value: Report {
            shard: ShardReport {
                fleet: "orders".to_owned(),
                region: "eu-west".to_owned(),
                incarnation: "one".to_owned(),
                accepting: true,
                backlog_events,
                backlog_bytes: backlog_events.saturating_mul(1000),
                oldest_event_age_ms: (backlog_events > 0).then_some(12_000),
                accepted_total: 1000,
                sinks: ["fulfilment", "audit"].into_iter().map(|name| sink_report(name, backlog_events)).collect(),
                ..ShardReport::default()
            },
            quiet_for,
            rates: None,
            trouble: None,
        },
        taken_at: now(),
    }
}

/// The same, of a shard that takes part in routing, and has been there for a minute. Its log is known by its ordinal.
pub(crate) fn routed(ordinal: u32, epoch: u64, backlog_events: u64) -> Observation<Report> {
    let Observation::Reading { mut value, taken_at } = reading(backlog_events, Duration::ZERO) else { unreachable!() };
    let log = 0xa0 + u64::from(ordinal);
    let routing = RoutingReport { ordinal, log, epoch, highest_epoch: epoch, ..RoutingReport::default() };
    (value.shard.routing, value.shard.uptime_ms) = (Some(routing), 60_000);
    Observation::Reading { value, taken_at }
}

/// The same, of a shard whose totals moved like this. Its oldest event has waited for long.
pub(crate) fn reading_with(backlog_events: u64, rates: crate::fleet::Rates) -> Observation<Report> {
    let Observation::Reading { mut value, taken_at } = reading(backlog_events, Duration::ZERO) else { unreachable!() };
    value.rates = Some(rates);
    value.shard.uptime_ms = 3_600_000;
    Observation::Reading { value, taken_at }
}

fn sink_report(name: &str, backlog_events: u64) -> SinkReport {
    SinkReport {
        name: name.to_owned(),
        backlog_events,
        delivered_total: 1000,
        phase: BreakerPhase::Serving,
        concurrency_limit: 64,
        ..SinkReport::default()
    }
}

/// Keys that open nothing.
pub(crate) fn keyring() -> Keyring {
    let pair = |name: &str| KeyPairPem {
        cert: format!("certificate of {name}\n"),
        key: format!("key of {name}\n"),
        made: now(),
        until: now(),
    };
    let authority = |name| Authority { pair: pair(name), vouches_until: now() };
    Keyring {
        generation: 7,
        authorities: vec![authority("the new authority"), authority("the old authority")],
        shard: pair("shards"),
        operator: pair("the operator"),
    }
}
