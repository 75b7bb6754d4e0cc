//! The chart: what it renders, what it refuses, and what it leaves when it goes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use signalbox::api::EventDispatcher;
use signalbox_cluster::Cluster;
use signalbox_e2e::{Fleet, FleetSpec, Load, NAMESPACE, Sinks};

use crate::theatre::Act;

/// Values that the schema refuses, and the path that its message names.
const REFUSED: &[(&str, &str)] = &[
    ("replicas=0", "replicas"),
    ("replcas=2", "replcas"),
    ("image.tagg=1", "image"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("watchNamespaces={Shop}", "watchNamespaces"),
    ("image.digest=abc", "digest"),
    ("runAsUser=0", "runAsUser"),
    ("sinkAddresses.denied={10.0.0.0}", "denied"),
    ("sinkAddresses.allowed={10.0.0.0/33}", "allowed"),
    ("sinkAddresses.allowed={10.0.0.256/32}", "allowed"),
    ("sinkAddresses.allowed={shop.svc/8}", "allowed"),
];

pub(crate) async fn renders(act: Act) -> Result<()> {
    let chart = chart()?;
    act.cluster.helm(&["lint", "--strict", &chart]).await?;
    let all = render(&act.cluster, &chart, &[]).await?;
    let crd = of_kind(&all, "CustomResourceDefinition");
    ensure!(crd.len() == 1, "{} definitions", crd.len());
    // Read as what it is: Helm writes whole numbers without their fraction.
    let definition: CustomResourceDefinition = serde_yaml::from_value(crd[0].clone())?;
    ensure!(definition.spec == signalbox::api::crd().spec, "the chart's CRD is not what the types say");
    ensure!(serde_yaml::to_string(&crd[0])?.contains("helm.sh/resource-policy: keep"), "the CRD would not be kept");
    ensure!(of_kind(&all, "PodDisruptionBudget").len() == 1, "two replicas need a budget");

    let single = render(&act.cluster, &chart, &["replicas=1", "crds.keep=false"]).await?;
    ensure!(of_kind(&single, "PodDisruptionBudget").is_empty(), "a budget for one replica would block drains");
    ensure!(!serde_yaml::to_string(&single)?.contains("resource-policy"), "crds.keep=false does nothing");

    let namespaced = render(&act.cluster, &chart, &["watchNamespaces={shop,pay}", "crds.enabled=false"]).await?;
    for kind in ["ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"] {
        ensure!(of_kind(&namespaced, kind).is_empty(), "{kind} is cluster-wide");
    }
    let text = serde_yaml::to_string(&namespaced)?;
    ensure!(text.contains("--watch-namespace=shop") && text.contains("--watch-namespace=pay"), "{text}");

    let networks = ["sinkAddresses.allowed={10.0.0.0/8,fd00::/8}", "sinkAddresses.denied={10.1.0.0/16}"];
    let text = serde_yaml::to_string(&render(&act.cluster, &chart, &networks).await?)?;
    for argument in ["allowed=10.0.0.0/8", "allowed=fd00::/8", "denied=10.1.0.0/16"] {
        ensure!(text.contains(&format!("--sink-addresses-{argument}")), "{argument} is not in: {text}");
    }

    for (value, path) in REFUSED {
        match act.cluster.helm(&["template", "signalbox", &chart, "--set", value]).await {
            Ok(_) => bail!("{value} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains(path), "{path} is not in: {error:#}"),
        }
    }
    Ok(())
}

/// After the operator for all namespaces is gone: one for a single namespace, by a Role.
pub(crate) async fn namespaced(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let (chart, namespaces) = (chart()?, format!("watchNamespaces={{{}}}", scene.namespace));
    let settings = ["--set", &namespaces, "--set", "crds.enabled=false", "--wait", "--timeout", "120s"];
    let install = [&["upgrade", "--install", "signalbox", &chart, "--namespace", NAMESPACE], &settings[..]].concat();
    cluster.helm(&install).await?;
    let played = async {
        let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
        let mut spec = FleetSpec::new("orders", &regions, 1, &sinks);
        Fleet::apply(&scene, &spec).await?.ready().await?;
        spec.regions.truncate(1);
        let fleet = Fleet::apply(&scene, &spec).await?;
        let status = fleet.ready().await?;
        ensure!(status.regions.len() == 1, "{:?}", status.regions);
        Ok(())
    };
    let played = played.await;
    cluster.helm(&["uninstall", "signalbox", "--namespace", NAMESPACE, "--wait", "--timeout", "120s"]).await?;
    played
}

/// It takes the operator away.
pub(crate) async fn uninstall(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let fleet = Fleet::apply(&scene, &FleetSpec::new("orders", &regions, 1, &sinks)).await?;
    fleet.ready().await?;

    cluster.helm(&["uninstall", "signalbox", "--namespace", NAMESPACE, "--wait", "--timeout", "120s"]).await?;
    let load = Load::start(&scene, "orders", 100, 300).await?;
    ensure!(load.finish().await?.accepted == 300, "not every event was accepted");
    sinks.all_arrive(&load.source, 300, Duration::from_mins(1)).await?;

    let crds: Api<CustomResourceDefinition> = Api::all(scene.stage.client.clone());
    crds.get("eventdispatchers.signalbox.dev").await.context("the CRD went with the chart")?;
    scene.api::<EventDispatcher>().get("orders").await.context("the fleet went with the chart")?;
    Ok(())
}

fn chart() -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/signalbox").canonicalize()?;
    Ok(path.to_str().context("the checkout's path is not text")?.to_owned())
}

async fn render(cluster: &Cluster, chart: &str, values: &[&str]) -> Result<Vec<serde_yaml::Value>> {
    let mut arguments = vec!["template", "signalbox", chart, "--namespace", NAMESPACE, "--kube-version", "1.37.2"];
    for value in values {
        arguments.extend(["--set", value]);
    }
    let text = cluster.helm(&arguments).await?;
    let documents = text.split("\n---\n").map(serde_yaml::from_str).collect::<Result<Vec<serde_yaml::Value>, _>>()?;
    Ok(documents.into_iter().filter(serde_yaml::Value::is_mapping).collect())
}

fn of_kind<'a>(documents: &'a [serde_yaml::Value], kind: &str) -> Vec<&'a serde_yaml::Value> {
    documents.iter().filter(|document| document["kind"].as_str() == Some(kind)).collect()
}
