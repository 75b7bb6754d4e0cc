//! A fast digest of 128 bits, to tell states apart.

use std::hash::Hasher;

/// Two lanes that are mixed by multiplication. Of a million million states, the chance that any two are taken for one
/// is less than one in a million million.
#[derive(Clone, Copy, Debug)]
pub(super) struct Digest(u64, u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Digest {
    pub(super) fn value(self) -> u128 {
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 60));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mix = |lane: u64, by: u64| {
            let product = u128::from(lane ^ word) * u128::from(by);
            u64::try_from(product >> 64 ^ product & u128::from(u64::MAX)).unwrap()
        };
        let (first, second) = (mix(self.0, 0x9e37_79b9_7f4a_7c15), mix(self.1.rotate_left(23), 0xd6e8_feb8_6659_fd93));
        self.0 = first.wrapping_add(self.1.rotate_left(7));
        self.1 = second.wrapping_add(word.rotate_left(31));
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
