//! What is run. `CLAIM_STATES=5000000 cargo test -p signalbox-dispatcher --release --lib claims -- --nocapture`
//! explores more than the bounded worlds that every build does.

use super::Flaw;
use super::explore::explore;
use super::world::{Setup, table};

/// A world with these counts of shards under epochs 1, 2 and so on. Slot 0 moves from shard 0 to 2 and back when they
/// are 2, 3, 2; slot 4 from 0 to 1 and 2, when they are 1, 2 and 3; slot 5 stays at 0, whatever they are.
fn setup(counts: &[u32], slots: &[u16], events: u16) -> Setup {
    let peers = counts.iter().copied().max().unwrap();
    Setup {
        tables: (1..).zip(counts).map(|(epoch, &count)| table(epoch, count, peers, Vec::new())).collect(),
        slots: slots.iter().copied().collect(),
        shards: peers,
        events,
        batch: 1,
        crashes: 0,
        losses: 0,
        repeats: 0,
        attempts: false,
        flaw: Flaw::None,
    }
}

/// Explores a world whole, and says how large it is.
fn whole(name: &str, setup: &Setup) {
    let explored = explore(setup, usize::MAX).unwrap_or_else(|broken| panic!("{name}: {broken}"));
    println!("{name}: {} states, {} steps, {} ends", explored.states, explored.steps, explored.finals);
    assert!(explored.finals > 0 && !explored.cut, "{name}: nothing ever ends");
}

#[test]
fn growing_keeps_every_promise_in_every_order() {
    whole("1 slot, 2 shards to 3, 2 events", &setup(&[2, 3], &[0], 2));
    whole("the same, attempts take time", &Setup { attempts: true, ..setup(&[2, 3], &[0], 2) });
}

#[test]
fn a_slot_that_goes_and_comes_back_keeps_every_promise_in_every_order() {
    whole("1 slot, 1 shard to 2 to 1, 2 events", &setup(&[1, 2, 1], &[4], 2));
    whole("the same the other way round", &setup(&[2, 1, 2], &[4], 2));
}

#[test]
fn repeated_messages_change_nothing() {
    whole("1 slot, 2 shards to 3, 2 events, 1 repeat", &Setup { repeats: 1, ..setup(&[2, 3], &[0], 2) });
}

#[test]
fn lost_messages_are_made_up_for() {
    whole("1 slot, 1 shard to 2, 2 events, 2 losses", &Setup { losses: 2, ..setup(&[1, 2], &[4], 2) });
}

#[test]
fn a_crash_at_any_moment_changes_nothing() {
    whole("1 slot, 1 shard to 2, 2 events, 1 crash", &Setup { crashes: 1, ..setup(&[1, 2], &[4], 2) });
}

/// The bounds of the documentation of this file: as many states as the environment says.
#[test]
fn larger_worlds_keep_every_promise_as_far_as_they_are_explored() {
    let limit = std::env::var("CLAIM_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000);
    let worlds = [
        ("1 slot, 1 shard to 2, 2 events, 2 crashes", Setup { crashes: 2, ..setup(&[1, 2], &[4], 2) }),
        ("1 slot, 2 shards to 3, 2 events, 1 crash", Setup { crashes: 1, ..setup(&[2, 3], &[0], 2) }),
        ("1 slot, 1 shard to 2 to 1, 2 events, 1 crash", Setup { crashes: 1, ..setup(&[1, 2, 1], &[4], 2) }),
        ("2 slots, 1 shard to 2 to 1, 2 events each", setup(&[1, 2, 1], &[4, 5], 2)),
        ("1 slot, 2 shards to 3 to 2, 2 events", setup(&[2, 3, 2], &[0], 2)),
        ("2 slots, 2 shards to 3 to 2 to 3, 2 events each, 1 crash", {
            Setup { crashes: 1, ..setup(&[2, 3, 2, 3], &[0, 4], 2) }
        }),
    ];
    for (name, setup) in worlds {
        let explored = explore(&setup, limit).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        let much = if explored.cut { "the first" } else { "all" };
        println!("{name}: {much} {} states, {} steps, {} ends", explored.states, explored.steps, explored.finals);
    }
}

/// A shard with `flaw` has to be found, and the promise that it breaks is this one.
fn is_found(flaw: Flaw, setup: Setup, broken: &str) {
    match explore(&Setup { flaw, ..setup }, 200_000) {
        Ok(explored) => panic!("{flaw:?} was not found in {} states", explored.states),
        Err(trace) => {
            println!("{flaw:?}: {trace}");
            assert!(trace.starts_with(broken), "{flaw:?}: {trace}");
        }
    }
}

#[test]
fn accepting_before_all_have_sealed_is_found() {
    is_found(Flaw::AcceptsUnsealed, setup(&[1, 2], &[4], 2), "slot 4 is accepted by two shards at once");
}

#[test]
fn delivering_before_what_was_inherited_is_found() {
    is_found(Flaw::OwnBeforeInherited, setup(&[1, 2], &[4], 2), "reordered");
}

#[test]
fn dropping_what_is_not_stored_yet_is_found() {
    is_found(Flaw::DropsBeforeStored, setup(&[1, 2], &[4], 2), "lost");
}

#[test]
fn a_seal_that_is_not_durable_is_found() {
    is_found(
        Flaw::TakesWritesForDone,
        Setup { crashes: 1, ..setup(&[1, 2], &[4], 2) },
        "slot 4 is accepted by two shards at once",
    );
}

#[test]
fn handing_over_what_is_being_attempted_is_found() {
    is_found(Flaw::IgnoresAttempts, Setup { attempts: true, ..setup(&[1, 2], &[4], 2) }, "repeated");
}

#[test]
fn being_done_only_until_the_next_power_cut_is_found() {
    is_found(Flaw::DoneBeforeSync, Setup { crashes: 1, ..setup(&[1, 2], &[4], 2) }, "repeated");
}

#[test]
fn storing_a_repeated_transfer_twice_is_found() {
    is_found(Flaw::StoresTwice, Setup { repeats: 1, ..setup(&[1, 2], &[4], 2) }, "repeated");
}
