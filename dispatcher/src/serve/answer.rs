//! What came of an attempt: in a sentence for people, and in a verdict for the machine. Pure. May import the label of
//! `metrics`.

use std::time::Duration;

use http::StatusCode;

use super::metrics::AttemptOutcome;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// 2xx.
    Delivered(StatusCode),
    /// 429 or 503, with the wait that the sink asked for, if it did.
    Throttled(StatusCode, Option<Duration>),
    /// Any other status.
    Refused(StatusCode),
    /// No head of an answer within the timeout.
    TimedOut(Duration),
    /// No connection, or it broke: the reason.
    Unreachable(String),
}

/// What an answer says about the event and its sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The event is delivered.
    Taken,
    /// This event is not wanted. The sink is well.
    Refused,
    /// The sink takes nothing for so long. It is neither well nor unwell.
    Throttled(Duration),
    /// The sink fails.
    Failed,
    /// The sink fails by being too slow.
    TimedOut,
    /// The sink is gone, for good.
    Gone,
}

impl Answer {
    /// What it says.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Delivered(_) => Verdict::Taken,
            Self::Throttled(_, Some(wait)) => Verdict::Throttled(*wait),
            Self::Throttled(StatusCode::TOO_MANY_REQUESTS, None) => Verdict::Throttled(Duration::ZERO),
            Self::Throttled(_, None) | Self::Unreachable(_) => Verdict::Failed,
            Self::Refused(StatusCode::GONE) => Verdict::Gone,
            Self::Refused(status) if status.is_server_error() => Verdict::Failed,
            Self::Refused(_) => Verdict::Refused,
            Self::TimedOut(_) => Verdict::TimedOut,
        }
    }

    /// What to tell people, unless it is a success. Without the payload.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Delivered(_) => None,
            Self::Throttled(status, Some(wait)) => {
                Some(format!("answered {} and asked to wait {}", status.as_u16(), seconds(*wait)))
            }
            Self::Refused(status) if status.is_redirection() => {
                Some(format!("answered {}: redirects are not followed", status.as_u16()))
            }
            Self::Refused(StatusCode::GONE) => Some("answered 410: gone".to_owned()),
            Self::Throttled(status, None) | Self::Refused(status) => Some(format!("answered {}", status.as_u16())),
            Self::TimedOut(timeout) => Some(format!("no answer within {}", seconds(*timeout))),
            Self::Unreachable(why) => Some(why.clone()),
        }
    }

    /// The status, if there was an answer.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Delivered(status) | Self::Throttled(status, _) | Self::Refused(status) => Some(*status),
            Self::TimedOut(_) | Self::Unreachable(_) => None,
        }
    }

    /// As it is counted.
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Self::Delivered(_) => AttemptOutcome::Delivered,
            Self::Throttled(..) => AttemptOutcome::Throttled,
            Self::Refused(status) if status.is_server_error() => AttemptOutcome::Failed,
            Self::Refused(_) => AttemptOutcome::Refused,
            Self::TimedOut(_) => AttemptOutcome::TimedOut,
            Self::Unreachable(_) => AttemptOutcome::Unreachable,
        }
    }
}

/// `Retry-After` as seconds or as an HTTP date.
pub(super) fn retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Duration::try_from(now.until(date.timestamp()).ok()?).unwrap_or_default())
}

/// 5s, 1.5s, 0.05s.
fn seconds(span: Duration) -> String {
    format!("{}s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Verdict, retry_after};
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn only_what_is_the_sinks_own_fault_counts_against_it() {
        let refused = |status: u16| Answer::Refused(StatusCode::from_u16(status).unwrap());
        let wait = Duration::from_secs(3);
        for (answer, verdict) in [
            (Answer::Delivered(StatusCode::OK), Verdict::Taken),
            (refused(302), Verdict::Refused),
            (refused(400), Verdict::Refused),
            (refused(404), Verdict::Refused),
            (refused(410), Verdict::Gone),
            (refused(500), Verdict::Failed),
            (refused(504), Verdict::Failed),
            (Answer::Throttled(StatusCode::TOO_MANY_REQUESTS, Some(wait)), Verdict::Throttled(wait)),
            (Answer::Throttled(StatusCode::SERVICE_UNAVAILABLE, Some(wait)), Verdict::Throttled(wait)),
            (Answer::Throttled(StatusCode::TOO_MANY_REQUESTS, None), Verdict::Throttled(Duration::ZERO)),
            (Answer::Throttled(StatusCode::SERVICE_UNAVAILABLE, None), Verdict::Failed),
            (Answer::TimedOut(wait), Verdict::TimedOut),
            (Answer::Unreachable("connection refused".to_owned()), Verdict::Failed),
        ] {
            assert_eq!(answer.verdict(), verdict, "{answer:?}");
            assert_eq!(answer.failure().is_none(), verdict == Verdict::Taken, "{answer:?}");
        }
    }
}
