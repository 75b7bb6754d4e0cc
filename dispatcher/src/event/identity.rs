//! What tells an event from every other: a number of 128 bits from its `source` and `id`. Pure.

use xxhash_rust::xxh3::Xxh3;

use super::Event;

/// The identity of `event`: XXH3 of 128 bits over `source` and `id`, each after its length in eight little-endian
/// bytes. It is stored, so it never changes. It is never 0, which the log reads as "not looked at".
pub fn identity(event: &Event) -> u128 {
    let mut hash = Xxh3::new();
    for name in ["source", "id"] {
        let value = event.get(name).unwrap_or_default().as_bytes();
        hash.update(&(value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.digest128().max(1)
}

#[cfg(test)]
mod tests {
    use super::identity;
    use crate::event::{Event, parse};

    fn event(source: &str, id: &str, kind: &str) -> Event {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [("ce-source", source), ("ce-id", id), ("ce-specversion", "1.0"), ("ce-type", kind)] {
            headers.insert(name, value.parse().unwrap());
        }
        parse(&headers, b"").unwrap()
    }

    #[test]
    fn the_identity_is_of_source_and_id_and_of_nothing_else() {
        assert_eq!(identity(&event("/s", "1", "a")), identity(&event("/s", "1", "b")));
        assert_ne!(identity(&event("/s", "1", "a")), identity(&event("/s", "2", "a")));
        assert_ne!(identity(&event("/s", "11", "a")), identity(&event("/s1", "1", "a")));
        assert_ne!(identity(&event("/s", "t", "a")), identity(&event("t", "/s", "a")));
    }

    #[test]
    fn the_identity_never_changes() {
        assert_eq!(identity(&event("/orders", "42", "t")), 0xda1e_44e9_5c41_7b6e_805f_916e_646c_0d95);
    }
}
