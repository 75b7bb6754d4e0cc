//! One destination of events, as users write it: where, which events, in which order, how often, and signed or not.

#![allow(unreachable_pub, reason = "the derive repeats each struct in a scope of its own")]
#![allow(clippy::doc_markdown, reason = "kubectl explain prints these comments as they are")]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One HTTP destination.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sink {
    /// What status, metrics and logs call this sink; also the name under which shards remember what it has
    /// received, so renaming a sink is removing it and adding another. Example: fulfilment
    #[schemars(length(max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')")
        .message("name: use 1 to 63 lower-case letters, digits or '-', not starting or ending with '-'; for example \"fulfilment\""))]
    pub name: String,

    /// Absolute http or https URI that events are posted to, one CloudEvent a request, in binary mode. `{region}`
    /// is replaced by the name of the region that delivers. Redirects are not followed.
    /// Example: http://fulfilment-{region}.shop.svc:8080/events
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^https?://[^/?#@]+([/?][^#]*)?$') && isURL(self.replace('{region}', 'region'))")
        .message("uri: write an absolute http or https URI without user, password or fragment; for example \"http://fulfilment.shop.svc:8080/events\""))]
    pub uri: String,

    /// How long one attempt may take, from connecting to the head of the answer, 100ms to 10m. An attempt that
    /// takes longer has failed and is made again. Default: 5s. Example: 2s
    #[serde(default = "default_timeout")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('10m')")
        .message("timeout: write a duration from 100ms to 10m; for example \"5s\""))]
    pub timeout: String,

    /// Most attempts in flight at once from one shard, 1 to 4096. The sink sees at most this number times the
    /// number of shards; less while it is slow, throttles, or comes back after it has failed. Default: 64. Example: 16
    #[serde(default = "default_max_concurrency")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_concurrency: i32,

    /// PerKey delivers the events of one key (partitionkey, else subject) one at a time, in the order in which a shard
    /// accepted them, so that one that fails delays those behind it. None delivers every event as soon as it can, for
    /// sinks that do not mind the order. Default: PerKey. Example: None
    #[serde(default)]
    pub ordering: Ordering,

    /// Which events this sink gets: for each of up to 16 CloudEvents attributes, the prefix of 1 to 256 characters that
    /// its value must have. An event that lacks one of them, or has another value, is not for this sink; one that is
    /// for no sink is accepted and dropped. Default: every event. Example: {"type": "com.shop.order."}
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = serde_json::json!({"type": "string", "minLength": 1, "maxLength": 256})
    ))]
    #[x_kube(
        validation = Rule::new("self.all(name, name.matches('^[a-z0-9]{1,64}$') && !(name in ['data', 'database64']))")
            .message("filter: write the names of CloudEvents attributes, in lower-case letters and digits, and not data, which is looked at by sinks only; for example {\"type\": \"com.shop.order.\"}"),
        validation = Rule::new("self.all(name, !self[name].matches('\\\\p{Cc}'))")
            .message("filter: write prefixes without control characters, which no attribute has; for example {\"type\": \"com.shop.order.\"}")
    )]
    pub filter: BTreeMap<String, String>,

    /// When a failed attempt is made again, and when it is not.
    #[serde(default)]
    pub retry: Retry,

    /// Sign every delivery, so that the sink can tell that it is from this fleet. Default: deliveries are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<Signing>,
}

/// In which order a sink gets its events.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// Events of one key one at a time, in the order in which they were accepted.
    #[default]
    PerKey,
    /// As they come.
    None,
}

/// Exponential backoff with jitter: each wait is about twice the one before it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.initialBackoff.matches('^([0-9]+(ms|s|m|h))+$') || !self.maxBackoff.matches('^([0-9]+(ms|s|m|h))+$') || duration(self.initialBackoff) <= duration(self.maxBackoff)")
    .message("retry: initialBackoff must not be longer than maxBackoff; raise maxBackoff or lower initialBackoff"))]
pub struct Retry {
    /// Failed attempts after which an event becomes a dead letter, 1 to 1000: it is kept on the shard's volume with the
    /// reason, holds up no other event any longer, and can be replayed. Attempts that fail because the sink as a whole
    /// is down do not count. Default: none, an event is tried again until its sink accepts it. Example: 8
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<i32>,

    /// The first wait, 10ms to 1h. The actual wait is drawn between half of it and the whole.
    /// Default: 200ms. Example: 1s
    #[serde(default = "default_initial_backoff")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')")
        .message("initialBackoff: write a duration from 10ms to 1h; for example \"200ms\""))]
    pub initial_backoff: String,

    /// The longest wait, 10ms to 1h. Default: 5m. Example: 30s
    #[serde(default = "default_max_backoff")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]+(ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1h')")
        .message("maxBackoff: write a duration from 10ms to 1h; for example \"5m\""))]
    pub max_backoff: String,
}

/// Signatures as Standard Webhooks has them: the headers webhook-id, webhook-timestamp and webhook-signature.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signing {
    /// Secret in the fleet's namespace with what to sign with. Shards start once it is there, and take up a change of it
    /// without a restart, within about a minute. Example: fulfilment-signing
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')")
        .message("secretName: use 1 to 253 lower-case letters, digits, '-' or '.', not starting or ending with '-' or '.'; for example \"fulfilment-signing\""))]
    pub secret_name: String,

    /// The key in that Secret whose value holds the signing secrets, one "whsec_..." a line. Deliveries are signed with
    /// each of them, so that a sink can move from one to the next. Default: secret. Example: current
    #[serde(default = "default_signing_key")]
    #[schemars(length(max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-_A-Za-z0-9][-._A-Za-z0-9]*$')")
        .message("key: use 1 to 253 letters, digits, '-', '_' or '.', not starting with '.'; for example \"secret\""))]
    pub key: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self { max_attempts: None, initial_backoff: default_initial_backoff(), max_backoff: default_max_backoff() }
    }
}

fn default_timeout() -> String {
    "5s".to_owned()
}

fn default_max_concurrency() -> i32 {
    64
}

fn default_initial_backoff() -> String {
    "200ms".to_owned()
}

fn default_max_backoff() -> String {
    "5m".to_owned()
}

fn default_signing_key() -> String {
    "secret".to_owned()
}
