//! How far shares move now: toward their goals, and no faster than capacity appears. Pure.
//!
//! ```text
//! those below their goal grow into their room --> what they have no room for
//!                                                  1. stays with those above their goal, but for those that must let go
//!                                                  2. goes where room is left, whatever the goal
//!                                                  3. goes to all by their goals: it waits there
//! ```
//!
//! A share moves only toward its goal, but for what a region lets go of that cannot be reached. Shares grow by whole
//! percents, so that a rate that flutters does not move them with every look.

use super::Region;
use crate::fleet::Known;

/// So much of what its ready shards can settle may be led to a region, in percent.
const ROOM_PERCENT: u64 = 85;
/// What a share grows by at least, in thousandths, unless less takes it to its goal.
const STEP: u32 = 10;

/// How one share may move. Shares are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// Where it is to be in the end. All of them sum up to 1000.
    pub(super) goal: u32,
    /// Where it is.
    pub(super) before: u32,
    /// Up to where there is room. `None`: no limit is known.
    pub(super) room: Option<u32>,
    /// It keeps nothing, whether or not others have room.
    pub(super) lets_go: bool,
}

/// Events a second that so many shards may be led.
pub(super) fn room_per_second(ready: u32, per_shard: u64) -> u64 {
    u64::from(ready).saturating_mul(per_shard) / 100 * ROOM_PERCENT
        + u64::from(ready).saturating_mul(per_shard) % 100 * ROOM_PERCENT / 100
}

/// The share up to which there is room in a region, where so much arrives at all together.
pub(super) fn room(region: &Region<'_>, total: Known<u64>) -> Option<u32> {
    match (total, region.per_shard) {
        // Nobody there to take it.
        _ if region.ready == 0 => Some(0),
        // It is known in a moment.
        (Known::NotYet, _) => Some(0),
        (Known::Unknown | Known::Is(0), _) | (_, None) => None,
        (Known::Is(total), Some(per_shard)) => {
            let share = u128::from(room_per_second(region.ready, per_shard)) * 1_000 / u128::from(total);
            Some(u32::try_from(share.min(1_000)).unwrap_or(1_000))
        }
    }
}

/// Where shares are from now on.
pub(super) fn shares(moves: &[Move]) -> Vec<u32> {
    let mut shares: Vec<u32> = moves.iter().map(Move::grown).collect();
    let rest = |shares: &[u32]| 1_000_u32.saturating_sub(shares.iter().sum());
    let some_goal = moves.iter().any(|step| step.goal > 0);
    if !some_goal {
        return vec![0; moves.len()];
    }
    let kept = |step: &Move, share: u32| if step.lets_go { 0 } else { step.before.saturating_sub(share) };
    let slack: Vec<u32> = moves.iter().zip(&shares).map(|(step, share)| kept(step, *share)).collect();
    spread(&mut shares, rest, &slack);
    let open = |step: &Move, share: u32| match step.room {
        _ if step.goal == 0 => 0,
        Some(room) => room.saturating_sub(share),
        None => 1_000 - share.min(1_000),
    };
    let slack: Vec<u32> = moves.iter().zip(&shares).map(|(step, share)| open(step, *share)).collect();
    spread(&mut shares, rest, &slack);
    let left = rest(&shares);
    let by_goal = super::goal::permilles(&moves.iter().map(|step| u64::from(step.goal)).collect::<Vec<_>>());
    // By their goals, as far as whole thousandths go.
    let wanted: Vec<u32> = by_goal.iter().map(|goal| (left * goal).div_ceil(1_000)).collect();
    spread(&mut shares, rest, &wanted);
    shares
}

impl Move {
    /// Where it is without what others have no room for.
    fn grown(&self) -> u32 {
        if self.goal <= self.before {
            return self.goal;
        }
        let reach = self.room.map_or(self.goal, |room| room.clamp(self.before, self.goal));
        if reach == self.goal { reach } else { reach - (reach - self.before) % STEP }
    }
}

/// Gives out the rest in proportion to what each may have of it, and no more than that.
fn spread(shares: &mut [u32], rest: impl Fn(&[u32]) -> u32, most: &[u32]) {
    let sum: u32 = most.iter().sum();
    let given = rest(shares).min(sum);
    if given == 0 {
        return;
    }
    let parts: Vec<u32> = most.iter().map(|most| given * most / sum).collect();
    let mut left = given - parts.iter().sum::<u32>();
    for ((share, part), most) in shares.iter_mut().zip(parts).zip(most) {
        let more = left.min(most - part).min(1);
        left -= more;
        *share += part + more;
    }
}
