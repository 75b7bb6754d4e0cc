//! How long an answer of a sink is waited for before its absence says something. Pure. May import nothing of this crate.
//!
//! ```text
//! sent . . . . answered, usually . . . . . . [patience] . . . . . . . . [timeout]
//!                                             no answer is late          no answer is a failure
//! ```
//!
//! Half of the sink's timeout would be too long to find an outage in time, and a fixed time too short for a sink that is
//! slow and well. So it goes by what is usual for this one; where nothing is known, no absence says anything.

use std::time::Duration;

/// What is waited at least: a pause of a sink that is well, its garbage collection say, is shorter.
pub(super) const LEAST: Duration = Duration::from_millis(750);

/// How many times the usual is late.
const TIMES: u32 = 2;

/// Weight of the newest answer in what is usual.
const NEWEST: f64 = 0.1;

/// What is usual of one sink.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    /// Seconds that an answer takes.
    usual: Option<f64>,
}

impl Patience {
    /// An answer took so long.
    pub(super) fn answered(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.usual = Some(self.usual.map_or(took, |usual| usual + NEWEST * (took - usual)));
    }

    /// From [`LEAST`] on. Nothing as long as the sink has not answered.
    pub(super) fn time(&self) -> Option<Duration> {
        self.usual.map(|usual| Duration::from_secs_f64(usual).saturating_mul(TIMES).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::{LEAST, Patience};
    use std::time::Duration;

    /// After so many answers that took so many milliseconds.
    fn patience(answers: &[(u64, u64)]) -> Option<Duration> {
        let mut patience = Patience::default();
        for (times, ms) in answers {
            (0..*times).for_each(|_| patience.answered(Duration::from_millis(*ms)));
        }
        patience.time()
    }

    #[test]
    fn a_slow_sink_is_waited_for_longer_than_a_fast_one_and_one_slow_answer_among_many_changes_little() {
        assert_eq!(patience(&[]), None);
        assert_eq!(patience(&[(1000, 3)]), Some(LEAST));
        assert_eq!(patience(&[(1, 3500)]), Some(Duration::from_secs(7)));
        assert_eq!(patience(&[(1000, 3), (1, 3000)]), Some(LEAST));
        let forgotten = patience(&[(100, 4000), (100, 3)]).unwrap();
        assert_eq!(forgotten, LEAST, "what is usual is what is usual now");
    }
}
