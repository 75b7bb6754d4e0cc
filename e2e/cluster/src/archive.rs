//! Image archives: of one program, and what is in one, without unpacking it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::tools::hex;

/// The archive of an image with nothing in it but a program, beside the program: made unless it is there.
pub(crate) fn of_program(name: &str, program: &Path) -> Result<PathBuf> {
    let archive = program.with_extension("tar");
    if archive.exists() {
        return Ok(archive);
    }
    let binary = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let bytes = signalbox_images::archive(&signalbox_images::Image {
        name: name.to_owned(),
        program: program.file_name().context("the program has no name")?.to_string_lossy().into_owned(),
        binary: &binary,
        ports: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        created: 0,
    })?;
    // To another name first, of this process's own: an interrupted run leaves no half archive.
    let unfinished = program.with_extension(format!("tar.{}", std::process::id()));
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, &archive)?;
    Ok(archive)
}

/// What identifies the images in an archive: equal for archives that load as the same images.
///
/// It is taken from the archive's table of contents, which holds the digests of all else.
pub(crate) fn identity(archive: &Path) -> Result<String> {
    let mut contents = contents(archive)?;
    contents.sort();
    let mut hash = Sha256::new();
    for (path, content) in contents {
        hash.update(format!("{path} {}\n", content.len()));
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

/// An archive's table of contents, by file: that of the Open Container Initiative, that of Docker, or both.
pub(crate) fn contents(archive: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let file = File::open(archive).with_context(|| format!("cannot open the image archive {}", archive.display()))?;
    let mut contents = Vec::new();
    let mut tar = tar::Archive::new(file);
    let entries = tar.entries_with_seek().with_context(|| format!("{} is not an archive", archive.display()))?;
    for entry in entries {
        let mut entry = entry.with_context(|| format!("{} is not a whole archive", archive.display()))?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if path == "index.json" || path == "manifest.json" {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            contents.push((path, content));
        }
    }
    if contents.is_empty() {
        bail!("{} is not an image archive: it holds neither index.json nor manifest.json", archive.display());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archived(dir: &Path, file: &str, content: &str) -> std::path::PathBuf {
        let into = dir.join("image.tar");
        let mut tar = tar::Builder::new(File::create(&into).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, file, content.as_bytes()).unwrap();
        tar.finish().unwrap();
        into
    }

    #[test]
    fn archives_with_the_same_table_of_contents_are_the_same_images() {
        let dir = tempfile::tempdir().unwrap();
        let first = identity(&archived(dir.path(), "index.json", "one")).unwrap();
        assert_eq!(identity(&archived(dir.path(), "index.json", "one")).unwrap(), first);
        assert_ne!(identity(&archived(dir.path(), "index.json", "two")).unwrap(), first);
        assert_ne!(identity(&archived(dir.path(), "manifest.json", "one")).unwrap(), first);
    }

    #[test]
    fn what_is_no_image_archive_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let error = identity(&archived(dir.path(), "notes.txt", "one")).unwrap_err().to_string();
        assert!(error.contains("image.tar"), "{error}");
    }
}
