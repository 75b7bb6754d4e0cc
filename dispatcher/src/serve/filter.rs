//! Which sinks an event is for: prefixes of `CloudEvents` attributes. Pure.
//!
//! May import the names of `log`, and the crate's `event`.

use signalbox_contract::SinkConfig;

use super::log::SinkSet;
use crate::event::{self, Event};

/// Most attributes that one filter may name.
const MAX_PREFIXES: usize = 16;

/// The filters of all sinks, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Filters {
    sinks: Vec<Vec<(String, String)>>,
    /// No sink has a filter, so no event has to be looked at.
    none: bool,
}

impl Filters {
    /// The filters of these sinks.
    pub(super) fn new(sinks: &[SinkConfig]) -> Self {
        let sinks: Vec<Vec<_>> = sinks.iter().map(|sink| sink.filter.clone().into_iter().collect()).collect();
        let none = sinks.iter().all(Vec::is_empty);
        Self { sinks, none }
    }

    /// The sinks that `event` is not for, unless it is for none.
    pub(super) fn skip(&self, event: &Event) -> Option<SinkSet> {
        if self.none {
            return Some(SinkSet::default());
        }
        let mut skip = SinkSet::default();
        let mut wanted = false;
        for (id, prefixes) in self.sinks.iter().enumerate() {
            let matches = |(name, prefix): &(String, String)| event.get(name).is_some_and(|v| v.starts_with(prefix));
            if prefixes.iter().all(matches) {
                wanted = true;
            } else {
                skip = skip.with(id);
            }
        }
        wanted.then_some(skip)
    }
}

/// Checks the filter of one sink. The error is a sentence that says what to write instead.
pub(super) fn check(sink: &SinkConfig) -> Result<(), String> {
    if sink.filter.len() > MAX_PREFIXES {
        return Err(format!(
            "the filter of sink {} names {} attributes: write {MAX_PREFIXES} at most",
            sink.name,
            sink.filter.len()
        ));
    }
    for (name, prefix) in &sink.filter {
        if !event::is_attribute_name(name) {
            return Err(format!(
                "the filter of sink {} names {name:?}, which is no attribute: write lower-case letters and digits, \
                 such as type",
                sink.name
            ));
        }
        if prefix.chars().any(char::is_control) {
            return Err(format!(
                "the filter of sink {} wants a control character in {name}, which no event has: write a prefix without",
                sink.name
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Filters, check};
    use crate::event::{self, Event};
    use crate::serve::log::SinkSet;
    use signalbox_contract::{Ordering, RetryConfig, SinkConfig};

    fn sink(filter: &[(&str, &str)]) -> SinkConfig {
        SinkConfig {
            name: "a".to_owned(),
            uri: "http://a/".to_owned(),
            timeout_ms: 1,
            max_concurrency: 1,
            retry: RetryConfig { initial_backoff_ms: 1, max_backoff_ms: 1, max_attempts: None },
            ordering: Ordering::PerKey,
            filter: filter.iter().map(|(n, p)| ((*n).to_owned(), (*p).to_owned())).collect(),
            signing_secret_file: None,
        }
    }

    fn event(extra: &[(&'static str, &str)]) -> Event {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [("ce-id", "1"), ("ce-source", "/shop"), ("ce-specversion", "1.0"), ("ce-type", "a.b.c")]
            .iter()
            .chain(extra)
        {
            headers.insert(*name, value.parse().unwrap());
        }
        event::parse(&headers, b"").unwrap()
    }

    fn skip(filters: &[&[(&str, &str)]], event: &Event) -> Option<SinkSet> {
        let sinks: Vec<SinkConfig> = filters.iter().map(|filter| sink(filter)).collect();
        Filters::new(&sinks).skip(event)
    }

    #[test]
    fn an_event_is_for_a_sink_when_every_prefix_matches() {
        let plain = event(&[]);
        assert_eq!(skip(&[&[]], &plain), Some(SinkSet::default()));
        assert_eq!(skip(&[&[("type", "a.b")]], &plain), Some(SinkSet::default()));
        assert_eq!(skip(&[&[("type", "a.b.c")]], &plain), Some(SinkSet::default()));
        assert_eq!(skip(&[&[("type", "a.b.c.d")]], &plain), None);
        assert_eq!(skip(&[&[("type", "b")]], &plain), None);
        assert_eq!(skip(&[&[("type", "a"), ("source", "/shop")]], &plain), Some(SinkSet::default()));
        assert_eq!(skip(&[&[("type", "a"), ("source", "/other")]], &plain), None);
    }

    #[test]
    fn an_attribute_that_is_missing_matches_nothing_and_one_that_is_there_matches_the_empty_prefix() {
        let filter: &[(&str, &str)] = &[("tenant", "")];
        assert_eq!(skip(&[filter], &event(&[])), None);
        assert_eq!(skip(&[filter], &event(&[("ce-tenant", "x")])), Some(SinkSet::default()));
        assert_eq!(skip(&[filter], &event(&[("ce-tenant", "")])), Some(SinkSet::default()));
    }

    #[test]
    fn each_sink_is_decided_on_its_own() {
        let filters: &[&[(&str, &str)]] = &[&[("type", "x")], &[], &[("type", "a")], &[("subject", "")]];
        assert_eq!(skip(filters, &event(&[])), Some(SinkSet::default().with(0).with(3)));
    }

    #[test]
    fn a_filter_that_no_event_can_match_is_refused_with_what_to_write() {
        check(&sink(&[("type", "a"), ("x1", "")])).unwrap();
        let many: Vec<String> = (0..17).map(|n| format!("a{n}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
        for filter in [&[("Type", "a")][..], &[("ce-type", "a")], &[("data", "")], &[("", "")], &[("a", "\n")], &many] {
            let sentence = check(&sink(filter)).unwrap_err();
            assert!(sentence.contains("write"), "{sentence}");
        }
    }
}
