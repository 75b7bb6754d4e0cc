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
    let again = log.again().expect("what was written is opened again").read().expect("and read");
    // A file that lies with good checksums may contradict itself. Damage may not make the log do so.
    if (0..files.len()).all(|n| raw >> n & 1 == 1) {
        for (positions, readable) in &found.sinks {
            assert!(positions.is_sorted_by(|a, b| a < b), "not in order, or twice: {positions:?}");
            assert!(positions.last().is_none_or(|last| *last < found.end));
            assert!(*readable <= positions.len());
        }
        assert_eq!(again.end, first + 3);
        for (positions, _) in &again.sinks {
            assert!(positions.ends_with(&[first, first + 1, first + 2]), "what was acknowledged is not there");
        }
    }
});
