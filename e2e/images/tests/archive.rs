//! Opens the archives again, with a reader and types that are not the writer's.
#![allow(clippy::unwrap_used, reason = "all of this file is test code, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use flate2::read::GzDecoder;
use oci_spec::image::{Arch, ImageConfiguration, ImageIndex, ImageManifest, MediaType, OciLayout, Os};
use sha2::{Digest, Sha256};
use signalbox_images::{Image, archive};

const NAME: &str = "signalbox.dev/example:1.2.3";

/// A static program, as far as an image is concerned: an ELF header for amd64 without program headers, then filling.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 62;
    bytes.extend((0..200_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
    bytes
}

fn example(binary: &[u8]) -> Image<'_> {
    let labels = [("org.opencontainers.image.title", "example"), ("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")];
    Image {
        name: NAME.to_owned(),
        program: "example".to_owned(),
        binary,
        ports: vec![8080, 9090],
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        created: 86_400,
    }
}

struct Entry {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    owner: (u64, u64),
    time: u64,
    content: Vec<u8>,
}

fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut tar = tar::Archive::new(bytes);
    let entries = tar.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = vec![];
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            Entry {
                path: header.path().unwrap().to_str().unwrap().to_owned(),
                kind: header.entry_type(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                time: header.mtime().unwrap(),
                content,
            }
        })
        .collect()
}

/// The files of an archive and the documents in them, followed from `index.json` as a container engine does.
struct Opened {
    files: BTreeMap<String, Vec<u8>>,
    index: ImageIndex,
    manifest: ImageManifest,
    config: ImageConfiguration,
    layer: Vec<u8>,
}

impl Opened {
    fn new(bytes: &[u8]) -> Self {
        let files: BTreeMap<_, _> = entries(bytes).into_iter().map(|entry| (entry.path, entry.content)).collect();
        let index = ImageIndex::from_reader(&*files["index.json"]).unwrap();
        let manifest = ImageManifest::from_reader(blob(&files, &index.manifests()[0])).unwrap();
        let config = ImageConfiguration::from_reader(blob(&files, manifest.config())).unwrap();
        let mut layer = vec![];
        GzDecoder::new(blob(&files, &manifest.layers()[0])).read_to_end(&mut layer).unwrap();
        Self { files, index, manifest, config, layer }
    }
}

/// A blob by its descriptor; its size and its digest are what the descriptor says.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &oci_spec::image::Descriptor) -> &'a [u8] {
    let digest = descriptor.digest().to_string();
    let content = &files[&format!("blobs/{}", digest.replace(':', "/"))];
    assert_eq!(descriptor.size(), content.len() as u64);
    assert_eq!(digest, sha256(content));
    content
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn every_digest_and_size_is_that_of_the_content_it_names() {
    let opened = Opened::new(&archive(&example(&program())).unwrap());
    assert_eq!(opened.config.rootfs().diff_ids(), &[sha256(&opened.layer)]);
    assert_eq!(opened.manifest.config().media_type(), &MediaType::ImageConfig);
    assert_eq!(opened.manifest.layers()[0].media_type(), &MediaType::ImageLayerGzip);
    assert_eq!((opened.index.manifests().len(), opened.manifest.layers().len()), (1, 1));
    let layout = OciLayout::from_reader(&*opened.files["oci-layout"]).unwrap();
    assert_eq!(layout.image_layout_version(), "1.0.0");
}

#[test]
fn the_archive_holds_no_file_but_those_that_its_index_leads_to() {
    let opened = Opened::new(&archive(&example(&program())).unwrap());
    let blobs =
        [opened.index.manifests()[0].digest(), opened.manifest.config().digest(), opened.manifest.layers()[0].digest()];
    let mut expected: BTreeSet<_> =
        blobs.map(|digest| format!("blobs/{}", digest.to_string().replace(':', "/"))).into();
    expected.extend(["index.json", "manifest.json", "oci-layout"].map(str::to_owned));
    assert_eq!(opened.files.into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn containerd_docker_and_podman_each_find_the_name() {
    let opened = Opened::new(&archive(&example(&program())).unwrap());
    let annotations = opened.index.manifests()[0].annotations().clone().unwrap();
    assert_eq!(annotations["io.containerd.image.name"], NAME);
    assert_eq!(annotations["org.opencontainers.image.ref.name"], NAME);
    let docker: serde_json::Value = serde_json::from_slice(&opened.files["manifest.json"]).unwrap();
    let path = |descriptor: &oci_spec::image::Descriptor| {
        format!("blobs/{}", descriptor.digest().to_string().replace(':', "/"))
    };
    let expected = serde_json::json!([{
        "Config": path(opened.manifest.config()),
        "RepoTags": [NAME],
        "Layers": [path(&opened.manifest.layers()[0])],
    }]);
    assert_eq!(docker, expected);
}

#[test]
fn the_program_is_run_as_a_user_by_number_who_is_not_root() {
    let opened = Opened::new(&archive(&example(&program())).unwrap());
    let config = opened.config.config().clone().unwrap();
    assert_eq!(config.user().as_deref(), Some("65532:65532"));
    assert_eq!(config.entrypoint().as_deref(), Some(&["/example".to_owned()][..]));
    let ports: BTreeSet<_> = config.exposed_ports().clone().unwrap().into_iter().collect();
    assert_eq!(ports, BTreeSet::from(["8080/tcp".to_owned(), "9090/tcp".to_owned()]));
    assert_eq!(config.labels().clone().unwrap()["org.opencontainers.image.title"], "example");
    assert_eq!((opened.config.architecture(), opened.config.os()), (&Arch::Amd64, &Os::Linux));
    assert_eq!(opened.config.created().as_deref(), Some("1970-01-02T00:00:00Z"));
}

#[test]
fn the_layer_holds_the_program_and_its_user_and_nothing_else() {
    let binary = program();
    let opened = Opened::new(&archive(&example(&binary)).unwrap());
    let entries = entries(&opened.layer);
    let listed: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.kind, entry.mode)).collect();
    let (folder, file) = (tar::EntryType::Directory, tar::EntryType::Regular);
    assert_eq!(
        listed,
        [("etc/", folder, 0o755), ("etc/group", file, 0o644), ("etc/passwd", file, 0o644), ("example", file, 0o755)]
    );
    assert!(entries.iter().all(|entry| entry.owner == (0, 0) && entry.time == 0));
    assert_eq!(entries[3].content, binary);
    let users = String::from_utf8(entries[2].content.clone()).unwrap();
    assert!(users.lines().any(|line| line.starts_with("signalbox:x:65532:65532:")), "{users}");
}

#[test]
fn the_same_program_gives_the_same_bytes_twice() {
    let binary = program();
    assert_eq!(archive(&example(&binary)).unwrap(), archive(&example(&binary)).unwrap());
}

#[test]
fn one_other_bit_in_the_program_gives_another_image() {
    let binary = program();
    let mut other = binary.clone();
    other[70] ^= 1;
    let digest = |binary: &[u8]| Opened::new(&archive(&example(binary)).unwrap()).index.manifests()[0].digest().clone();
    assert_ne!(digest(&binary), digest(&other));
}
