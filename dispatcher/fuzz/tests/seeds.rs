//! Seeds are what a fuzzer starts from: one that is not understood any more leads it nowhere.

use std::path::Path;

use bytes::Bytes;

#[test]
fn what_shards_write_to_each_other_is_understood_and_what_is_cut_off_is_not() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/peers");
    let mut kinds = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder of seeds") {
        let path = entry.expect("a seed").path();
        let seed = std::fs::read(&path).expect("a seed that can be read");
        let (kind, body) = seed.split_first().expect("a seed with something in it");
        assert!(signalbox_fuzz::check_body(*kind, &Bytes::copy_from_slice(body)), "{}", path.display());
        let cut = body.len() - 1;
        assert!(!signalbox_fuzz::check_body(*kind, &Bytes::copy_from_slice(&body[..cut])), "{} cut", path.display());
        kinds.insert(*kind);
    }
    assert_eq!(kinds, [0, 1, 2, 3].into(), "a seed of each kind");
}
