//! Where a replay may put letters, and when: for their own sink, and only as far as producers have room. Pure.

use std::time::Duration;

use signalbox_contract::ShardConfig;

use crate::serve::clock;
use crate::serve::log::{LogStats, SinkSet};

/// Whether there is such a sink now.
pub(super) fn configured(config: &ShardConfig, sink: &str) -> bool {
    config.sinks.iter().any(|configured| configured.name == sink)
}

/// All sinks but this one.
pub(super) fn all_but(config: &ShardConfig, sink: &str) -> SinkSet {
    let others = config.sinks.iter().enumerate().filter(|(_, other)| other.name != sink);
    others.fold(SinkSet::default(), |set, (id, _)| set.with(id))
}

/// Why so many events have to wait, if they have to: half of each limit is for producers. What alone is above that
/// goes into an empty backlog.
pub(super) fn full(config: &ShardConfig, stats: &LogStats, events: u64, bytes: u64, now_us: i64) -> Option<String> {
    if stats.events == 0 {
        return None;
    }
    let age = stats.oldest_accepted_at_us.map_or(Duration::ZERO, |at| clock::since(at, now_us));
    let over = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value > limit / 2);
    let what = if over(Some(config.backlog_limit_bytes), stats.bytes.saturating_add(bytes)) {
        "bytes"
    } else if over(config.backlog_limit_events, stats.events.saturating_add(events)) {
        "events"
    } else if over(config.backlog_limit_age_ms, u64::try_from(age.as_millis()).unwrap_or(u64::MAX)) {
        "age"
    } else {
        return None;
    };
    Some(format!("the backlog to be below half of its limit of {what}"))
}

#[cfg(test)]
mod tests {
    use super::{all_but, full};
    use crate::serve::log::LogStats;
    use signalbox_contract::ShardConfig;

    fn config() -> ShardConfig {
        let sink = |name| {
            serde_json::json!({"name": name, "uri": "http://a/", "timeoutMs": 1, "maxConcurrency": 1,
                "retry": {"initialBackoffMs": 1, "maxBackoffMs": 1}})
        };
        serde_json::from_value(serde_json::json!({
            "fleet": "f", "region": "r", "sinks": [sink("a"), sink("b"), sink("c")],
            "backlogLimitBytes": 100, "backlogLimitEvents": 10, "backlogLimitAgeMs": 1000, "maxEventBytes": 10
        }))
        .unwrap()
    }

    #[test]
    fn a_letter_goes_back_to_its_own_sink_alone() {
        let skip = all_but(&config(), "b");
        assert_eq!(skip.iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn half_of_each_limit_is_for_producers() {
        let stats = LogStats {
            events: 4,
            bytes: 45,
            oldest_accepted_at_us: Some(0),
            sinks: vec![],
            lost: 0,
            end: 4,
            departed: 0,
        };
        assert_eq!(full(&config(), &stats, 1, 5, 500_000), None);
        // A clock that was set back makes no age.
        assert_eq!(full(&config(), &stats, 1, 5, i64::MIN), None);
        for (word, stats, now_us) in [
            ("bytes", LogStats { bytes: 46, ..stats.clone() }, 0),
            ("events", LogStats { events: 5, ..stats.clone() }, 0),
            ("age", stats.clone(), i64::MAX),
        ] {
            let why = full(&config(), &stats, 1, 5, now_us).unwrap();
            assert!(why.ends_with(word), "{why}");
        }
        let unlimited = ShardConfig { backlog_limit_events: None, backlog_limit_age_ms: None, ..config() };
        let stats = LogStats { events: u64::MAX, ..stats };
        assert_eq!(full(&unlimited, &stats, 1, 5, i64::MAX), None);
        let empty =
            LogStats { events: 0, bytes: 0, oldest_accepted_at_us: None, sinks: vec![], lost: 0, end: 0, departed: 0 };
        assert_eq!(full(&config(), &empty, 1, 1000, 0), None, "or it would wait for ever");
    }
}
