//! Which trace an event belongs to, and whether its spans are kept. Pure. May import the crate's `event`.
//!
//! Nothing of this is stored with the event: whoever has the event comes to the same trace, the same span of its
//! acceptance and the same decision. So acceptance and every delivery agree, also after a restart.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::event::{self, Event};

/// Bits of a trace id that are random, by the specification of trace context. They decide about sampling.
const RANDOM_BITS: u64 = (1 << 56) - 1;

/// Where in a trace an event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    /// The span in which the producer made the event, if it said so.
    pub(super) producer: Option<u64>,
    /// The span of its acceptance.
    pub(super) accept: u64,
    /// What the producer's tracing wants to have passed on.
    pub(super) state: String,
}

/// The attribute `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TraceParent {
    trace: u128,
    span: u64,
    sampled: bool,
}

/// Decides which events leave spans.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    /// Events whose random bits are below it leave none.
    threshold: u64,
    /// Two fleets that an event goes through must not call their spans the same.
    place: u64,
}

impl Sampler {
    /// Keeps `ratio` of the events that say nothing themselves, for a shard of this fleet and region.
    pub(super) fn new(ratio: f64, fleet: &str, region: &str) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "a power of two is exact")]
        let all = (RANDOM_BITS + 1) as f64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2^56")]
        let threshold = ((1.0 - ratio.clamp(0.0, 1.0)) * all) as u64;
        Self { threshold, place: xxh3_64(format!("{fleet}\n{region}").as_bytes()) }
    }

    /// The place of `event` in its trace, if its spans are to be kept. What the producer has decided holds.
    pub(super) fn sample(&self, event: &Event) -> Option<Context> {
        let parent = event.get("traceparent").and_then(parse);
        let sampled = |identity: u128| u64::try_from(identity & u128::from(RANDOM_BITS)).unwrap_or(0) >= self.threshold;
        let identity = event::identity(event);
        let accept = xxh3_64_with_seed(&identity.to_le_bytes(), self.place).max(1);
        match parent {
            Some(TraceParent { trace, span, sampled: true }) => {
                let state = event.get("tracestate").unwrap_or_default().to_owned();
                Some(Context { trace, producer: Some(span), accept, state })
            }
            None if sampled(identity) => {
                Some(Context { trace: identity, producer: None, accept, state: String::new() })
            }
            Some(TraceParent { sampled: false, .. }) | None => None,
        }
    }
}

/// Reads a `traceparent` by the rules of W3C Trace Context: version, trace, span and flags, in lower-case hex. A
/// version that is not known yet may have more after that.
fn parse(value: &str) -> Option<TraceParent> {
    let mut parts = value.splitn(5, '-');
    let version = hex(parts.next()?, 2)?;
    let trace = hex(parts.next()?, 32)?;
    let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
    let flags = hex(parts.next()?, 2)?;
    let more = parts.next().is_some();
    let usable = version != 0xff && (version > 0 || !more) && trace != 0 && span != 0;
    usable.then_some(TraceParent { trace, span, sampled: flags & 1 == 1 })
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    let plain = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Sampler, TraceParent, parse};
    use crate::event::{Event, identity};

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn event(id: &str, more: &[(&str, &str)]) -> Event {
        let attributes = [&[("specversion", "1.0"), ("id", id), ("source", "/s"), ("type", "t")], more].concat();
        Event::unchecked(&attributes, b"").unwrap()
    }

    #[test]
    fn a_traceparent_is_read_and_a_bad_one_is_none() {
        let parent = |sampled| TraceParent {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
            sampled,
        };
        for (value, expected) in [
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(parent(true))),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03", Some(parent(true))),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", Some(parent(false))),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-02", Some(parent(false))),
            // Of a version to come.
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some(parent(true))),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future", Some(parent(true))),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x", None),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-", None),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
            ("00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01", None),
            ("00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", None),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é", None),
            ("0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
            ("", None),
        ] {
            assert_eq!(parse(value), expected, "{value}");
        }
    }

    #[test]
    fn what_the_producer_has_decided_holds_whatever_the_ratio() {
        let parent = |flags| format!("00-{TRACE}-b7ad6b7169203331-{flags}");
        let (all, none) = (Sampler::new(1.0, "f", "r"), Sampler::new(0.0, "f", "r"));
        let sampled = none.sample(&event("1", &[("traceparent", &parent("01")), ("tracestate", "a=b")])).unwrap();
        assert_eq!(format!("{:032x}", sampled.trace), TRACE);
        assert_eq!(sampled.producer, Some(0xb7ad_6b71_6920_3331));
        assert_eq!(sampled.state, "a=b");
        assert_eq!(all.sample(&event("1", &[("traceparent", &parent("00"))])), None);
        // One that makes no sense says nothing.
        let bad = event("1", &[("traceparent", "mine")]);
        assert_eq!(all.sample(&bad).map(|context| context.trace), Some(identity(&bad)));
        assert_eq!(none.sample(&bad), None);
    }

    #[test]
    fn the_same_event_is_decided_about_in_the_same_way_and_as_often_as_asked() {
        let (half, more) = (Sampler::new(0.5, "f", "r"), Sampler::new(0.75, "f", "r"));
        let mut kept = 0;
        for id in 0..2000 {
            let first = half.sample(&event(&id.to_string(), &[]));
            assert_eq!(first, Sampler::new(0.5, "f", "r").sample(&event(&id.to_string(), &[("subject", "x")])));
            // A higher ratio keeps what a lower one does.
            assert!(first.is_none() || first == more.sample(&event(&id.to_string(), &[])));
            kept += u32::from(first.is_some());
        }
        assert!((900..1100).contains(&kept), "{kept} of 2000");
    }

    #[test]
    fn another_fleet_names_its_spans_differently() {
        let accept = |fleet, region| Sampler::new(1.0, fleet, region).sample(&event("1", &[])).unwrap().accept;
        assert_eq!(accept("a", "b"), accept("a", "b"));
        assert_ne!(accept("a", "b"), accept("a", "c"));
        assert_ne!(accept("a", "b"), accept("b", "b"));
    }
}
