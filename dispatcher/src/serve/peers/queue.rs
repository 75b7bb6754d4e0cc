//! What waits to be sent to one shard. Pure.
//!
//! Three kinds go side by side, each with a bound of what is under way at once, so that none waits for another: messages;
//! a message with the events that it hands over; and batches of events that are passed on, made of what came together
//! while the ones before were on their way. May import `claiming` and `ingest`'s outcome.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::wire::MAX_PARTS;
use crate::claims::Epoch;
use crate::serve::claiming::Parcel;
use crate::serve::ingest::Outcome;

/// Most messages that wait: the oldest makes room. Each will be said again.
const MAX_WORDS: usize = 64;

/// Bytes of one batch, unless one part has more.
const BATCH_BYTES: usize = 1024 * 1024;

/// Most bytes that wait to be passed on.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Counted for each part and event besides its bytes.
const OVERHEAD_BYTES: usize = 64;

/// Events that are passed on together, stored whole or not at all.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) epoch: Epoch,
    pub(super) records: Vec<Bytes>,
    /// Whoever waits. Gone: nobody does, and it need not be sent.
    pub(super) outcome: oneshot::Sender<Outcome>,
}

impl Part {
    fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.records.iter().map(|record| record.len() + OVERHEAD_BYTES).sum::<usize>()
    }
}

/// What is sent in one request.
#[derive(Debug)]
pub(super) enum Job {
    /// Says where this shard is.
    Hello,
    Words(Parcel),
    Transfer(Parcel),
    Batch(Vec<Part>),
}

/// How many of each kind are under way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Flying([usize; 3]);

/// Most of each kind at once. Two batches: more in one of them costs less processor time than more of them (8 cost a tenth
/// more in `cargo bench-dispatcher hand-over`), and one that waits at the owner does not stop the next.
const MOST: [usize; 3] = [8, 1, 2];

impl Job {
    /// Of which kind it is, for [`Flying`].
    pub(super) fn kind(&self) -> usize {
        match self {
            Self::Hello | Self::Words(_) => 0,
            Self::Transfer(_) => 1,
            Self::Batch(_) => 2,
        }
    }
}

impl Flying {
    /// One more of a kind, or one less.
    pub(super) fn begun(&mut self, kind: usize) {
        self.0.iter_mut().skip(kind).take(1).for_each(|count| *count += 1);
    }

    pub(super) fn ended(&mut self, kind: usize) {
        self.0.iter_mut().skip(kind).take(1).for_each(|count| *count = count.saturating_sub(1));
    }

    fn has_room(&self, kind: usize) -> bool {
        self.0.get(kind) < MOST.get(kind)
    }
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whether the shard is to be told where this one is. Stays until it was, whatever fails.
    hello: bool,
    words: VecDeque<Parcel>,
    /// The newest of those that have not been sent: an older one says less.
    transfer: Option<Parcel>,
    parts: VecDeque<Part>,
    bytes: usize,
}

impl Queue {
    /// A message waits, unless the same one does.
    pub(super) fn say(&mut self, parcel: Parcel) {
        if !parcel.events.is_empty() {
            self.transfer = Some(parcel);
        } else if !self.words.contains(&parcel) {
            if self.words.len() == MAX_WORDS {
                self.words.pop_front();
            }
            self.words.push_back(parcel);
        }
    }

    /// The shard is to be told where this one is, or need not be.
    pub(super) fn greet(&mut self, greet: bool) {
        self.hello = greet;
    }

    /// Events wait to be passed on, if there is room.
    pub(super) fn pass(&mut self, part: Part) {
        let bytes = part.bytes();
        if self.bytes + bytes > MAX_BYTES && !self.parts.is_empty() {
            let _ = part.outcome.send(Outcome::Unreachable("too much waits for it".to_owned()));
            return;
        }
        self.bytes += bytes;
        self.parts.push_back(part);
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        !self.hello && self.words.is_empty() && self.transfer.is_none() && self.parts.is_empty()
    }

    /// What is to be sent next, with these under way.
    pub(super) fn next(&mut self, flying: &Flying) -> Option<Job> {
        if flying.has_room(0) && std::mem::take(&mut self.hello) {
            return Some(Job::Hello);
        }
        if flying.has_room(0)
            && let Some(words) = self.words.pop_front()
        {
            return Some(Job::Words(words));
        }
        if flying.has_room(1)
            && let Some(transfer) = self.transfer.take()
        {
            return Some(Job::Transfer(transfer));
        }
        if flying.has_room(2) { self.batch().map(Job::Batch) } else { None }
    }

    /// What could not be sent is the next to be sent again.
    pub(super) fn put_back(&mut self, job: Job) {
        match job {
            Job::Hello => self.hello = true,
            Job::Words(words) => self.words.push_front(words),
            Job::Transfer(transfer) => self.transfer = self.transfer.take().or(Some(transfer)),
            Job::Batch(parts) => {
                for part in parts.into_iter().rev() {
                    self.bytes += part.bytes();
                    self.parts.push_front(part);
                }
            }
        }
    }

    /// The shard cannot be reached: who waits is told, and messages will be said again.
    pub(super) fn fail(&mut self, sentence: &str) {
        self.words.clear();
        self.transfer = None;
        self.bytes = 0;
        for part in self.parts.drain(..) {
            let _ = part.outcome.send(Outcome::Unreachable(sentence.to_owned()));
        }
    }

