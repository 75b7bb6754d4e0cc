//! The one layer of an image: the program, and a user to run it as.
//!
//! Pure: the same program gives the same bytes. Entries are sorted, times are zero, owners and modes are fixed.

use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// The user and the group that every image runs as: not root, and in no range that a distribution uses.
pub const USER: u32 = 65532;

// Programs need no names for their user, but people do, in `ps` and in `kubectl exec`; and a runtime finds no home
// folder without. There is no shell to name.
const PASSWD: &str = "root:x:0:0:root:/:/nologin\nsignalbox:x:65532:65532:signalbox:/:/nologin\n";
const GROUP: &str = "root:x:0:\nsignalbox:x:65532:\n";

/// The layer as a tar: `etc/group`, `etc/passwd` and the program, all owned by root and writable by nobody else.
pub(crate) fn layer(program: &str, binary: &[u8]) -> io::Result<Vec<u8>> {
    let mut files =
        [("etc/group", 0o644, GROUP.as_bytes()), ("etc/passwd", 0o644, PASSWD.as_bytes()), (program, 0o755, binary)];
    files.sort_by_key(|(path, ..)| *path);
    let mut tar = Builder::new(Vec::with_capacity(binary.len() + (16 << 10)));
    append(&mut tar, EntryType::Directory, "etc/", 0o755, &[])?;
    for (path, mode, content) in files {
        append(&mut tar, EntryType::Regular, path, mode, content)?;
    }
    tar.into_inner()
}

/// One entry, of which nothing depends on the machine or on the time.
pub(crate) fn append(
    tar: &mut Builder<Vec<u8>>,
    kind: EntryType,
    path: &str,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_path(path)?;
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.append(&header, content)
}

/// Compresses a layer. A registry, a node and a release page keep the layer as it is here, so it is worth being small;
/// the compressor is pinned by the lock file, so the bytes do not depend on the machine. The header holds no time and
/// no name. The middling level: the best one takes twice as long to save half a percent.
pub(crate) fn compress(layer: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
    gzip.write_all(layer)?;
    gzip.finish()
}
