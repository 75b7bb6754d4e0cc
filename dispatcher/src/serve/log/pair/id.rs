//! The id of a log: a random number, made once, in a file beside the segments. So an event is known by where it was
//! accepted, whatever becomes of the shard.
//!
//! It is handed out only once it is on disk. A file that is damaged, or was being written when the power failed, is
//! replaced by another id: what was handed over before and not confirmed is then handed over again, as another event.

use std::hash::{BuildHasher as _, RandomState};
use std::io;

use super::super::segment::files::Directory;

/// The name of the file.
const NAME: &str = "id";

const MAGIC: [u8; 8] = *b"SGNLBXID";

/// The id of the log in this directory. Made, if there is none.
pub(super) fn load_or_make(directory: &dyn Directory) -> io::Result<u64> {
    if directory.list()?.iter().any(|name| name == NAME) {
        let file = directory.open(NAME)?;
        let mut bytes = [0; 20];
        if file.len()? == 20
            && file.read_at(&mut bytes, 0).is_ok()
            && let Some(id) = decode(&bytes)
        {
            // The last process may have ended before its sync.
            file.sync()?;
            directory.sync()?;
            return Ok(id);
        }
        tracing::warn!("the id of the log cannot be read: it gets another");
        directory.remove(NAME)?;
    }
    let id = RandomState::new().hash_one(0);
    let file = directory.create(NAME)?;
    file.write_at(&encode(id), 0)?;
    file.sync()?;
    directory.sync()?;
    Ok(id)
}

fn encode(id: u64) -> Vec<u8> {
    let mut bytes = [MAGIC, id.to_le_bytes()].concat();
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; 20]) -> Option<u64> {
    let (id, crc) = (bytes[8..16].try_into().ok()?, bytes[16..].try_into().ok()?);
    let whole = bytes[..8] == MAGIC && crc32fast::hash(&bytes[..16]) == u32::from_le_bytes(crc);
    whole.then(|| u64::from_le_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::load_or_make;
    use crate::serve::log::segment::memory::{Cut, Memory};

    #[test]
    fn an_id_outlives_a_power_cut_and_no_two_logs_have_the_same() {
        let disk = Memory::default();
        let id = load_or_make(&disk).unwrap();
        for cut in [Cut::Nothing, Cut::Sectors, Cut::All] {
            assert_eq!(load_or_make(&disk.cut(cut, || 1)).unwrap(), id);
        }
        assert_ne!(load_or_make(&Memory::default()).unwrap(), id);
        disk.damage("id", |bytes| bytes[9] ^= 1);
        let another = load_or_make(&disk).unwrap();
        assert_ne!(another, id);
        assert_eq!(load_or_make(&disk).unwrap(), another);
    }

    #[test]
    fn an_id_that_was_not_on_disk_yet_was_never_handed_out() {
        for operations in 0..4 {
            let disk = Memory::default();
            disk.fail_in(Some(operations), true);
            assert!(load_or_make(&disk).is_err());
            let disk = disk.cut(Cut::Sectors, || 0);
            let id = load_or_make(&disk).unwrap();
            assert_eq!(load_or_make(&disk).unwrap(), id);
        }
    }
}
