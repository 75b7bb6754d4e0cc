//! The interface to a cluster, whichever way it was had.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::choice::{self, Source};
use crate::command;
use crate::error::ClusterError;
use crate::kind::Kind;
use crate::lock::Lock;
use crate::namespaces::Namespaces;
use crate::nodes::{self, Node};
use crate::options::Options;
use crate::place::Place;
use crate::progress::Progress;
use crate::tools::{Tool, Tools};
use crate::{evidence, existing};

#[derive(Debug)]
pub(crate) enum Backend {
    Existing,
    Kind(Kind),
    Namespaces(Namespaces),
}

/// A cluster that is up.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) backend: Backend,
    place: Place,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    nodes: Vec<Node>,
    reused: bool,
    /// Held by those who change the cluster as a whole; not by those who only look at it.
    lock: Option<Lock>,
}

impl Cluster {
    /// The cluster of this name: the one that is up, else a new one. Until it is dropped, nobody else gets it this way.
    pub async fn up(options: &Options) -> Result<Cluster, ClusterError> {
        options.check()?;
        let progress = Progress::new(options.quiet);
        let place = Place::of(&options.name);
        let tools = Tools::new();
        let source = match choice::choose(&place, &tools).await? {
            Ok(source) => source,
            Err(unavailable) => return Err(ClusterError::Unavailable(unavailable)),
        };
        let lock = if source == Source::Existing { None } else { Some(Lock::take(&place.lock())?) };
        if let Some(mut cluster) = Self::found(source, &place, &tools, &progress).await? {
            match cluster.settle().await {
                Ok(()) => {
                    cluster.lock = lock;
                    return Ok(cluster);
                }
                // Someone else's cluster is not replaced; its error is the answer.
                Err(error) if source == Source::Existing => return Err(error.into()),
                Err(error) => {
                    progress.note(&format!("The cluster that was kept does not work, so it is made anew: {error:#}"));
                }
            }
        }
        let backend = match source {
            Source::Existing => Backend::Existing,
            Source::Kind => Backend::Kind(Kind::make(&place, &tools, &progress).await?),
            Source::Namespaces => Backend::Namespaces(Namespaces::make(&place, &tools, &progress).await?),
        };
        let mut cluster = Self::with(backend, &place, &tools, &progress).await?;
        cluster.settle().await?;
        cluster.reused = false;
        cluster.lock = lock;
        Ok(cluster)
    }

    /// The cluster of this name, if it is up; for looking at it and for changing its nodes while others use it.
    pub async fn attach(options: &Options) -> Option<Cluster> {
        options.check().ok()?;
        let place = Place::of(&options.name);
        let tools = Tools::new();
        let source = choice::choose(&place, &tools).await.ok()?.ok()?;
        let progress = Progress::new(true);
        let mut cluster = Self::found(source, &place, &tools, &progress).await.ok()??;
        cluster.read_nodes().await.ok()?;
        Some(cluster)
    }

    /// Removes the cluster of this name, whatever state it is in. Says whether there was anything.
    pub async fn remove(options: &Options) -> Result<bool> {
        options.check()?;
        let place = Place::of(&options.name);
        if !place.dir().exists() && !place.lock().exists() {
            return Ok(false);
        }
        let lock = Lock::take(&place.lock())?;
        Self::remove_locked(&place, lock).await?;
        Ok(true)
    }

    async fn remove_locked(place: &Place, lock: Lock) -> Result<()> {
        if Kind::is_at(place) {
            Kind::remove(place, &Tools::new()).await?;
        } else {
            Namespaces::remove(place).await?;
        }
        lock.remove()?;
        let _ = std::fs::remove_dir(place.root());
        Ok(())
    }

    /// What is up already.
    async fn found(source: Source, place: &Place, tools: &Tools, progress: &Progress) -> Result<Option<Self>> {
        let backend = match source {
            Source::Existing => Some(Backend::Existing),
            Source::Kind => Kind::attach(place, tools).await.map(Backend::Kind),
            Source::Namespaces => Namespaces::attach(place).map(Backend::Namespaces),
        };
        match backend {
            Some(backend) => Ok(Some(Self::with(backend, place, tools, progress).await?)),
            None => Ok(None),
        }
    }

    async fn with(backend: Backend, place: &Place, tools: &Tools, progress: &Progress) -> Result<Self> {
        let kubeconfig = match backend {
            Backend::Existing => existing::checked_kubeconfig()?,
            _ => place.kubeconfig(),
        };
        // Where Kubernetes was built here, its kubectl was too; elsewhere any will do.
        let kubectl = match (&backend, command::find("kubectl")) {
            (Backend::Namespaces(_), _) => tools.path(&Tool::KUBE, "kubectl")?,
            (_, Some(kubectl)) => kubectl,
            (_, None) => {
                tools.ensure(&[Tool::KUBECTL], progress).await?;
                tools.program(&Tool::KUBECTL)?
            }
        };
        tools.ensure(&[Tool::HELM], progress).await?;
        let helm = tools.program(&Tool::HELM)?;
        Ok(Self {
            backend,
            place: place.clone(),
            kubeconfig,
            kubectl,
            helm,
            nodes: Vec::new(),
            reused: true,
            lock: None,
        })
    }

