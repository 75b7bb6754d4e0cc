//! An image as one file: an OCI image layout in a tar, which also carries the `manifest.json` of `docker save`.
//!
//! Pure: no clock, no file, no network. Who reads what:
//! - containerd (`ctr images import`, so also `kind load image-archive`) sees `oci-layout`, reads `index.json` and
//!   passes over `manifest.json`. It names the image by the annotation `io.containerd.image.name`.
//! - Docker's own image store reads `manifest.json` and names the image by `RepoTags`; with containerd's store it does
//!   as containerd does.
//! - Podman and skopeo read the layout and name the image by `org.opencontainers.image.ref.name`.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType};

use crate::elf::static_architecture;
use crate::layer::{USER, append, compress, layer};

/// An image of one static program.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    /// The whole name with the registry and the tag, such as `signalbox.dev/operator:0.1.0`.
    pub name: String,
    /// The program's file name in the root folder, which is also the entry point: `signalbox` is run as `/signalbox`.
    pub program: String,
    /// The program: a static 64-bit ELF file. The image's architecture is what the file says.
    pub binary: &'a [u8],
    /// The TCP ports that the program listens on. For people to read: they open nothing.
    pub ports: Vec<u16>,
    /// The image's labels.
    pub labels: BTreeMap<String, String>,
    /// When the image says it was made, in seconds since 1970.
    pub created: u64,
}

/// The bytes of the image's archive. The same image gives the same bytes, everywhere.
///
/// # Errors
/// When the program is not a static ELF file, its name is not a file name, or `created` is past the year 9999.
pub fn archive(image: &Image<'_>) -> Result<Vec<u8>> {
    let Image { name, program, binary, ports, labels, created } = image;
    ensure!(
        !program.is_empty()
            && program.len() <= 100
            && !program.contains('/')
            && !matches!(program.as_str(), "." | ".." | "etc"),
        "{program:?} is not a file name"
    );
    let architecture = static_architecture(binary)?;
    let created = Timestamp::from_second(i64::try_from(*created)?)
        .context("the time that the image is to be dated with is out of range")?
        .to_string();

    let content = layer(program, binary)?;
    let layer = Blob::new("application/vnd.oci.image.layer.v1.tar+gzip", compress(&content)?);
    let config = Blob::json(
        "application/vnd.oci.image.config.v1+json",
        &Document {
            created: &created,
            architecture,
            os: "linux",
            config: Execution {
                user: format!("{USER}:{USER}"),
                exposed_ports: ports.iter().map(|port| (format!("{port}/tcp"), json!({}))).collect(),
                entrypoint: [format!("/{program}")],
                working_dir: "/",
                labels,
            },
            rootfs: Rootfs { kind: "layers", diff_ids: [digest(&content)] },
            history: [History { created: &created, created_by: "cargo images" }],
        },
    )?;
    let manifest = Blob::json(
        "application/vnd.oci.image.manifest.v1+json",
        &Manifest {
            schema_version: 2,
            media_type: "application/vnd.oci.image.manifest.v1+json",
            config: config.descriptor(),
            layers: [layer.descriptor()],
            annotations: labels,
        },
    )?;
    let index = Index {
        schema_version: 2,
        media_type: "application/vnd.oci.image.index.v1+json",
        manifests: [Descriptor {
            annotations: BTreeMap::from([
                ("io.containerd.image.name", name.as_str()),
                ("org.opencontainers.image.ref.name", name.as_str()),
            ]),
            platform: Some(Platform { architecture, os: "linux" }),
            ..manifest.descriptor()
        }],
    };
    let docker = [Docker { config: config.path(), repo_tags: [name], layers: [layer.path()] }];

    let mut files = vec![
        ("index.json".to_owned(), serde_json::to_vec(&index)?),
        ("manifest.json".to_owned(), serde_json::to_vec(&docker)?),
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ];
    files.extend([layer, config, manifest].map(|blob| (blob.path(), blob.content)));
    files.sort();
    let mut tar = Builder::new(Vec::new());
    for (path, content) in files {
        append(&mut tar, EntryType::Regular, &path, 0o644, &content)?;
    }
    Ok(tar.into_inner()?)
}

/// Content that goes by its digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        Self { media_type, digest: digest(&content), content }
    }

    fn json(media_type: &'static str, value: &impl Serialize) -> Result<Self> {
        Ok(Self::new(media_type, serde_json::to_vec(value)?))
    }

    fn path(&self) -> String {
        format!("blobs/{}", self.digest.replace(':', "/"))
    }

    fn descriptor(&self) -> Descriptor<'_> {
        Descriptor {
            media_type: self.media_type,
            digest: &self.digest,
            size: self.content.len(),
            annotations: BTreeMap::new(),
            platform: None,
        }
    }
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

// The documents, in our own types because the order of a map that hashes would change the digest from run to run.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index<'a> {
    schema_version: u8,
    media_type: &'a str,
    manifests: [Descriptor<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u8,
    media_type: &'a str,
    config: Descriptor<'a>,
    layers: [Descriptor<'a>; 1],
    annotations: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform<'a>>,
}

#[derive(Serialize)]
struct Platform<'a> {
    architecture: &'a str,
    os: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    config: Execution<'a>,
    rootfs: Rootfs<'a>,
    history: [History<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    user: String,
    /// A set, which the format writes as a map to empty objects.
    exposed_ports: BTreeMap<String, Value>,
    entrypoint: [String; 1],
    working_dir: &'a str,
    labels: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Rootfs<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    diff_ids: [String; 1],
}

#[derive(Serialize)]
struct History<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Docker<'a> {
    config: String,
    repo_tags: [&'a str; 1],
    layers: [String; 1],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::program;

    fn image(binary: &[u8]) -> Image<'_> {
        Image {
            name: "signalbox.dev/test:1".to_owned(),
            program: "test".to_owned(),
            binary,
            ports: vec![],
            labels: BTreeMap::new(),
            created: 0,
        }
    }

    #[test]
    fn a_program_name_that_would_leave_the_root_folder_is_refused() {
        for bad in ["", ".", "..", "etc", "../x", "/x", "a/b", &"x".repeat(101)] {
            let refused = archive(&Image { program: bad.to_owned(), ..image(&program(62, &[1])) });
            assert!(refused.unwrap_err().to_string().contains("not a file name"), "{bad}");
        }
    }

    #[test]
    fn a_program_that_the_image_could_not_run_is_refused() {
        let refused = archive(&image(&program(62, &[3]))).unwrap_err();
        assert!(refused.to_string().contains("not static"), "{refused}");
    }

    #[test]
    fn a_time_that_no_calendar_has_is_refused() {
        let refused = archive(&Image { created: u64::MAX, ..image(&program(62, &[])) });
        assert!(refused.is_err());
    }
}
