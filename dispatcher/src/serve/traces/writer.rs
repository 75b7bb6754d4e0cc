//! The thread that writes spans down. It may be slow or fail: then spans are dropped and counted, and nobody waits.
//! May import `otlp`, and `metrics` for its count.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::otlp::{self, Span};
use crate::serve::metrics::Metrics;

/// Spans that may wait to be written. With the longest attributes that an event may have they take 16 MiB.
const QUEUE: usize = 2048;

/// Most spans of one line.
const LINE_SPANS: usize = 512;

enum Item {
    Span(Box<Span>),
    /// Write what came before, then say so.
    End(oneshot::Sender<()>),
}

/// Takes spans in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    items: mpsc::Sender<Item>,
    metrics: Metrics,
}

impl Queue {
    /// Starts the thread, which writes to `out`.
    pub(super) fn start(out: Box<dyn Write + Send>, resource: Value, metrics: Metrics) -> io::Result<Self> {
        let (items, taken) = mpsc::channel(QUEUE);
        let queue = Self { items, metrics: metrics.clone() };
        thread::Builder::new().name("traces".to_owned()).spawn(move || run(taken, out, &resource, &metrics))?;
        Ok(queue)
    }

    /// Takes a span in, or drops it.
    pub(super) fn push(&self, span: Span) {
        if self.items.try_send(Item::Span(Box::new(span))).is_err() {
            self.metrics.spans_dropped(1);
        }
    }

    /// Resolves when every span so far is written, or after `patience`.
    pub(super) async fn written(&self, patience: Duration) {
        let written = async {
            let (done, written) = oneshot::channel();
            if self.items.send(Item::End(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if tokio::time::timeout(patience, written).await.is_err() {
            tracing::warn!("the traces are not written to their end: whatever takes them is too slow");
        }
    }
}

fn run(mut items: mpsc::Receiver<Item>, mut out: Box<dyn Write + Send>, resource: &Value, metrics: &Metrics) {
    let mut taken = Vec::with_capacity(LINE_SPANS);
    let mut failing = false;
    while items.blocking_recv_many(&mut taken, LINE_SPANS) > 0 {
        let mut ends = Vec::new();
        let mut spans = Vec::with_capacity(taken.len());
        for item in taken.drain(..) {
            match item {
                Item::Span(span) => spans.push(*span),
                Item::End(done) => ends.push(done),
            }
        }
        if !spans.is_empty() {
            let line = otlp::line(resource, &spans);
            let result = out.write_all(line.as_bytes()).and_then(|()| out.flush());
            if let Err(e) = &result {
                metrics.spans_dropped(spans.len() as u64);
                if !failing {
                    tracing::warn!(error = %e, "traces cannot be written: they are dropped until they can");
                }
            }
            failing = result.is_err();
        }
        for done in ends {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{QUEUE, Queue};
    use crate::serve::metrics::Metrics;
    use crate::serve::traces::otlp::{Kind, Parent, Span};
    use serde_json::Value;
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_mins(1);

    /// Says when it is asked to write, and waits to be told what comes of it.
    struct Slow {
        asked: Sender<()>,
        told: Receiver<bool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.asked.send(());
            if !self.told.recv().unwrap_or(true) {
                return Err(io::Error::other("no room"));
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn span() -> Span {
        Span {
            name: "accept",
            kind: Kind::Server,
            trace: 1,
            id: 1,
            parent: Parent::None,
            state: String::new(),
            started_at_us: 0,
            took: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_writer_that_is_slow_or_fails_and_what_is_dropped_counts() {
        let metrics = Metrics::new(&[]);
        let (asked, is_asked) = channel();
        let (tell, told) = channel();
        let written = Arc::default();
        let out = Slow { asked, told, written: Arc::clone(&written) };
        let queue = Queue::start(Box::new(out), Value::Array(Vec::new()), metrics.clone()).unwrap();
        let dropped = || {
            let text = metrics.text(None, 0).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("signalbox_dispatcher_spans_dropped_total "));
            line.unwrap().parse::<usize>().unwrap()
        };

        queue.push(span());
        is_asked.recv().unwrap();
        // The writer has the first, and writes for as long as we like.
        for _ in 0..QUEUE + 5 {
            queue.push(span());
        }
        assert_eq!(dropped(), 5);

        // That one fails, and everything after it is written.
        tell.send(false).unwrap();
        drop(tell);
        queue.written(PATIENCE).await;
        assert_eq!(dropped(), 6);
        let lines = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let spans = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len()
        });
        assert_eq!(spans.sum::<usize>(), QUEUE);
    }
}