    /// Puts the cluster into the state that a test starts from: every node plugged in and Ready.
    async fn settle(&mut self) -> Result<()> {
        if !matches!(self.backend, Backend::Existing) {
            // Before anything is asked of it.
            self.api_server("CONT")?.output()?;
        }
        let ready = self.read_nodes().await?;
        match &self.backend {
            Backend::Existing => existing::check_regions(&self.nodes)?,
            // Also if all are Ready: a node that was cut off a moment ago still counts as that.
            Backend::Kind(_) | Backend::Namespaces(_) => self.mend_all().await?,
        }
        if !ready {
            self.kubectl(&["wait", "--for=condition=Ready", "nodes", "--all", "--timeout=90s"]).await?;
        }
        Ok(())
    }

    /// Reads the nodes from the cluster; says whether all are Ready.
    async fn read_nodes(&mut self) -> Result<bool> {
        let nodes = nodes::parse(&self.kubectl(&["get", "nodes", "--output=json", "--request-timeout=10s"]).await?)?;
        let ready = nodes.iter().all(|(_, ready)| *ready);
        self.nodes = nodes.into_iter().map(|(node, _)| node).collect();
        Ok(ready)
    }

    /// Which way it was had.
    pub fn source(&self) -> Source {
        match self.backend {
            Backend::Existing => Source::Existing,
            Backend::Kind(_) => Source::Kind,
            Backend::Namespaces(_) => Source::Namespaces,
        }
    }

    /// The path of an administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The nodes that workloads can run on.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The regions of the nodes, in the order of their names.
    pub fn regions(&self) -> Vec<String> {
        nodes::regions(&self.nodes)
    }

    /// Whether it was up before.
    pub fn was_reused(&self) -> bool {
        self.reused
    }

    /// From the start of making it, with all programs built, until all nodes were Ready; zero if it was not made here.
    pub fn startup(&self) -> Duration {
        match &self.backend {
            Backend::Existing => Duration::ZERO,
            Backend::Kind(kind) => kind.startup(),
            Backend::Namespaces(namespaces) => namespaces.startup(),
        }
    }

    /// The path of a kubectl of a fitting version.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// The path of a Helm 4.
    pub fn helm_path(&self) -> &Path {
        &self.helm
    }

    /// The path of one of Kubernetes' own programs, where Kubernetes was built here.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        match self.backend {
            Backend::Namespaces(_) => Tools::new().path(&Tool::KUBE, name),
            Backend::Existing | Backend::Kind(_) => {
                anyhow::bail!("{name} is at hand only where the cluster is made of namespaces")
            }
        }
    }

    /// What a program needs in its environment to use this cluster, and no other one's left-overs: clients keep
    /// what they learned about a cluster by its address, and a new cluster may have the address of an old one.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        let mut environment = vec![("KUBECONFIG", self.kubeconfig.clone())];
        if !matches!(self.backend, Backend::Existing) {
            let cache = self.place.dir().join("clients");
            environment.push(("KUBECACHEDIR", cache.join("kubectl")));
            environment.push(("HELM_CACHE_HOME", cache.join("helm/cache")));
            environment.push(("HELM_CONFIG_HOME", cache.join("helm/config")));
            environment.push(("HELM_DATA_HOME", cache.join("helm/data")));
        }
        environment
    }

    /// Runs kubectl as an administrator and returns what it printed; the error carries its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.client(&self.kubectl, args, None).await
    }

    /// Runs kubectl with `stdin` as its standard input, as for `apply --filename=-`.
    pub async fn kubectl_with_input(&self, args: &[&str], stdin: &str) -> Result<String> {
        self.client(&self.kubectl, args, Some(stdin)).await
    }

    /// Runs Helm as an administrator and returns what it printed; the error carries its standard error.
    pub async fn helm(&self, args: &[&str]) -> Result<String> {
        self.client(&self.helm, args, None).await
    }

    async fn client(&self, program: impl AsRef<OsStr>, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = command::command(program);
        command.args(args).envs(self.environment());
        command::output(&mut command, input).await
    }

    /// Makes the images in an archive known to every node; does nothing where they are already.
    pub async fn load_image(&self, archive: &Path) -> Result<()> {
        let loaded = match &self.backend {
            Backend::Existing => existing::load_image(archive).await,
            Backend::Kind(kind) => kind.load_image(archive).await,
            Backend::Namespaces(namespaces) => namespaces.load_image(archive).await,
        };
        loaded.with_context(|| format!("cannot load the image archive {}", archive.display()))
    }

    /// The file with one line per request that the API server has answered, where there is one.
    pub fn audit_log(&self) -> Option<&Path> {
        match &self.backend {
            Backend::Kind(kind) => Some(kind.audit_log()),
            Backend::Namespaces(namespaces) => Some(namespaces.audit_log()),
            Backend::Existing => None,
        }
    }

    /// Writes what may explain a failure into the directory `into`: nodes, events, pods and all logs.
    pub async fn evidence(&self, into: &Path) -> Result<()> {
        evidence::gather(self, into).await
    }

    /// Removes the cluster and all that it left on the machine; an existing one is left as it is.
    pub async fn down(self) -> Result<()> {
        if let Backend::Existing = self.backend {
            return Ok(());
        }
        let lock = match self.lock {
            Some(lock) => lock,
            None => Lock::take(&self.place.lock())?,
        };
        Self::remove_locked(&self.place, lock).await
    }
}
