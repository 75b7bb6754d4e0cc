//! Every order of everything that can happen, breadth first: the first broken promise has the shortest trace.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::hash::Hash;

use super::digest::Digest;
use super::world::{Action, Setup, World};

/// What was seen of a whole state space, or of as much of it as was asked for.
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) steps: usize,
    /// States in which nothing more can happen.
    pub(super) finals: usize,
    /// Whether the limit came before the end.
    pub(super) cut: bool,
}

/// The digest of a world, from those of its shards.
fn digest(world: &World) -> u128 {
    let mut digest = Digest::default();
    world.hash(&mut digest);
    digest.value()
}

/// Explores at most `limit` states. The error is the broken promise with the shortest trace to it.
pub(super) fn explore(setup: &Setup, limit: usize) -> Result<Explored, String> {
    let first = World::new(setup.clone());
    let start = digest(&first);
    let mut seen: HashMap<u128, (u128, Option<Action>)> = HashMap::from([(start, (start, None))]);
    let mut queue = VecDeque::from([(start, first)]);
    let mut explored = Explored { states: 0, steps: 0, finals: 0, cut: false };
    while let Some((at, world)) = queue.pop_front() {
        explored.states += 1;
        let actions = world.actions();
        if actions.is_empty() {
            explored.finals += 1;
        }
        // That it comes to an end when faults stop: from every end, and from a sample of the rest.
        if actions.is_empty() || at % 509 == 0 {
            world.clone().finish().map_err(|broken| trace(setup, &seen, at, None, &broken))?;
        }
        for action in actions {
            let mut next = world.clone();
            next.apply(action).map_err(|broken| trace(setup, &seen, at, Some(action), &broken))?;
            explored.steps += 1;
            let digest = digest(&next);
            if seen.len() >= limit {
                explored.cut = true;
            } else if let std::collections::hash_map::Entry::Vacant(vacant) = seen.entry(digest) {
                vacant.insert((at, Some(action)));
                queue.push_back((digest, next));
            }
        }
    }
    Ok(explored)
}

/// The way from the start to `at`, and the step that broke it.
fn trace(
    setup: &Setup,
    seen: &HashMap<u128, (u128, Option<Action>)>,
    mut at: u128,
    last: Option<Action>,
    broken: &str,
) -> String {
    let mut actions: Vec<Action> = last.into_iter().collect();
    while let (before, Some(action)) = seen[&at] {
        actions.push(action);
        at = before;
    }
    actions.reverse();
    let mut world = World::new(setup.clone());
    let mut text = format!("{broken}\n{} steps:\n", actions.len());
    for action in actions {
        let what = match action {
            Action::Arrive(at, _) | Action::Lose(at) => format!("{:?}", world.net.iter().nth(at)),
            _ => String::new(),
        };
        writeln!(text, "  {action:?} {what}").unwrap();
        let _ = world.apply(action);
    }
    text
}
