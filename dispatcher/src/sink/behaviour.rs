//! How a sink is told to behave. Pure.

use serde::{Deserialize, Serialize};

/// By default every event is answered 200 at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behaviour {
    /// Status of the answers that fail. 200 to 599, default 503.
    pub status: u16,
    /// Share of the events that fail, 0 to 1, default 0.
    pub fail_ratio: f64,
    /// Milliseconds before each answer, default 0.
    pub delay_ms: u64,
    /// Never answer, default false.
    pub hang: bool,
    /// `Retry-After` of the answers that fail, in seconds. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { status: 503, fail_ratio: 0.0, delay_ms: 0, hang: false, retry_after_seconds: None }
    }
}

impl Behaviour {
    /// Refuses what cannot be done, in a sentence.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.fail_ratio) {
            return Err(format!("failRatio is {}: write a number between 0 and 1", self.fail_ratio));
        }
        if !(200..=599).contains(&self.status) {
            return Err(format!("status is {}: write one between 200 and 599", self.status));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Behaviour;

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_unknown_is_refused() {
        let given: Behaviour = serde_json::from_str(r#"{"failRatio":0.5}"#).unwrap();
        assert_eq!(given, Behaviour { fail_ratio: 0.5, ..Behaviour::default() });
        assert!(serde_json::from_str::<Behaviour>(r#"{"failRate":0.5}"#).is_err());
        assert!(Behaviour { fail_ratio: f64::NAN, ..given }.check().is_err());
        assert!(Behaviour { status: 99, ..given }.check().is_err());
    }
}
