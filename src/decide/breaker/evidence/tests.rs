//! A step of the ramp beside other regions, and how soon to look again.

use super::*;
use crate::fixtures::now;
use crate::fleet::{Attempts, BreakerLook};

fn attempts(delivered: u64, failed: u64) -> Attempts {
    Attempts { delivered, failed }
}

fn seen(sinks: &[(&str, SinkView)]) -> Evidence {
    Evidence {
        reachable: true,
        reach: Reach::Heard,
        unheard: None,
        is_ready: true,
        unready: None,
        sinks: sinks.iter().map(|(name, view)| ((*name).to_owned(), view.clone())).collect(),
        refuses: None,
        refuses_now: 0.0,
        accepts_all: true,
    }
}

fn well() -> SinkView {
    SinkView { delivers: true, tried: attempts(100, 0), ..SinkView::default() }
}

fn failing() -> SinkView {
    SinkView { fails: true, stirs: true, row_ms: 9_000, held: Some(Held::Row), ..SinkView::default() }
}

/// A region in this phase for so many seconds, of which these attempts are known, beside one that sees these sinks.
fn judged(
    (phase, held): (BreakerPhase, u64),
    here: &[(&str, Attempts, SinkView)],
    elsewhere: &[(&str, SinkView)],
) -> Judgement {
    let sinks = here.iter().map(|(name, of, _)| ((*name).to_owned(), *of)).collect();
    let look = BreakerLook { at: now(), accepted: 0, refused: 0, sinks };
    let (here, elsewhere) = (here.iter().map(|(name, _, view)| (*name, view.clone())), seen(elsewhere));
    let memory = BreakerMemory { phase, ..BreakerMemory::serving(now() - Duration::from_secs(held)) };
    let case = Case {
        intent: &BreakerIntent::default(),
        memory: &memory,
        history: &BreakerHistory { looks: vec![look], ..BreakerHistory::default() },
        evidence: &seen(&here.collect::<Vec<_>>()),
        others: vec![("us-east", &elsewhere)],
        now: now(),
    };
    case.judge()
}

#[test]
fn a_sink_that_fails_everywhere_keeps_no_region_from_coming_back() {
    let step = |held| (BreakerPhase::Probing, held);
    let audit = ("audit", attempts(0, 3), failing());
    let judgement = judged(
        step(20),
        &[audit.clone(), ("fulfilment", attempts(40, 0), well())],
        &[("audit", failing()), ("fulfilment", well())],
    );
    assert!(judgement.signs.clean, "{judgement:?}");
    assert_eq!(judgement.suspected, Some(Suspected::SinkEverywhere("audit".to_owned())));
    // Where nothing else is tried, it goes as if nothing were.
    let alone = |held| judged(step(held), std::slice::from_ref(&audit), &[("audit", failing())]).signs.clean;
    assert_eq!([20, 29, 30, 60].map(alone), [false, false, true, true]);
}

#[test]
fn an_outage_is_looked_at_often_only_until_it_has_lasted_long_enough() {
    let young = SinkView { held: None, row_ms: 3_000, ..failing() };
    let after = |phase, view: &SinkView| {
        let here = [("audit", attempts(0, 9), view.clone())];
        judged((phase, 60), &here, &[("audit", failing())]).recheck_after
    };
    assert_eq!(after(BreakerPhase::Serving, &young), Some(Duration::from_millis(250)));
    assert_eq!(after(BreakerPhase::Serving, &failing()), Some(Duration::from_secs(1)));
    assert_eq!(after(BreakerPhase::Tripped, &failing()), None);
}

#[test]
fn a_step_is_clean_where_no_more_fails_than_does_elsewhere() {
    let clean = |failed: u64, elsewhere: Attempts| {
        let here = [("audit", attempts(100 - failed, failed), well())];
        let there = [("audit", SinkView { tried: elsewhere, ..well() })];
        judged((BreakerPhase::Probing, 20), &here, &there).signs.clean
    };
    assert_eq!([5, 6].map(|failed| clean(failed, attempts(100, 0))), [true, false]);
    assert_eq!([15, 16].map(|failed| clean(failed, attempts(90, 10))), [true, false]);
    assert_eq!([5, 6].map(|failed| clean(failed, attempts(4, 5))), [true, false], "too few to say");
}
