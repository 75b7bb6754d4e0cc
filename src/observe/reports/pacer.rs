//! Pokes, no more often than a fleet can make use of: the first at once, those that follow it closely as one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;

use crate::observe::caches::Poke;

/// Least time between two pokes of one fleet.
const GAP: Duration = Duration::from_millis(50);

/// Passes pokes on until nobody can ask any more.
pub(super) async fn run(mut asked: UnboundedReceiver<Poke>, pokes: UnboundedSender<Poke>) {
    let mut pacer = Pacer::default();
    loop {
        let due = pacer.due();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let now = tokio::select! {
            poke = asked.recv() => {
                let Some(poke) = poke else { return };
                pacer.ask(poke, Instant::now());
                Instant::now()
            }
            () = wait => Instant::now(),
        };
        for (key, poke) in pacer.ready(now) {
            tracing::trace!(fleet = key, "poked");
            // A poke that nobody hears comes from a process that is ending.
            let _ = pokes.send(poke);
        }
    }
}

/// Which fleets are to be poked, and when. Pure. By namespace and name.
#[derive(Default)]
struct Pacer {
    waiting: BTreeMap<String, (Poke, Instant)>,
    /// Until when a fleet is not poked again.
    held: BTreeMap<String, Instant>,
}

impl Pacer {
    fn ask(&mut self, poke: Poke, now: Instant) {
        let key = poke.as_ref().map(ToString::to_string).unwrap_or_default();
        let at = self.held.get(&key).map_or(now, |until| (*until).max(now));
        self.waiting.entry(key).or_insert((poke, at));
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.values().map(|(_, at)| *at).min()
    }

    fn ready(&mut self, now: Instant) -> Vec<(String, Poke)> {
        self.held.retain(|_, until| *until > now);
        let ready: Vec<_> = self.waiting.extract_if(.., |_, (_, at)| *at <= now).collect();
        self.held.extend(ready.iter().map(|(key, _)| (key.clone(), now + GAP)));
        ready.into_iter().map(|(key, (poke, _))| (key, poke)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventDispatcher;
    use kube::runtime::reflector::ObjectRef;

    fn fleet(name: &str) -> ObjectRef<EventDispatcher> {
        ObjectRef::new(name).within("shop")
    }

    #[test]
    fn the_first_poke_is_passed_on_at_once_and_those_after_it_as_one() {
        let (mut pacer, now) = (Pacer::default(), Instant::now());
        let mut passed = Vec::new();
        for millisecond in 0..1000 {
            let now = now + Duration::from_millis(millisecond);
            if millisecond < 990 {
                pacer.ask(Some(fleet("orders")), now);
            }
            passed.extend(pacer.ready(now).into_iter().map(|_| millisecond));
        }
        assert_eq!(passed, (0..20).map(|n| n * 50).collect::<Vec<_>>());
        assert_eq!(pacer.due(), Some(now + Duration::from_secs(1)), "the last of them is not forgotten");
    }

    #[test]
    fn one_fleet_does_not_wait_for_another() {
        let (mut pacer, now) = (Pacer::default(), Instant::now());
        pacer.ask(Some(fleet("orders")), now);
        assert_eq!(pacer.ready(now).len(), 1);
        pacer.ask(Some(fleet("orders")), now);
        pacer.ask(Some(fleet("mail")), now);
        let ready = pacer.ready(now);
        assert_eq!(ready.len(), 1);
        assert_eq!(ready[0].1, Some(fleet("mail")));
    }

    #[test]
    fn nothing_is_kept_of_a_fleet_that_is_quiet() {
        let (mut pacer, now) = (Pacer::default(), Instant::now());
        pacer.ask(Some(fleet("orders")), now);
        pacer.ready(now);
        pacer.ready(now + GAP);
        assert!(pacer.held.is_empty() && pacer.waiting.is_empty());
    }
}
