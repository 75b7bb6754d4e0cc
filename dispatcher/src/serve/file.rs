//! Something to be known again after a restart, as one file in the data directory.
//!
//! ```text
//! NAME.new --fsync--> rename --> NAME --fsync of the directory--> durable
//! {"version":1,"crc32":...,"state":...}
//! ```
//!
//! It is written whole and replaces what was there. May import nothing of this crate.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const VERSION: u32 = 1;

/// The file cannot be read, or what it says makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// It cannot be read.
    #[error("{path} cannot be read ({source}): give this process the right to, or another --data-dir")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged ({why}): move it away, and {then}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What comes of moving it away.
        then: &'static str,
    },
    /// Another version wrote it.
    #[error(
        "{path} is of version {version}, which this version cannot read: run the version that wrote it, or a later"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
}

/// One such file.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateFile {
    /// Its name in the data directory.
    pub(super) name: &'static str,
    /// What comes of moving it away, as the end of a sentence.
    pub(super) without: &'static str,
}

#[derive(Deserialize, Serialize)]
struct Envelope {
    version: u32,
    crc32: u32,
    state: Box<RawValue>,
}

impl StateFile {
    /// What the file in this data directory says. Nothing: there is none.
    pub(super) fn load<T: DeserializeOwned>(&self, dir: &Path) -> Result<Option<T>, StateError> {
        let path = dir.join(self.name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Unreadable { path, source }),
        };
        let damaged = |why: String| StateError::Damaged { path: path.clone(), why, then: self.without };
        let envelope: Envelope = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if envelope.version != VERSION {
            return Err(StateError::Foreign { path, version: envelope.version });
        }
        let state = envelope.state.get();
        if crc32fast::hash(state.as_bytes()) != envelope.crc32 {
            return Err(damaged("its checksum is another".to_owned()));
        }
        serde_json::from_str(state).map(Some).map_err(|e| damaged(e.to_string()))
    }

    /// Puts this in the place of what is there. When it returns, that is so for good.
    pub(super) fn store<T: Serialize>(&self, dir: &Path, state: &T) -> io::Result<()> {
        self.prepare(dir, state)?;
        std::fs::rename(self.beside(dir), dir.join(self.name))?;
        File::open(dir)?.sync_all()
    }

    /// Writes it beside its place.
    fn prepare<T: Serialize>(&self, dir: &Path, state: &T) -> io::Result<()> {
        let state = RawValue::from_string(serde_json::to_string(state)?)?;
        let envelope = Envelope { version: VERSION, crc32: crc32fast::hash(state.get().as_bytes()), state };
        let mut file = File::create(self.beside(dir))?;
        file.write_all(&serde_json::to_vec(&envelope)?)?;
        file.sync_all()
    }

    fn beside(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.new", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::StateFile;

    const FILE: StateFile = StateFile { name: "state", without: "all begins anew" };

    fn load(dir: &tempfile::TempDir) -> Option<Vec<u64>> {
        FILE.load(dir.path()).unwrap()
    }

    #[test]
    fn a_crash_before_it_is_in_its_place_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        FILE.prepare(dir.path(), &[7]).unwrap();
        assert_eq!(load(&dir), None);
        FILE.store(dir.path(), &[7]).unwrap();
        FILE.prepare(dir.path(), &[8]).unwrap();
        std::fs::write(dir.path().join("state.new"), b"{\"ver").unwrap();
        assert_eq!(load(&dir), Some(vec![7]));
        FILE.store(dir.path(), &[9]).unwrap();
        assert_eq!(load(&dir), Some(vec![9]));
    }

    #[test]
    fn damage_anywhere_is_found_and_the_sentence_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        FILE.store(dir.path(), &[u64::MAX, 7]).unwrap();
        let path = dir.path().join(FILE.name);
        let whole = std::fs::read(&path).unwrap();
        let load = || FILE.load::<Vec<u64>>(dir.path());
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(load().is_err(), "byte {at}: {}", String::from_utf8_lossy(&damaged));
            std::fs::write(&path, &whole[..at]).unwrap();
            let sentence = load().unwrap_err().to_string();
            assert!(sentence.contains("is damaged") && sentence.contains("away, and all begins anew"), "{sentence}");
        }
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE.name), r#"{"version":2,"crc32":0,"state":{}}"#).unwrap();
        assert!(FILE.load::<Vec<u64>>(dir.path()).unwrap_err().to_string().contains("of version 2"));
    }
}
