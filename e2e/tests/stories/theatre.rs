//! Where stories are played: one cluster with the operator, one runtime, a scene for each story.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use libtest_mimic::{Failed, Trial};
use signalbox_cluster::{Cluster, ClusterError, Options};
use signalbox_e2e::{Scene, Stage, writes};
use tokio::runtime::Runtime;

type Play = Box<dyn FnOnce(Act) -> Pin<Box<dyn Future<Output = Result<()>>>> + Send>;

/// A story: a name that is a sentence, and what happens.
pub(crate) struct Story {
    name: &'static str,
    play: Play,
}

/// What a story has at hand.
pub(crate) struct Act {
    /// Its namespace.
    pub(crate) scene: Scene,
    /// The cluster that it shares.
    pub(crate) cluster: Arc<Cluster>,
    /// Two regions of the cluster.
    pub(crate) regions: Vec<String>,
    /// The audit log since the operator was installed for this run, where there is one.
    pub(crate) since_opening: Option<Arc<writes::Since>>,
}

/// Where stories are played.
pub(crate) struct Theatre {
    runtime: Arc<Runtime>,
    cluster: Arc<Cluster>,
    stage: Stage,
    since_opening: Option<Arc<writes::Since>>,
    keep: bool,
}

/// Why there is none.
pub(crate) enum NoTheatre {
    /// This machine cannot have a cluster.
    Unavailable(String),
    /// It could, and that went wrong.
    Failed(anyhow::Error),
}

impl Story {
    pub(crate) fn new<F>(name: &'static str, play: impl FnOnce(Act) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self { name, play: Box::new(move |act| Box::pin(play(act))) }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }
}

impl NoTheatre {
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl fmt::Display for NoTheatre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => f.write_str(why),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl Theatre {
    /// Makes the images and the cluster, and installs the operator.
    pub(crate) fn open() -> Result<Self, NoTheatre> {
        let runtime = Runtime::new().map_err(|error| NoTheatre::Failed(error.into()))?;
        let (cluster, stage) = runtime.block_on(async {
            let cluster = match Cluster::up(&Options::from_env()).await {
                Ok(cluster) => cluster,
                Err(ClusterError::Unavailable(why)) => return Err(NoTheatre::Unavailable(why.to_string())),
                Err(ClusterError::Failed(error)) => return Err(NoTheatre::Failed(error)),
            };
            let stage = async {
                let images = Stage::images()?;
                Stage::set(&cluster, &images).await
            };
            match stage.await {
                Ok(stage) => Ok((cluster, stage)),
                Err(error) => {
                    let error = with_evidence(&cluster, "setting-the-stage", error).await;
                    if !cluster.was_reused() && !kept() {
                        let _ = cluster.down().await;
                    }
                    Err(NoTheatre::Failed(error))
                }
            }
        })?;
        let keep = kept() || cluster.was_reused();
        let since = cluster.audit_log().map(writes::Since::now).transpose().map_err(NoTheatre::Failed)?;
        let since_opening = since.map(Arc::new);
        Ok(Self { runtime: Arc::new(runtime), cluster: Arc::new(cluster), stage, since_opening, keep })
    }

    /// A story as the test runner takes it.
    pub(crate) fn trial(&self, story: Story) -> Trial {
        let Story { name, play } = story;
        let (runtime, cluster, stage) = (self.runtime.clone(), self.cluster.clone(), self.stage.clone());
        let since_opening = self.since_opening.clone();
        Trial::test(name, move || {
            runtime
                .block_on(perform(name, play, cluster, stage, since_opening))
                .map_err(|error| Failed::from(format!("{error:#}")))
        })
    }

    /// Takes the cluster down, if it was made for this run.
    pub(crate) fn close(self) -> Result<()> {
        if self.keep {
            return Ok(());
        }
        let cluster = Arc::into_inner(self.cluster).context("a story still holds the cluster")?;
        self.runtime.block_on(cluster.down())
    }
}

async fn perform(
    name: &'static str,
    play: Play,
    cluster: Arc<Cluster>,
    stage: Stage,
    since_opening: Option<Arc<writes::Since>>,
) -> Result<()> {
    let regions: Vec<_> = cluster.regions().into_iter().take(2).collect();
    anyhow::ensure!(regions.len() == 2, "the stories need nodes in two regions");
    let scene = Scene::open(&stage, &namespace(name)).await?;
    let played = play(Act { scene: scene.clone(), cluster: cluster.clone(), regions, since_opening }).await;
    let played = match played {
        Ok(()) => Ok(()),
        Err(error) => Err(with_evidence(&cluster, name, error).await),
    };
    let closed = scene.close().await;
    played.and(closed)
}

async fn with_evidence(cluster: &Cluster, name: &str, error: anyhow::Error) -> anyhow::Error {
    let folder = std::env::temp_dir().join("signalbox-e2e-evidence").join(name);
    match cluster.evidence(&folder).await {
        Ok(()) => error.context(format!("evidence is in {}", folder.display())),
        Err(lost) => error.context(format!("no evidence could be kept: {lost:#}")),
    }
}

/// A namespace's name from a story's: at most 40 characters, so that Service names stay short.
fn namespace(name: &str) -> String {
    let name = name.replace(['_', ':'], "-");
    name.chars().take(40).collect::<String>().trim_matches('-').to_owned()
}

fn kept() -> bool {
    std::env::var("SIGNALBOX_E2E_KEEP").is_ok_and(|keep| keep == "1")
}
