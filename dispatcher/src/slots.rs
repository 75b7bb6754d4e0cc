//! Slots: which of 1024 fixed buckets a key is in, and which shard owns a bucket. Pure, and a leaf.
//!
//! ```text
//! key --hash--> 64 bits --low 10 bits--> slot --owner(slot, shards)--> ordinal of a shard
//! ```
//!
//! What the owner is depends on nothing but how many shards there are, so a routing table is one number, and every
//! shard computes the same map. Growth from `n` to `n + 1` shards moves slots to the new shard only, about one in
//! `n + 1` of them (jump consistent hashing); shrinking moves back exactly those.
//!
//! **Architecture Invariant:** neither function ever changes. Shards of two versions serve one region during an
//! upgrade, and what is on disk was put there by an older one. The tests pin both by known answers.

/// How many slots there are. Fixed for ever.
pub const SLOTS: u16 = 1024;

/// What makes the map even. Jump hashing is even on average; of the seeds from 0 to 149, this one has the least
/// loaded busiest shard, for all counts from 2 to 16.
const SEED: u64 = 121 << 10;

/// The slot of a key, by the hash that the log keeps with every event: from 0 to 1023.
pub fn slot_of(key_hash: u64) -> u16 {
    // Ten bits of a hash whose low bits are as good as its upper.
    u16::try_from(key_hash & u64::from(SLOTS - 1)).unwrap_or_default()
}

/// Which of `shards` shards owns `slot`: an ordinal below `shards`. With no shards, 0.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a quotient of two numbers of at most 32 bits, exact enough by the definition of the function"
)]
pub fn owner(slot: u16, shards: u32) -> u32 {
    let mut key = mixed(u64::from(slot) ^ SEED);
    let (mut bucket, mut next) = (0_u32, 0_u64);
    while next < u64::from(shards) {
        bucket = next as u32;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let draw = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = (f64::from(bucket + 1) * draw) as u64;
    }
    bucket
}

/// Spreads small numbers over 64 bits (the finaliser of `SplitMix64`).
pub(crate) fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Busiest shard's slots, by how many each would have if all had the same.
    fn busiest(shards: u32) -> f64 {
        let mut counts = vec![0_u32; shards as usize];
        (0..SLOTS).for_each(|slot| counts[owner(slot, shards) as usize] += 1);
        f64::from(counts.into_iter().max().unwrap()) * f64::from(shards) / f64::from(SLOTS)
    }

    #[test]
    fn a_slot_is_the_low_ten_bits_of_the_hash() {
        assert_eq!(slot_of(0xefd0_1f60_ba99_2926), 294);
        assert_eq!(slot_of(u64::MAX), 1023);
        assert_eq!(slot_of(1024), 0);
    }

    #[test]
    fn owners_never_change_between_versions() {
        let known = [
            (0, 1, 0),
            (0, 2, 0),
            (1, 2, 1),
            (0, 8, 2),
            (1, 8, 7),
            (2, 8, 1),
            (3, 8, 2),
            (511, 8, 6),
            (1023, 8, 0),
            (1023, 32, 19),
            (700, 32, 22),
        ];
        for (slot, shards, ordinal) in known {
            assert_eq!(owner(slot, shards), ordinal, "slot {slot} of {shards} shards");
        }
        // All slots at once, computed by another program from the published algorithm.
        let all = [2, 3, 5, 8, 16, 32].into_iter().flat_map(|shards| (0..SLOTS).map(move |slot| owner(slot, shards)));
        let all: Vec<u8> = all.map(|ordinal| u8::try_from(ordinal).unwrap()).collect();
        assert_eq!(crc32fast::hash(&all), 0x1316_c825);
    }

    #[test]
    fn growth_moves_slots_to_the_new_shard_only_and_about_its_share() {
        for shards in 1..64 {
            let moved: Vec<u16> = (0..SLOTS).filter(|&slot| owner(slot, shards) != owner(slot, shards + 1)).collect();
            assert!(moved.iter().all(|&slot| owner(slot, shards + 1) == shards), "to {} shards", shards + 1);
            let expected = f64::from(SLOTS) / f64::from(shards + 1);
            let moved = f64::from(u16::try_from(moved.len()).unwrap());
            // Four standard deviations of a draw of 1024.
            assert!((moved - expected).abs() <= 4.0 * expected.sqrt(), "{moved} moved to {} shards", shards + 1);
        }
    }

    #[test]
    fn the_busiest_shard_has_little_more_than_its_share() {
        for shards in 1..=16 {
            assert!(busiest(shards) <= 1.126, "{} with {shards} shards", busiest(shards));
        }
        for shards in 17..=32 {
            assert!(busiest(shards) <= 1.31, "{} with {shards} shards", busiest(shards));
        }
    }

    #[test]
    fn no_shards_at_all_is_no_fault() {
        assert_eq!(owner(17, 0), 0);
    }
}
