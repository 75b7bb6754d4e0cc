//! The configuration of a region's shards. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use signalbox_contract::{CONFIG_FILE, Ordering, RetryConfig, ShardConfig, SinkConfig};

use super::{metadata, secrets};
use crate::api;
use crate::fleet::{FleetIntent, RegionIntent, SinkIntent, names};

/// Largest event accepted: 1 MiB, of the order of what brokers take by default.
const MAX_EVENT_BYTES: u64 = 1 << 20;

/// The ConfigMap that a region's shards mount.
pub(super) fn config_map(intent: &FleetIntent, region: &RegionIntent) -> ConfigMap {
    let name = names::region(&intent.name, &region.name);
    let json = serde_json::to_string_pretty(&shard_config(intent, region)).unwrap_or_default();
    metadata::stamped(ConfigMap {
        metadata: metadata::object_meta(intent, name, Some(&region.name)),
        data: Some(BTreeMap::from([(file_name().to_owned(), json)])),
        ..ConfigMap::default()
    })
}

/// What the shards of a region have to know.
pub(super) fn shard_config(intent: &FleetIntent, region: &RegionIntent) -> ShardConfig {
    let queue = &intent.queue;
    ShardConfig {
        fleet: intent.name.clone(),
        region: region.name.clone(),
        sinks: intent.sinks.iter().map(|sink| sink_config(sink, &region.name)).collect(),
        backlog_limit_bytes: queue.backlog_limit_bytes(),
        backlog_limit_events: queue.limit_events,
        backlog_limit_age_ms: queue.limit_age.map(milliseconds),
        max_event_bytes: MAX_EVENT_BYTES,
        duplicate_window_ms: milliseconds(queue.duplicate_window),
        dead_letter_limit_bytes: queue.dead_letter_limit_bytes(),
        tls: secrets::tls(intent),
        control: Some(secrets::control(intent)),
        addresses: intent.addresses.clone(),
    }
}

/// The name of the configuration file within its directory.
pub(super) fn file_name() -> &'static str {
    CONFIG_FILE.rsplit_once('/').map_or(CONFIG_FILE, |(_, name)| name)
}

fn sink_config(sink: &SinkIntent, region: &str) -> SinkConfig {
    SinkConfig {
        name: sink.name.clone(),
        uri: sink.uri.replace("{region}", region),
        timeout_ms: milliseconds(sink.timeout),
        max_concurrency: sink.max_concurrency,
        retry: RetryConfig {
            initial_backoff_ms: milliseconds(sink.initial_backoff),
            max_backoff_ms: milliseconds(sink.max_backoff),
            max_attempts: sink.max_attempts,
        },
        ordering: match sink.ordering {
            api::Ordering::PerKey => Ordering::PerKey,
            api::Ordering::None => Ordering::None,
        },
        filter: sink.filter.clone(),
        signing_secret_file: secrets::signing(sink),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
