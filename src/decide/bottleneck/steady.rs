//! What is told: not what one look found, but what most looks of the last half minute did.
//!
//! ```text
//! looks   N N C N C C C C          N: Nothing, C: Cpu
//! told    N N N N N N C C          C once it has most of the looks, and N no more than a third
//! ```

use std::time::Duration;

use jiff::Timestamp;

use super::since;
use crate::fleet::{Known, Limit, Look, RegionHistory};

/// Most looks that are remembered.
pub(super) const MOST_LOOKS: usize = 12;
/// Looks that come sooner are not counted: they see the same reports.
const SPACING: Duration = Duration::from_secs(2);
/// How far back looks count.
const WINDOW: Duration = Duration::from_secs(30);
/// So many looks say something.
const ENOUGH: usize = 4;
/// For so long nothing is said of what could not be told from the start.
const PATIENCE: Duration = Duration::from_mins(1);

/// Takes in what a look found. Tells whether something else is told now.
pub(super) fn look(history: &mut RegionHistory, found: Option<Limit>, now: Timestamp) -> bool {
    let looks = &mut history.looks;
    looks.retain(|look| look.at <= now && since(look.at, now) <= WINDOW);
    if looks.last().is_some_and(|last| since(last.at, now) < SPACING) {
        return false;
    }
    if looks.len() >= MOST_LOOKS {
        looks.remove(0);
    }
    looks.push(Look { at: now, limit: found });
    if looks.len() < ENOUGH {
        return false;
    }
    let share = |limit: Option<&Limit>| looks.iter().filter(|look| look.limit.as_ref() == limit).count();
    let told_share = history.told.is().map_or(0, |told| share(Some(told)));
    // Of those found as often, the one found last.
    let Some(most) = looks.iter().map(|look| look.limit.as_ref()).max_by_key(|limit| share(*limit)) else {
        return false;
    };
    if share(most) * 2 <= looks.len() || told_share * 3 > looks.len() {
        return false;
    }
    let early = history.since.is_none_or(|began| since(began, now) < PATIENCE);
    let told = match most {
        Some(limit) => Known::Is(limit.clone()),
        None if history.told == Known::NotYet && early => Known::NotYet,
        None => Known::Unknown,
    };
    let changed = told != history.told;
    history.told = told;
    changed
}
