//! The operator's role, held against what it was seen to ask.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use signalbox_e2e::{Fleet, FleetSpec, Sinks, writes};

use crate::theatre::Act;

/// Rights that no request shows: what admission asks for before it allows an owner reference that blocks deletion,
/// counting an event that repeats within minutes, and the route of fleets in mode Gateway, which this one is not.
const UNSEEN: &[(&str, &str)] = &[
    ("update", "signalbox.dev/eventdispatchers/finalizers"),
    ("patch", "events.k8s.io/events"),
    ("get", "gateway.networking.k8s.io/httproutes"),
    ("create", "gateway.networking.k8s.io/httproutes"),
    ("patch", "gateway.networking.k8s.io/httproutes"),
    ("delete", "gateway.networking.k8s.io/httproutes"),
];

pub(crate) async fn story(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, since_opening } = act;
    let log = cluster.audit_log().context("this cluster keeps no audit log that can be read")?;
    // A life that uses every right: made, and one region taken away again.
    let sinks = Sinks::start(&scene, "fulfilment", &regions).await?;
    let mut spec = FleetSpec::new("orders", &regions, 1, &sinks);
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;
    spec.regions.truncate(1);
    Fleet::apply(&scene, &spec).await?;
    fleet
        .status_where("the region is gone", Duration::from_mins(1), |status| {
            ensure!(status.regions.len() == 1, "{:?}", status.regions);
            Ok(())
        })
        .await?;

    // Not from before: a release that was uninstalled earlier lost its role a moment before its pods.
    let lately = since_opening.context("no audit log was there at the start")?.requests()?;
    let refused: Vec<_> = lately.iter().filter(|request| request.unauthorised).collect();
    ensure!(refused.is_empty(), "{refused:#?}");

    let asked = writes::Since::ever(log).requests()?;
    let role = Api::<ClusterRole>::all(scene.stage.client.clone()).get("signalbox").await?;
    let rules = role.rules.unwrap_or_default();
    let granted: BTreeSet<(String, String)> = rules
        .iter()
        .flat_map(|rule| {
            let groups = rule.api_groups.iter().flatten();
            groups.flat_map(move |group| {
                let resources = rule.resources.iter().flatten();
                resources.flat_map(move |resource| {
                    rule.verbs.iter().map(move |verb| (verb.clone(), format!("{group}/{resource}")))
                })
            })
        })
        .collect();
    // Server-side apply of something new is a patch that the API server also counts as a creation.
    let used = |verb: &str, resource: &str| {
        asked.iter().any(|request| {
            request.resource == resource && (request.verb == verb || (verb == "create" && request.code == 201))
        })
    };
    let idle: Vec<_> = granted
        .iter()
        .filter(|(verb, resource)| !used(verb, resource) && !UNSEEN.contains(&(verb.as_str(), resource.as_str())))
        .collect();
    ensure!(idle.is_empty(), "rights that nothing uses: {idle:?}");
    Ok(())
}