    /// The parts that come first and go by the same epoch, as far as a batch reaches.
    fn batch(&mut self) -> Option<Vec<Part>> {
        let mut batch: Vec<Part> = Vec::new();
        let mut bytes = 0;
        while let Some(part) = self.parts.front() {
            let size = part.bytes();
            if part.outcome.is_closed() {
                self.parts.pop_front();
            } else {
                let fits = bytes + size <= BATCH_BYTES && batch.len() < MAX_PARTS;
                if batch.first().is_some_and(|first| first.epoch != part.epoch || !fits) {
                    break;
                }
                bytes += size;
                batch.extend(self.parts.pop_front());
            }
            self.bytes = self.bytes.saturating_sub(size);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::{BATCH_BYTES, Flying, Job, MAX_WORDS, OVERHEAD_BYTES, Part, Queue};
    use crate::claims::{Batch, Message};
    use crate::serve::claiming::{Handed, Parcel};
    use crate::serve::ingest::Outcome;
    use crate::serve::log::{Origin, SinkSet};
    use bytes::Bytes;
    use tokio::sync::oneshot;

    fn words(epoch: u64) -> Parcel {
        Parcel { message: Message::Sealed(epoch), sinks: Vec::new(), events: Vec::new() }
    }

    fn transfer(number: u64) -> Parcel {
        let batch = Batch { incarnation: 1, number };
        let event = Handed {
            origin: Origin { epoch: 1, log: 1, position: number },
            accepted_at_us: 0,
            key: None,
            waiting: SinkSet::default(),
            identity: 1,
            record: Bytes::new(),
        };
        Parcel { message: Message::Transfer(1, batch, [1].into()), sinks: Vec::new(), events: vec![event] }
    }

    fn part(epoch: u64, bytes: usize) -> (Part, oneshot::Receiver<Outcome>) {
        let (outcome, waiting) = oneshot::channel();
        (Part { epoch, records: vec![Bytes::from(vec![0; bytes])], outcome }, waiting)
    }

    /// The lengths of what the next batch has.
    fn batch(queue: &mut Queue) -> Vec<usize> {
        match queue.next(&Flying::default()) {
            Some(Job::Batch(parts)) => parts.iter().map(|part| part.records[0].len()).collect(),
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_waits_once_and_the_oldest_makes_room() {
        let mut queue = Queue::default();
        for epoch in 0..=MAX_WORDS as u64 {
            queue.say(words(epoch));
            queue.say(words(epoch));
        }
        assert_eq!(queue.words.len(), MAX_WORDS);
        assert!(matches!(queue.next(&Flying::default()), Some(Job::Words(first)) if first == words(1)));
    }

    #[test]
    fn one_transfer_is_under_way_and_of_those_that_wait_the_newest_is_next() {
        let mut queue = Queue::default();
        let mut flying = Flying::default();
        (1..4).for_each(|number| queue.say(transfer(number)));
        let Some(job @ Job::Transfer(_)) = queue.next(&flying) else { panic!() };
        flying.begun(job.kind());
        queue.say(transfer(4));
        assert!(queue.next(&flying).is_none() && !queue.is_empty());
        queue.say(words(1));
        assert!(matches!(queue.next(&flying), Some(Job::Words(_))), "messages do not wait for it");
        flying.ended(job.kind());
        assert_eq!(flying, Flying::default());
        queue.put_back(job);
        assert!(matches!(queue.next(&flying), Some(Job::Transfer(newest)) if newest == transfer(4)));
    }

    #[test]
    fn parts_of_one_epoch_go_together_as_far_as_a_batch_reaches_and_in_order() {
        let mut queue = Queue::default();
        let half = BATCH_BYTES / 2 - 2 * OVERHEAD_BYTES;
        let parts = [(1, 10), (1, half), (1, half), (2, 11), (2, 2 * BATCH_BYTES), (2, 12), (2, 13)];
        let mut waiting = Vec::new();
        for (epoch, bytes) in parts {
            let (part, waits) = part(epoch, bytes);
            queue.pass(part);
            waiting.push(waits);
        }
        waiting.remove(5);
        assert_eq!(batch(&mut queue), [10, half]);
        let Some(job) = queue.next(&Flying::default()) else { panic!() };
        queue.put_back(job);
        assert_eq!(batch(&mut queue), [half]);
        assert_eq!(batch(&mut queue), [11]);
        assert_eq!(batch(&mut queue), [2 * BATCH_BYTES], "larger than a batch, and alone");
        assert_eq!(batch(&mut queue), [13], "nobody waits for 12");
        assert!(batch(&mut queue).is_empty() && queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn who_waits_is_told_that_the_shard_cannot_be_reached() {
        let mut queue = Queue::default();
        let (part, mut waiting) = part(1, 1);
        queue.pass(part);
        queue.say(words(1));
        queue.greet(true);
        queue.fail("connection refused");
        assert!(matches!(queue.next(&Flying::default()), Some(Job::Hello)), "it is still to be told");
        assert!(queue.is_empty());
        assert!(matches!(waiting.try_recv().unwrap(), Outcome::Unreachable(why) if why == "connection refused"));
    }
}
