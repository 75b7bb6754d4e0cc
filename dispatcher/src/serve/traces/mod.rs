//! What became of single events, for people who look for one: spans of OpenTelemetry, in a file that its Collector
//! reads.
//!
//! ```text
//! producer's span <--parent-- accept (SERVER) <--parent-- deliver (CLIENT), one for each attempt and sink
//! ```
//!
//! An event is one of a trace by its attribute `traceparent`. One without is the first of a trace of its own, whose id
//! is the event's identity. The event goes on to its sinks as it came: what a sink does with it belongs to the span in
//! which the event was made, not to that of an attempt.
//!
//! The span of an acceptance is named by the event, so that deliveries know it. A request that is not accepted is named
//! at random, as nothing comes of it; one that is sent and accepted twice leaves two spans of one name. Requests that
//! are turned away before their event is read leave none: overload must cost nothing here, and is counted elsewhere.
//!
//! May import `answer`, `clock`, `metrics`, and the crate's `event` and `random`.

mod context;
mod otlp;
mod writer;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::StatusCode;
use signalbox_contract::ShardConfig;

use super::answer::Answer;
use super::clock;
use super::metrics::Metrics;
use crate::event::Event;
use crate::random;
use context::{Context, Sampler};
use otlp::{Attribute, Kind, Parent, Span};
use writer::Queue;

/// What `dispatcher serve` is told about traces.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// Where spans are written to: a file, or `-` for stdout.
    pub file: PathBuf,
    /// Share of the events without a `traceparent` that leave spans.
    pub ratio: f64,
}

/// Where spans go, if they go anywhere. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Traces(Option<Arc<On>>);

struct On {
    sampler: Sampler,
    queue: Queue,
}

/// When something began.
#[derive(Clone, Copy)]
pub(super) struct Start {
    at_us: i64,
    at: Instant,
}

/// A request whose events are being accepted: those that leave spans.
pub(super) struct Accepting {
    on: Arc<On>,
    start: Start,
    batch: usize,
    sampled: Vec<(Context, Event)>,
}

/// An attempt to deliver an event that leaves spans.
pub(super) struct Attempting {
    on: Arc<On>,
    start: Start,
    context: Context,
    event: Event,
    sink: String,
    attempt: u32,
}

impl Traces {
    /// Traces as `options` say, or none.
    pub(super) fn start(
        options: Option<&TraceOptions>,
        config: &ShardConfig,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let Some(TraceOptions { file, ratio }) = options else { return Ok(Self(None)) };
        let host = rustix::system::uname();
        let resource = otlp::resource(&config.fleet, &config.region, &host.nodename().to_string_lossy());
        let queue = Queue::start(open(file)?, resource, metrics.clone()).context("no thread for the traces")?;
        let sampler = Sampler::new(*ratio, &config.fleet, &config.region);
        Ok(Self(Some(Arc::new(On { sampler, queue }))))
    }

    /// Something begins that may leave spans.
    pub(super) fn begin(&self) -> Option<Start> {
        self.0.as_ref().map(|_| Start { at_us: clock::now_us(), at: Instant::now() })
    }

    /// These events of one request, which began then, are about to be accepted or not.
    pub(super) fn accepting(&self, start: Option<Start>, events: &[Event]) -> Option<Accepting> {
        let (on, start) = self.0.as_ref().zip(start)?;
        let sampled = events.iter().filter_map(|event| Some((on.sampler.sample(event)?, event.clone()))).collect();
        Some(Accepting { on: on.clone(), start, batch: events.len(), sampled })
    }

    /// `event` is about to be sent to `sink`.
    pub(super) fn attempting(&self, event: &Event, sink: &str, attempt: u32) -> Option<Attempting> {
        let on = self.0.as_ref()?;
        let context = on.sampler.sample(event)?;
        let start = self.begin()?;
        Some(Attempting { on: on.clone(), start, context, event: event.clone(), sink: sink.to_owned(), attempt })
    }

    /// Resolves when everything is written, or after `patience`.
    pub(super) async fn written(&self, patience: Duration) {
        if let Some(on) = &self.0 {
            on.queue.written(patience).await;
        }
    }
}

impl Accepting {
    /// The request is answered so.
    pub(super) fn ended(self, status: StatusCode) {
        let Self { on, start, batch, sampled } = self;
        for (context, event) in sampled {
            let id = if status.is_success() { context.accept } else { random_id() };
            let parent = context.producer.map_or(Parent::None, Parent::Remote);
            let mut span = start.span("accept", Kind::Server, &context, id, parent, &event);
            span.attributes.push(("http.response.status_code", Attribute::Number(status.as_u16().into())));
            span.attributes.push(("messaging.batch.message_count", Attribute::Number(batch as u64)));
            // What the producer did wrong is no error of the one who tells it, by the conventions.
            span.error = status.is_server_error().then(|| format!("answered {}", status.as_u16()));
            on.queue.push(span);
        }
    }
}

impl Attempting {
    /// This came of it.
    pub(super) fn ended(self, answer: &Answer) {
        let Self { on, start, context, event, sink, attempt } = self;
        let parent = Parent::Ours(context.accept);
        let mut span = start.span("deliver", Kind::Client, &context, random_id(), parent, &event);
        if let Some(status) = answer.status() {
            span.attributes.push(("http.response.status_code", Attribute::Number(status.as_u16().into())));
        }
        span.attributes.push(("signalbox.sink", Attribute::Text(sink)));
        span.attributes.push(("signalbox.outcome", Attribute::Text(format!("{:?}", answer.outcome()))));
        span.attributes.push(("signalbox.attempt", Attribute::Number(attempt.into())));
        span.error = answer.failure();
        on.queue.push(span);
    }
}

impl Start {
    /// A span from then until now.
    fn span(self, name: &'static str, kind: Kind, context: &Context, id: u64, parent: Parent, event: &Event) -> Span {
        let named = [
            ("id", "cloudevents.event_id"),
            ("source", "cloudevents.event_source"),
            ("type", "cloudevents.event_type"),
        ];
        let attribute = |name| Attribute::Text(event.get(name).unwrap_or_default().to_owned());
        Span {
            name,
            kind,
            trace: context.trace,
            id,
            parent,
            state: context.state.clone(),
            started_at_us: self.at_us,
            took: self.at.elapsed(),
            attributes: named.into_iter().map(|(name, key)| (key, attribute(name))).collect(),
            error: None,
        }
    }
}

/// Spans are added to a file that is there.
fn open(file: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let opened = File::options().append(true).create(true).open(file);
    Ok(Box::new(opened.with_context(|| {
        format!("traces cannot be written to {}: name a file in a directory that is there and ours", file.display())
    })?))
}

fn random_id() -> u64 {
    random::next().max(1)
}
