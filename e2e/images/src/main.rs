//! `cargo images -- DIR`: writes the images of the operator and the dispatcher into a folder.
//!
//! May read the command line and `SOURCE_DATE_EPOCH`; all else is the library's.

use std::path::PathBuf;

use clap::Parser;

/// Makes the container images of the operator and the dispatcher, without a container engine.
///
/// Writes signalbox-operator.tar and signalbox-dispatcher.tar, each a static program and nothing else. Load them with
/// `kind load image-archive FILE`, `docker load --input FILE` or `ctr --namespace k8s.io images import FILE`.
#[derive(Parser)]
#[command(name = "images", version)]
struct Arguments {
    /// The folder to write into; made if it is not there.
    dir: PathBuf,
    /// The images' tag [default: the workspace's version, which is what the chart asks for].
    #[arg(long)]
    tag: Option<String>,
    /// The target triple to compile for [default: this machine's].
    #[arg(long)]
    target: Option<String>,
    /// When the images say they were made, in seconds since 1970.
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0)]
    created: u64,
}

fn main() -> anyhow::Result<()> {
    let Arguments { dir, tag, target, created } = Arguments::parse();
    signalbox_images::build(&dir, &signalbox_images::Options { tag, target, created })?;
    Ok(())
}
