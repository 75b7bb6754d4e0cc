//! Keeps two runs from using one cluster at the same time.
//!
//! The lock is the kernel's (`flock`), so it ends with its holder however that ends. The file says who
//! that is, for the message only.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Held until dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        Self::open(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Takes the lock as soon as it is free. Blocks the thread.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        Self::open(path, FlockOperation::LockExclusive)
    }

    fn open(path: &Path, operation: FlockOperation) -> Result<Self> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        loop {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            match flock(&file, operation) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = file.read_to_string(&mut holder);
                    let holder = holder.trim();
                    let name = path.file_stem().unwrap_or_default().to_string_lossy();
                    bail!(
                        "the cluster {name:?} is in use by the process {holder}: wait for it to end, or choose another name with SIGNALBOX_E2E_NAME"
                    );
                }
                Err(error) => return Err(error).with_context(|| format!("cannot lock {}", path.display())),
            }
            // Whoever held it before may have removed the file: then this lock is on nothing.
            let same =
                std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|then| now.ino() == then.ino()));
            if !same {
                continue;
            }
            file.set_len(0)?;
            file.rewind()?;
            write!(file, "{}", std::process::id())?;
            return Ok(Self { file, path: path.to_owned() });
        }
    }

    /// Removes the file, then lets go of the lock.
    pub(crate) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        drop(self.file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_told_who_holds_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tried.lock");
        let held = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()) && error.contains("tried"), "{error}");
        held.remove().unwrap();
        assert!(!path.exists());
        Lock::take(&path).unwrap();
    }
}
