//! Container images without a container engine.
//!
//! [`build`] compiles the operator and the dispatcher as static programs and writes one archive for each.
//! [`archive()`] is its last step on its own: a pure function from a program to the bytes of an image, for whoever needs
//! an image of another program.
//!
//! This crate may run `cargo`, `rustc` and `git`, and write into the target directory and the folder it is given.
//! It talks to no registry, no container engine and no cluster.

mod archive;
mod compile;
mod elf;
mod layer;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use archive::{Image, archive};
pub use layer::USER;

/// The version of this workspace, which is the tag of its images unless [`Options::tag`] says otherwise.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What can be chosen about the images. The default is right for a cluster on this machine.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The images' tag; [`VERSION`] when absent, which is what the chart asks for.
    pub tag: Option<String>,
    /// The target triple to compile for; that of this machine when absent.
    pub target: Option<String>,
    /// When the images say they were made, in seconds since 1970. Fixed, by default at zero, so that the same sources give
    /// the same images.
    pub created: u64,
}

/// The two images that were made.
#[derive(Clone, Debug)]
pub struct Images {
    /// The archive of the operator's image.
    pub operator: PathBuf,
    /// The archive of the dispatcher's image.
    pub dispatcher: PathBuf,
    /// The operator's image by name, such as `signalbox.dev/operator:0.1.0`.
    pub operator_name: String,
    /// The dispatcher's image by name, such as `signalbox.dev/dispatcher:0.1.0`.
    pub dispatcher_name: String,
    /// The tag of both.
    pub tag: String,
}

/// What the two images have in common is in `build`; this is what they have not.
struct Part {
    title: &'static str,
    description: &'static str,
    repository: &'static str,
    program: &'static str,
    ports: &'static [u16],
}

const OPERATOR: Part = Part {
    title: "signalbox-operator",
    description: "Runs fleets of event dispatchers on Kubernetes",
    repository: "signalbox.dev/operator",
    program: "signalbox",
    ports: &[8081],
};

const DISPATCHER: Part = Part {
    title: "signalbox-dispatcher",
    description: "Takes CloudEvents over HTTP, keeps them on disk, delivers them to sinks",
    repository: "signalbox.dev/dispatcher",
    program: "dispatcher",
    ports: &[8080, 9090, 9443],
};

/// Compiles both programs and writes `signalbox-operator.tar` and `signalbox-dispatcher.tar` into `dir`, which is
/// made if it is not there. Progress goes to stderr: the compiler's own, then one line for each image.
///
/// # Errors
/// When the tag is not one, a program does not compile, a program is not static, or `dir` cannot be written.
pub fn build(dir: &Path, options: &Options) -> Result<Images> {
    let tag = options.tag.clone().unwrap_or_else(|| VERSION.to_owned());
    check_tag(&tag)?;
    let compiled = compile::compile(options.target.as_deref())?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let write =
        |part: &Part, program: &Path| pack(part, program, dir, &tag, compiled.revision.as_deref(), options.created);
    let (operator_name, operator) = write(&OPERATOR, &compiled.operator)?;
    let (dispatcher_name, dispatcher) = write(&DISPATCHER, &compiled.dispatcher)?;
    Ok(Images { operator, dispatcher, operator_name, dispatcher_name, tag })
}

/// Compiles a program of this workspace the same way, and writes the archive of an image with nothing else in it, called
/// `name`, into `dir`. For programs that are measured beside ours.
///
/// # Errors
/// When it does not compile, is not static, or `dir` cannot be written.
pub fn build_other(dir: &Path, package: &str, program: &str, name: &str) -> Result<PathBuf> {
    let (programs, _) = compile::programs(None, &[(package, program)])?;
    let path = programs.join(program);
    let binary = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (name, program) = (name.to_owned(), program.to_owned());
    let labels = BTreeMap::new();
    let bytes = archive(&Image { name, program, binary: &binary, ports: vec![8080], labels, created: 0 })
        .with_context(|| format!("cannot make an image of {}", path.display()))?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let archive = dir.join(format!("{package}.tar"));
    write_whole(&archive, &bytes).with_context(|| format!("cannot write {}", archive.display()))?;
    Ok(archive)
}

/// Packs one program; answers with the image's name and the archive's path.
fn pack(
    part: &Part,
    program: &Path,
    dir: &Path,
    tag: &str,
    revision: Option<&str>,
    created: u64,
) -> Result<(String, PathBuf)> {
    let binary = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let name = format!("{}:{tag}", part.repository);
    let mut labels = BTreeMap::from(
        [("title", part.title), ("description", part.description), ("version", tag), ("licenses", "Apache-2.0")]
            .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned())),
    );
    if let Some(revision) = revision {
        labels.insert("org.opencontainers.image.revision".to_owned(), revision.to_owned());
    }
    let bytes = archive(&Image {
        name: name.clone(),
        program: part.program.to_owned(),
        binary: &binary,
        ports: part.ports.to_vec(),
        labels,
        created,
    })
    .with_context(|| format!("cannot make an image of {}", program.display()))?;
    let path = dir.join(format!("{}.tar", part.title));
    write_whole(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    let line = format!("{name}: {} (program {}, image {})", path.display(), mebibytes(&binary), mebibytes(&bytes));
    // A closed stderr is no reason to fail.
    let _ = writeln!(io::stderr().lock(), "{line}");
    Ok((name, path))
}

/// Writes beside the file and renames, so that a reader never sees half an archive.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension(format!("tar.{}", std::process::id()));
    fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path)).inspect_err(|_| {
        let _ = fs::remove_file(&unfinished);
    })
}

/// Refuses early what a container engine would refuse late and less clearly.
fn check_tag(tag: &str) -> Result<()> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ensure!(
        tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || c == '.' || c == '-'),
        "{tag:?} is not an image tag: use up to 128 letters, digits, '_', '.' and '-', the first not '.' or '-'"
    );
    Ok(())
}

fn mebibytes(bytes: &[u8]) -> String {
    let tenths = bytes.len() * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_no_engine_would_take_is_refused_with_what_to_write_instead() {
        for good in ["0.1.0", "v1", "_x", "0.1.0-rc.1", "a1b2c3d"] {
            assert!(check_tag(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", ".x", "a/b", "a:b", "0.1.0+build", &"x".repeat(129)] {
            let message = check_tag(bad).expect_err(bad).to_string();
            assert!(message.contains("letters, digits"), "{message}");
        }
    }

    #[test]
    fn an_archive_replaces_the_one_before_it_and_leaves_nothing_else_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn sizes_are_told_in_mebibytes_with_one_digit() {
        assert_eq!(mebibytes(&vec![0; 3 << 19]), "1.5 MiB");
    }
}
