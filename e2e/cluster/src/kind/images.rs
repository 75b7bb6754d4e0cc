//! Which images a node has: asked of the node, as a name may point to another image by now.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::archive;
use crate::command;

/// What an image is called, and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    name: String,
    digest: String,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Manifest>,
}

#[derive(Deserialize)]
struct Manifest {
    digest: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
struct Annotations {
    /// The name that containerd gives the image.
    #[serde(rename = "io.containerd.image.name")]
    name: Option<String>,
}

/// The images in an archive; none if it does not tell, as one of Docker's older format does not.
pub(crate) fn of(archive: &Path) -> Result<Vec<Image>> {
    let contents = archive::contents(archive)?;
    match contents.iter().find(|(path, _)| path == "index.json") {
        Some((_, index)) => {
            named(index).with_context(|| format!("{} has an index.json that is none", archive.display()))
        }
        None => Ok(Vec::new()),
    }
}

fn named(index: &[u8]) -> Result<Vec<Image>> {
    let index: Index = serde_json::from_slice(index)?;
    let named = |manifest: Manifest| Some(Image { name: manifest.annotations.name?, digest: manifest.digest });
    // One without a name, and there is no telling whether the node has it all.
    Ok(index.manifests.into_iter().map(named).collect::<Option<_>>().unwrap_or_default())
}

/// The table of a node's images.
pub(crate) async fn list(node: &str) -> Result<String> {
    command::run("docker", &["exec", node, "ctr", "--namespace", "k8s.io", "images", "list"]).await
}

/// Whether all of `images` are in a table, whose first column is the name and third the digest.
pub(crate) fn are_in(table: &str, images: &[Image]) -> bool {
    let is = |image: &Image, row: &str| {
        let mut columns = row.split_whitespace();
        columns.next() == Some(&image.name) && columns.nth(1) == Some(&image.digest)
    };
    images.iter().all(|image| table.lines().any(|row| is(image, row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = r#"{"manifests": [
        {"digest": "sha256:aa", "annotations": {"io.containerd.image.name": "localhost/a:1"}}
    ]}"#;

    #[test]
    fn a_node_that_has_another_image_of_the_same_name_does_not_have_the_image() {
        let images = named(INDEX.as_bytes()).unwrap();
        assert!(are_in("REF TYPE DIGEST\nlocalhost/a:1 application/x sha256:aa 1.0 MiB\n", &images));
        assert!(!are_in("REF TYPE DIGEST\nlocalhost/a:1 application/x sha256:bb 1.0 MiB\n", &images));
        assert!(!are_in("REF TYPE DIGEST\nlocalhost/a:10 application/x sha256:aa 1.0 MiB\n", &images));
    }

    #[test]
    fn an_archive_with_an_image_that_has_no_name_tells_nothing() {
        let unnamed = INDEX.replace("]}", r#", {"digest": "sha256:cc"}]}"#);
        assert_eq!(named(unnamed.as_bytes()).unwrap(), []);
    }
}
