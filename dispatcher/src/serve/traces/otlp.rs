//! Spans as OTLP/JSON: one `ExportTraceServiceRequest` a line, as the OpenTelemetry protocol's file exporter has it.
//! Ids are hex there, and numbers of 64 bits are strings. Pure. May import nothing.

use std::time::Duration;

use serde_json::{Value, json};

/// The flag that says that the trace is sampled.
const SAMPLED: u32 = 0x001;

/// The flag that says that the next one is known.
const KNOWS_REMOTE: u32 = 0x100;

/// The flag that says that the parent is in another process.
const IS_REMOTE: u32 = 0x200;

/// Whom a span served or asked: a number of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Server = 2,
    Client = 3,
}

/// The span above a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// The first of its trace.
    None,
    /// A span of this shard.
    Ours(u64),
    /// A span of the producer.
    Remote(u64),
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(String),
    Number(u64),
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Parent,
    pub(super) state: String,
    pub(super) started_at_us: i64,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// What went wrong.
    pub(super) error: Option<String>,
}

/// Who reports: the same for all spans of a process.
pub(super) fn resource(fleet: &str, region: &str, host: &str) -> Value {
    let text = |value: &str| Attribute::Text(value.to_owned());
    attributes(&[
        ("service.name", text("signalbox-dispatcher")),
        ("service.version", text(env!("CARGO_PKG_VERSION"))),
        ("host.name", text(host)),
        ("signalbox.fleet", text(fleet)),
        ("signalbox.region", text(region)),
    ])
}

/// One line, its end included.
pub(super) fn line(resource: &Value, spans: &[Span]) -> String {
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let mut line = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "signalbox", "version": env!("CARGO_PKG_VERSION")}, "spans": spans}],
    }]})
    .to_string();
    line.push('\n');
    line
}

fn span(span: &Span) -> Value {
    let started = u64::try_from(span.started_at_us).unwrap_or(0).saturating_mul(1000);
    let ended = started.saturating_add(u64::try_from(span.took.as_nanos()).unwrap_or(u64::MAX));
    let (parent, flags) = match span.parent {
        Parent::None => (None, SAMPLED),
        Parent::Ours(id) => (Some(id), SAMPLED | KNOWS_REMOTE),
        Parent::Remote(id) => (Some(id), SAMPLED | KNOWS_REMOTE | IS_REMOTE),
    };
    let mut encoded = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "flags": flags,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": started.to_string(),
        "endTimeUnixNano": ended.to_string(),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = parent {
        encoded["parentSpanId"] = format!("{parent:016x}").into();
    }
    if !span.state.is_empty() {
        encoded["traceState"] = span.state.as_str().into();
    }
    if let Some(message) = &span.error {
        encoded["status"] = json!({"code": 2, "message": message});
    }
    encoded
}

fn attributes(attributes: &[(&'static str, Attribute)]) -> Value {
    let encoded = attributes.iter().map(|(key, value)| match value {
        Attribute::Text(text) => json!({"key": key, "value": {"stringValue": text}}),
        Attribute::Number(number) => json!({"key": key, "value": {"intValue": number.to_string()}}),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::{Attribute, Kind, Parent, Span, line, resource};
    use serde_json::{Value, json};
    use std::time::Duration;

    #[test]
    fn spans_are_one_line_of_what_a_collector_reads() {
        let text = |value: &str| Attribute::Text(value.to_owned());
        let accept = Span {
            name: "accept",
            kind: Kind::Server,
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            id: 0x0102,
            parent: Parent::Remote(0xb7ad_6b71_6920_3331),
            state: "a=b".to_owned(),
            started_at_us: 1_790_000_000_000_001,
            took: Duration::from_nanos(1_500),
            attributes: vec![
                ("cloudevents.event_id", text("é\n\"")),
                ("http.response.status_code", Attribute::Number(202)),
            ],
            error: None,
        };
        let deliver = Span {
            name: "deliver",
            kind: Kind::Client,
            id: u64::MAX,
            parent: Parent::Ours(0x0102),
            state: String::new(),
            attributes: Vec::new(),
            error: Some("answered 500".to_owned()),
            ..accept.clone()
        };
        let first = Span { parent: Parent::None, ..deliver.clone() };
        let line = line(&resource("orders", "eu", "pod-0"), &[accept, deliver, first]);
        assert_eq!(line.find('\n'), Some(line.len() - 1), "{line}");

        let version = env!("CARGO_PKG_VERSION");
        let golden = json!({"resourceSpans": [{
            "resource": {"attributes": [
                {"key": "service.name", "value": {"stringValue": "signalbox-dispatcher"}},
                {"key": "service.version", "value": {"stringValue": version}},
                {"key": "host.name", "value": {"stringValue": "pod-0"}},
                {"key": "signalbox.fleet", "value": {"stringValue": "orders"}},
                {"key": "signalbox.region", "value": {"stringValue": "eu"}},
            ]},
            "scopeSpans": [{"scope": {"name": "signalbox", "version": version}, "spans": [
                {
                    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "0000000000000102",
                    "parentSpanId": "b7ad6b7169203331", "traceState": "a=b", "flags": 0x301,
                    "name": "accept", "kind": 2,
                    "startTimeUnixNano": "1790000000000001000", "endTimeUnixNano": "1790000000000002500",
                    "attributes": [
                        {"key": "cloudevents.event_id", "value": {"stringValue": "é\n\""}},
                        {"key": "http.response.status_code", "value": {"intValue": "202"}},
                    ],
                },
                {
                    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "ffffffffffffffff",
                    "parentSpanId": "0000000000000102", "flags": 0x101,
                    "name": "deliver", "kind": 3,
                    "startTimeUnixNano": "1790000000000001000", "endTimeUnixNano": "1790000000000002500",
                    "attributes": [], "status": {"code": 2, "message": "answered 500"},
                },
                {
                    "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "ffffffffffffffff",
                    "flags": 0x001,
                    "name": "deliver", "kind": 3,
                    "startTimeUnixNano": "1790000000000001000", "endTimeUnixNano": "1790000000000002500",
                    "attributes": [], "status": {"code": 2, "message": "answered 500"},
                },
            ]}],
        }]});
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), golden);
    }
}
