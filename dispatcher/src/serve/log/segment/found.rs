//! What is in the directory when the log is opened.

use std::sync::Arc;

use super::super::LogError;
use super::files::Directory;
use super::format::{HEADER, Header, Use};
use super::pool::{Pool, Spare};
use super::reader::{Segment, store};
use super::sizes::Sizes;

/// All files, by what they are.
pub(super) struct Found {
    /// In order of generation.
    pub(super) logs: Vec<Arc<Segment>>,
    pub(super) leftovers: Vec<Arc<Segment>>,
    pub(super) spares: Vec<Spare>,
    pub(super) names: Vec<String>,
    pub(super) generation: u32,
    /// Bytes of the next segment.
    pub(super) size: u32,
}

/// Looks at every file.
pub(super) fn find(directory: &dyn Directory, sizes: Sizes) -> Result<Found, LogError> {
    let names = directory.list().map_err(|e| store(&e))?;
    let names: Vec<String> = names.into_iter().filter(|name| Pool::is_segment(name)).collect();
    let (logs, leftovers, spares) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = Found { logs, leftovers, spares, names: names.clone(), generation: 0, size: sizes.smallest };
    for name in names {
        let file = directory.open(&name).map_err(|e| store(&e))?;
        let size = u32::try_from(file.len().map_err(|e| store(&e))?).unwrap_or(0);
        let mut head = [0; HEADER as usize];
        let header = if size < 2 * HEADER {
            None
        } else {
            file.read_at(&mut head, 0).map_err(|e| store(&e))?;
            Header::decode(&head).map_err(|_| LogError::Foreign("segments of another version"))?
        };
        match header {
            Some(header) => {
                found.generation = found.generation.max(header.generation);
                let segment = Arc::new(Segment::new(name, file, header, size));
                let kind = if header.purpose == Use::Log { &mut found.logs } else { &mut found.leftovers };
                kind.push(segment);
            }
            None if sizes.has(size) => {
                if head.iter().any(|&byte| byte != 0) {
                    tracing::warn!(
                        segment = name,
                        "this segment has no valid head: it was about to be used when the power failed, or is damaged"
                    );
                }
                found.spares.push(Spare { name, file, size });
            }
            // The process ended while it was being filled.
            None => directory.remove(&name).map_err(|e| store(&e))?,
        }
    }
    found.logs.sort_by_key(|segment| segment.header.generation);
    if let Some(last) = found.logs.last() {
        found.size = sizes.after(last.size);
    }
    // Some of them may have been meant to become larger: the process ended while they were being filled.
    let size = found.size;
    for small in found.spares.extract_if(.., |spare| spare.size < size) {
        directory.remove(&small.name).map_err(|e| store(&e))?;
    }
    if !found.spares.is_empty() {
        // It may have ended before their names were on disk.
        directory.sync().map_err(|e| store(&e))?;
    }
    Ok(found)
}
