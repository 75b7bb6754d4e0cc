//! A cluster with the operator on it, installed through the chart, as a user would.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use sha2::{Digest as _, Sha256};
use signalbox_cluster::Cluster;
use signalbox_images::Images;

use crate::eventually;

/// Where the operator runs.
pub const NAMESPACE: &str = "signalbox-system";
/// The Helm release, and so the name of the Deployment.
const RELEASE: &str = "signalbox";

/// A cluster with the operator on it.
#[derive(Clone)]
pub struct Stage {
    /// A client with all rights.
    pub client: Client,
    /// The image of the dispatcher, which is also that of sinks and load generators.
    pub dispatcher_image: String,
}

impl Stage {
    /// The images, compiled from this checkout, in `target/images-out`.
    pub fn images() -> Result<Images> {
        let folder = checkout().join("target/images-out");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        signalbox_images::build(&folder, &signalbox_images::Options::default())
    }

    /// Loads the images onto the nodes and installs the operator, or upgrades it. Returns once it is ready.
    pub async fn set(cluster: &Cluster, images: &Images) -> Result<Self> {
        for archive in [&images.operator, &images.dispatcher] {
            cluster.load_image(archive).await?;
        }
        Self::install(cluster, images).await?;
        let stage =
            Self { client: client(cluster.kubeconfig()).await?, dispatcher_image: images.dispatcher_name.clone() };
        stage.leader().await?;
        Ok(stage)
    }

    async fn install(cluster: &Cluster, images: &Images) -> Result<()> {
        let chart = chart();
        // The tag stays the same from build to build, so that the digest is what makes a new build roll out.
        let digest = format!("podAnnotations.build={}", digest(&images.operator)?);
        let tag = format!("image.tag={}", images.tag);
        let dispatcher_tag = format!("dispatcher.image.tag={}", images.tag);
        let chart = chart.to_str().context("the checkout's path is not text")?;
        cluster
            .helm(&[
                "upgrade",
                "--install",
                RELEASE,
                chart,
                "--namespace",
                NAMESPACE,
                "--create-namespace",
                "--set",
                &tag,
                "--set",
                &dispatcher_tag,
                "--set-string",
                &digest,
                "--wait",
                "--timeout",
                "180s",
            ])
            .await
            .context("cannot install the chart")?;
        Ok(())
    }

    /// The region of the pod that leads: who loses that one loses the leader too, and waits for the other replica.
    pub async fn leader_region(&self, cluster: &Cluster) -> Result<String> {
        let leader = self.leader().await?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let spec = pods.get(&leader).await?.spec.context("the leader has no spec")?;
        let node = cluster.nodes().iter().find(|node| Some(&node.name) == spec.node_name.as_ref());
        Ok(node.context("the leader's node is not known")?.region.clone())
    }

    /// The pod that leads.
    pub async fn leader(&self) -> Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually("one replica of the operator leads", Duration::from_secs(30), async || {
            let lease = leases.get("signalbox-operator").await?;
            Ok(lease.spec.and_then(|spec| spec.holder_identity).filter(|holder| !holder.is_empty()))
        })
        .await
    }
}

/// The chart of this checkout.
fn chart() -> PathBuf {
    checkout().join("charts/signalbox")
}

/// The folder above this crate's.
fn checkout() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(Duration::from_mins(1));
    Ok(Client::try_from(config)?)
}

fn digest(archive: &Path) -> Result<String> {
    let bytes = fs::read(archive).with_context(|| format!("cannot read {}", archive.display()))?;
    let digest = Sha256::digest(bytes).iter().take(8).fold(0u64, |digits, byte| digits << 8 | u64::from(*byte));
    Ok(format!("{digest:016x}"))
}
