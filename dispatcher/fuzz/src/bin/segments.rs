//! Segments of the log: whatever is on the disk, the log opens, says what there is, and goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_dispatcher::serve::fuzz::Fuzzed;

/// What each file begins with.
const MAGIC: &[u8] = b"SGNLBXLG";

fuzz_target!(|input: &[u8]| {
    // Bits of the first byte: the files whose checksums stay as they are.
    let Some((&raw, rest)) = input.split_first() else { return };
    let mut starts: Vec<usize> =
        rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).map(|(at, _)| at).collect();
    starts.truncate(8);
    let ends = starts.iter().skip(1).copied().chain([rest.len()]);
    let files: Vec<_> =
        starts.iter().zip(ends).enumerate().map(|(n, (&at, end))| (&rest[at..end], raw >> n & 1 == 0)).collect();
    let Ok(log) = Fuzzed::open(&files) else { return };
    let found = log.read().expect("what was opened can be read");
    let first = log.use_it(3).expect("what was opened goes on");
    assert!(first >= found.end, "a position is used again");
    // No more than that: files that lie with good checksums, or are there twice, contradict each other.
    log.again().expect("what was written is opened again").read().expect("and read");
});
