//! One replica of the operator, from its start to its end: waits to lead, leads, gives up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::{Client, Config};
use signalbox_contract::AddressPolicy;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::admin::{self, Health};
use crate::controller;
use crate::fleet::ShardDefaults;
use crate::leading;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::observe::Scope;
use crate::record::Recorder;

/// The API server is in the same cluster; one that takes longer to connect to is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What the operator is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image of shards whose fleet does not name one.
    pub dispatcher_image: String,
    /// When it is pulled.
    pub image_pull_policy: String,
    /// Networks that sinks may be in; none for all.
    pub sink_addresses_allowed: Vec<String>,
    /// Networks that sinks may not be in.
    pub sink_addresses_denied: Vec<String>,
    /// Namespaces to look for fleets in; none for all.
    pub watch_namespaces: Vec<String>,
    /// Where the admin port listens.
    pub admin_listen: SocketAddr,
    /// Name of the Lease.
    pub lease_name: String,
    /// Namespace of the Lease; `None` for the one that the credentials name.
    pub namespace: Option<String>,
    /// Who this replica is; distinct among replicas.
    pub identity: String,
    /// Where to write down what is observed; `None` for nowhere.
    pub record: Option<PathBuf>,
    /// Most bytes that this takes.
    pub record_limit: u64,
}

/// Runs one replica until SIGTERM or SIGINT, or until it loses its leadership, which is an error.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let mut config = Config::infer().await.context("no cluster: run this in a pod, or set KUBECONFIG")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Retries are ours: each call has its own bound, and each watch its own backoff.
    config.default_retry = false;
    let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("cannot make a client for the cluster")?;

    let recorder = match &settings.record {
        Some(path) => Recorder::open(path, settings.record_limit)
            .with_context(|| format!("cannot write to {}; choose another --record", path.display()))?,
        None => Recorder::default(),
    };
    let metrics = Metrics::new();
    let health = Health::new(metrics.clone());
    let listener = TcpListener::bind(settings.admin_listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --admin-listen", settings.admin_listen))?;
    let mut tasks = JoinSet::new();
    let serving = admin::serve(listener, metrics.clone(), health.clone());
    tasks.spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the admin port ended");
        }
    });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut candidate = Candidate::new(client.clone(), &namespace, &settings.lease_name, &settings.identity);
    tracing::info!(identity = settings.identity, lease = settings.lease_name, namespace, "waiting to lead");
    tokio::select! {
        () = candidate.elected() => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }

    tracing::info!(identity = settings.identity, "leading");
    metrics.leads();
    let client = leading::client(client, &namespace, candidate.leadership());
    let scopes = scopes(&settings.watch_namespaces);
    health.leads(&scopes);
    let defaults = ShardDefaults {
        image: settings.dispatcher_image,
        image_pull_policy: settings.image_pull_policy,
        addresses: AddressPolicy { denied: settings.sink_addresses_denied, allowed: settings.sink_addresses_allowed },
    };
    for scope in scopes {
        let identity = settings.identity.clone();
        tasks.spawn(controller::run(
            client.clone(),
            scope,
            identity,
            defaults.clone(),
            metrics.clone(),
            health.clone(),
            recorder.clone(),
        ));
    }
    tokio::select! {
        // Not a moment longer: another replica may lead from now on.
        () = candidate.lost() => bail!("lost the Lease {}", settings.lease_name),
        Some(ended) = tasks.join_next() => bail!("a task ended that should not: {ended:?}"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tasks.shutdown().await;
    candidate.resign().await;
    tracing::info!("ended");
    Ok(())
}

fn scopes(namespaces: &[String]) -> Vec<Scope> {
    if namespaces.is_empty() {
        return vec![Scope::Cluster];
    }
    let mut namespaces = namespaces.to_vec();
    namespaces.sort();
    namespaces.dedup();
    namespaces.into_iter().map(Scope::Namespace).collect()
}
