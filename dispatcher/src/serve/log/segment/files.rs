//! The few file operations that the log needs, as a seam: the real ones here, for tests simulated ones that lose
//! what was not synced.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open file. All of it may be used from several threads.
pub(in crate::serve::log) trait File: Send + Sync {
    /// Bytes in it.
    fn len(&self) -> io::Result<u64>;

    /// Fills the buffer from `offset`. An error if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of it at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything that was written to it durable: `fdatasync`.
    fn sync(&self) -> io::Result<()>;
}

/// So many zeros are written at once, when a file is filled with them.
pub(super) const ZEROS: usize = 256 * 1024;

/// A write past the page cache needs memory, offset and length in whole pages.
#[repr(align(4096))]
struct Aligned([u8; ZEROS]);

static ALIGNED_ZEROS: Aligned = Aligned([0; ZEROS]);

/// Zeros to fill files with.
pub(super) fn zeros() -> &'static [u8] {
    &ALIGNED_ZEROS.0
}

/// The directory of one log. No other files are of interest, and no other process changes these.
pub(in crate::serve::log) trait Directory: Send + Sync + 'static {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Makes a file, empty. It is there after a power cut only once [`Directory::sync`] has returned.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file that is there for filling it with [`zeros`], past the page cache where that can be: they need not
    /// be copied, and nobody is about to read them.
    fn open_to_fill(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open(name)
    }

    /// Removes a file. Who has it open can go on reading it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was created and removed durable.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that are free for this process.
    fn room(&self) -> io::Result<u64>;
}

/// `O_DIRECT`, as `open` takes it.
const O_DIRECT: i32 = rustix::fs::OFlags::DIRECT.bits().cast_signed();

/// A directory of the file system.
pub(in crate::serve::log) struct Real(PathBuf);

impl Real {
    pub(in crate::serve::log) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Directory for Real {
    fn list(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.0.join(name))?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(self.0.join(name))?))
    }

    fn open_to_fill(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(O_DIRECT);
        match options.open(self.0.join(name)) {
            Ok(file) => Ok(Arc::new(file)),
            // Not every file system can.
            Err(_) => self.open(name),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        std::fs::File::open(&self.0)?.sync_all()
    }

    fn room(&self) -> io::Result<u64> {
        let figures = rustix::fs::statvfs(&self.0)?;
        Ok(figures.f_bavail.saturating_mul(figures.f_frsize))
    }
}

impl File for std::fs::File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
