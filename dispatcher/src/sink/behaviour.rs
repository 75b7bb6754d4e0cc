//! How a sink is told to behave. Pure.

use serde::{Deserialize, Serialize};

/// By default every event is answered 200 at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// Status of the answers that fail. 200 to 599, default 503.
    pub status: u16,
    /// Share of the events that fail, 0 to 1, default 0.
    pub fail_ratio: f64,
    /// Statuses of the answers one after the other, and again from the first. An event that is answered 2xx is taken.
    /// Exclusive with `failRatio`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status_sequence: Vec<u16>,
    /// Milliseconds before each answer, default 0.
    pub delay_ms: u64,
    /// Milliseconds before each byte of an answer's body, which then has 16. The head comes at once. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_delay_ms: Option<u64>,
    /// Never answer, default false.
    pub hang: bool,
    /// Close the connection instead of answering, default false.
    pub close_connections: bool,
    /// `Retry-After` of the answers that fail, in seconds. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// Most events per second that are taken. Those above are answered 429 with `Retry-After`. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate_per_second: Option<f64>,
    /// Which events all of this is for. The others are answered 200 at once. Default: every event.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub only: Option<Match>,
}

/// Which events are meant. What is left out fits every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// What `type` begins with.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What `source` begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `partitionkey`, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            status: 503,
            fail_ratio: 0.0,
            status_sequence: Vec::new(),
            delay_ms: 0,
            byte_delay_ms: None,
            hang: false,
            close_connections: false,
            retry_after_seconds: None,
            max_rate_per_second: None,
            only: None,
        }
    }
}

impl Match {
    /// Whether an event with these attributes is meant.
    pub fn fits(&self, event_type: &str, source: &str, key: Option<&str>) -> bool {
        self.event_type.as_ref().is_none_or(|prefix| event_type.starts_with(prefix.as_str()))
            && self.source.as_ref().is_none_or(|prefix| source.starts_with(prefix.as_str()))
            && self.key.as_ref().is_none_or(|wanted| key == Some(wanted.as_str()))
    }
}

impl Behaviour {
    /// Refuses what cannot be done, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.fail_ratio) {
            return Err(format!("failRatio is {}: write a number between 0 and 1", self.fail_ratio));
        }
        if let Some(status) =
            self.status_sequence.iter().chain([&self.status]).find(|status| !(200..=599).contains(*status))
        {
            return Err(format!("status is {status}: write one between 200 and 599"));
        }
        if self.fail_ratio > 0.0 && !self.status_sequence.is_empty() {
            return Err("failRatio and statusSequence exclude each other: leave one out".to_owned());
        }
        if let Some(rate) = self.max_rate_per_second.filter(|rate| !(rate.is_finite() && *rate > 0.0)) {
            return Err(format!("maxRatePerSecond is {rate}: write a number above 0, or leave it out"));
        }
        Ok(())
    }

    /// The status that the `turn`-th event gets. `chance` is uniform from 0 to below 1.
    pub fn status_of(&self, turn: u64, chance: f64) -> u16 {
        let length = u64::try_from(self.status_sequence.len()).unwrap_or(u64::MAX);
        if length > 0 {
            let at = usize::try_from(turn % length).unwrap_or(0);
            return self.status_sequence.get(at).copied().unwrap_or(200);
        }
        if chance < self.fail_ratio { self.status } else { 200 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Behaviour, Match};

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused() {
        let given: Behaviour = serde_json::from_str(r#"{"failRatio":0.5}"#).unwrap();
        assert_eq!(given, Behaviour { fail_ratio: 0.5, ..Behaviour::default() });
        assert!(serde_json::from_str::<Behaviour>(r#"{"failRate":0.5}"#).is_err());
        for wrong in [
            Behaviour { fail_ratio: f64::NAN, ..given.clone() },
            Behaviour { status: 99, ..given.clone() },
            Behaviour { status_sequence: vec![200], ..given.clone() },
            Behaviour { status_sequence: vec![200, 700], ..Behaviour::default() },
            Behaviour { max_rate_per_second: Some(0.0), ..given.clone() },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        assert!(given.check().is_ok());
    }

    #[test]
    fn a_sequence_of_statuses_begins_again_at_its_end() {
        let behaviour = Behaviour { status_sequence: vec![500, 503, 200], ..Behaviour::default() };
        let statuses: Vec<u16> = (0..5).map(|turn| behaviour.status_of(turn, 0.0)).collect();
        assert_eq!(statuses, [500, 503, 200, 500, 503]);
        let half = Behaviour { fail_ratio: 0.5, ..Behaviour::default() };
        assert_eq!([half.status_of(0, 0.49), half.status_of(0, 0.5)], [503, 200]);
    }

    #[test]
    fn an_event_is_meant_when_everything_fits() {
        let only: Match = serde_json::from_str(r#"{"type":"order.","key":"a"}"#).unwrap();
        assert!(only.fits("order.made", "/s", Some("a")));
        assert!(!only.fits("order.made", "/s", Some("ab")) && !only.fits("order.made", "/s", None));
        assert!(!only.fits("reorder.", "/s", Some("a")));
        assert!(Match::default().fits("", "", None));
    }
}
