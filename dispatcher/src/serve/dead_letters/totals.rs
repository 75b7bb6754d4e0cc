//! How many letters there are, and what they take, by sink and reason. Pure.
//!
//! Kept in memory, and on disk in the same batch as the letters that they count: a start reads them and no letter.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _};

use super::{Reason, StoreError};

/// What the keys of totals begin with.
pub(super) const PREFIX: &[u8] = b"total\0";

/// Letters and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct Count {
    /// How many.
    pub letters: u64,
    /// What they count for against the limit.
    pub bytes: u64,
}

/// The counts of all letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::serve) struct Totals(BTreeMap<(String, Reason), Count>);

impl Totals {
    /// One more.
    pub(super) fn add(&mut self, sink: &str, reason: Reason, bytes: u64) {
        let count = self.0.entry((sink.to_owned(), reason)).or_default();
        count.letters += 1;
        count.bytes += bytes;
    }

    /// One less.
    pub(super) fn take(&mut self, sink: &str, reason: Reason, bytes: u64) {
        let count = self.0.entry((sink.to_owned(), reason)).or_default();
        count.letters = count.letters.saturating_sub(1);
        count.bytes = count.bytes.saturating_sub(bytes);
    }

    /// What all letters take.
    pub(in crate::serve) fn bytes(&self) -> u64 {
        self.0.values().map(|count| count.bytes).sum()
    }

    /// How many there are.
    pub(in crate::serve) fn letters(&self) -> u64 {
        self.0.values().map(|count| count.letters).sum()
    }

    /// How many are of this sink.
    pub(in crate::serve) fn letters_of(&self, sink: &str) -> u64 {
        self.0.iter().filter(|((of, _), _)| of == sink).map(|(_, count)| count.letters).sum()
    }

    /// By sink and reason, in order.
    pub(in crate::serve) fn iter(&self) -> impl Iterator<Item = (&str, Reason, Count)> {
        self.0.iter().map(|((sink, reason), count)| (sink.as_str(), *reason, *count))
    }

    /// The keys and values on disk of the counts that are not as in `before`.
    pub(super) fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = (Vec<u8>, [u8; 16])> + 'a {
        self.0.iter().filter(|(of, count)| before.0.get(of) != Some(count)).map(|((sink, reason), count)| {
            let mut key = PREFIX.to_vec();
            key.extend_from_slice(reason.name().as_bytes());
            key.push(0);
            key.extend_from_slice(sink.as_bytes());
            let mut value = [0; 16];
            let mut rest = &mut value[..];
            rest.put_u64(count.letters);
            rest.put_u64(count.bytes);
            (key, value)
        })
    }

    /// Takes in a key and a value from disk.
    pub(super) fn recover(&mut self, key: &[u8], mut value: &[u8]) -> Result<(), StoreError> {
        let foreign = || StoreError("it holds a count that this version cannot read".to_owned());
        let text = key.strip_prefix(PREFIX).and_then(|rest| std::str::from_utf8(rest).ok()).ok_or_else(foreign)?;
        let (reason, sink) = text.split_once('\0').ok_or_else(foreign)?;
        let reason = Reason::named(reason).ok_or_else(foreign)?;
        let letters = value.try_get_u64().map_err(|_| foreign())?;
        let bytes = value.try_get_u64().map_err(|_| foreign())?;
        self.0.insert((sink.to_owned(), reason), Count { letters, bytes });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Totals};
    use crate::serve::dead_letters::Reason::{AttemptsExhausted, Unreadable};

    #[test]
    fn only_what_changed_is_written_and_all_of_it_is_read_again() {
        let mut before = Totals::default();
        before.add("a", AttemptsExhausted, 100);
        before.add("b", Unreadable, 10);
        let mut after = before.clone();
        after.add("a", AttemptsExhausted, 50);
        after.take("b", Unreadable, 10);
        after.add("c", AttemptsExhausted, 1);
        assert_eq!(after.changes(&before).count(), 3);
        assert_eq!(after.changes(&after).count(), 0);
        let mut read = Totals::default();
        for (key, value) in after.changes(&Totals::default()) {
            read.recover(&key, &value).unwrap();
        }
        assert_eq!(read, after);
        assert_eq!((read.letters(), read.bytes(), read.letters_of("a")), (3, 151, 2));
        assert_eq!(read.iter().next(), Some(("a", AttemptsExhausted, Count { letters: 2, bytes: 150 })));
        assert!(read.recover(b"total\0Boredom\0a", &[0; 16]).is_err());
    }
}
