//! Names a build after what goes into it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// Long enough that two builds never share a name, short enough to read.
const KEY_BYTES: usize = 8;

/// A name for what `flags` make of the Go module in `dir`: its module files, its sources and the flags.
pub(crate) fn of(dir: &Path, flags: &[String]) -> Result<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
            name == "go.mod" || name == "go.sum" || extension == Some("go")
        })
        .collect();
    ensure!(names.iter().any(|name| name == "go.mod"), "{} is not a Go module", dir.display());
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        let content =
            std::fs::read(dir.join(&name)).with_context(|| format!("cannot read {name} in {}", dir.display()))?;
        // Lengths keep what ends one file from counting as the start of the next.
        hash.update(format!("{name} {}\n", content.len()));
        hash.update(content);
    }
    for flag in flags {
        hash.update(format!("{flag}\n"));
    }
    Ok(hex(&hash.finalize()[..KEY_BYTES]))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    #[test]
    fn the_key_changes_with_pins_sources_and_flags_and_with_nothing_else() {
        let flags = ["-trimpath".to_owned()];
        let first = of(module(&[("go.mod", "module a"), ("main.go", "package main")]).path(), &flags).unwrap();
        let same = module(&[("go.mod", "module a"), ("main.go", "package main"), ("notes.txt", "")]);
        assert_eq!(of(same.path(), &flags).unwrap(), first);
        let pinned = module(&[("go.mod", "module a"), ("go.sum", "x"), ("main.go", "package main")]);
        assert_ne!(of(pinned.path(), &flags).unwrap(), first);
        assert_ne!(of(same.path(), &[]).unwrap(), first);
        let source = module(&[("go.mod", "module a"), ("main.go", "package main ")]);
        assert_ne!(of(source.path(), &flags).unwrap(), first);
    }

    #[test]
    fn a_directory_without_a_module_is_refused() {
        assert!(of(module(&[]).path(), &[]).is_err());
    }
}
