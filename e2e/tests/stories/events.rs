//! Which events a sink gets, and how it can tell that they are from the fleet: filters, signatures, HTTPS.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use signalbox_contract::EVENTS_PORT;
use signalbox_e2e::{Fleet, FleetSpec, Load, SinkSpec, Sinks, eventually};

use crate::theatre::Act;

const LIMIT: Duration = Duration::from_mins(1);

pub(crate) async fn filters_and_signatures(act: Act) -> Result<()> {
    let Act { scene, regions, .. } = act;
    let here = &regions[..1];
    let signing_secret = format!("whsec_{}", "c2lnbmFsYm94".repeat(3));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "signing"},
        "stringData": {"secret": signing_secret}});
    scene.apply(&serde_yaml::to_string(&secret)?).await?;
    let loads = Sinks::start_verifying(&scene, "loads", here, "signing").await?;
    let orders = Sinks::start(&scene, "orders-in", here).await?;
    let mut spec = FleetSpec::new("orders", here, 1, &loads);
    spec.sinks = vec![
        SinkSpec::new("loads", loads.uri())
            .with("filter", json!({"type": "dev.signalbox."}))
            .with("signing", json!({"secretName": "signing"})),
        SinkSpec::new("orders", orders.uri()).with("filter", json!({"type": "com.shop.order.", "source": "/till/"})),
    ];
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.ready().await?;

    let load = Load::start(&scene, "orders", 100, 200).await?;
    ensure!(load.finish().await?.accepted == 200, "not every event was accepted");
    let pod = format!("orders-{}-0", here[0]);
    let of = |type_: &str, source: &str| json!({"specversion": "1.0", "id": "0", "type": type_, "source": source, "data": 1});
    // For no sink, for no sink, and for the other one.
    for event in [
        of("com.shop.refund.paid", "/till/7"),
        of("com.shop.order.placed", "/web"),
        of("com.shop.order.placed", "/till/7"),
    ] {
        scene.send_to_pod("http", &pod, &event).await?;
    }
    loads.all_arrive(&load.source, 200, LIMIT).await?;
    orders.all_arrive("/till/7", 1, LIMIT).await?;
    fleet
        .status_where("nothing waits", LIMIT, |status| {
            ensure!(status.sinks.iter().all(|sink| sink.backlog == "0"), "{:?}", status.sinks);
            Ok(())
        })
        .await?;

    let (signed, other) = (loads.tally(&here[0]).await?, orders.tally(&here[0]).await?);
    ensure!(signed.received == 200 && other.received == 1, "{signed:?} {other:?}");
    let signatures = signed.signatures.context("the sink has looked at no signature")?;
    ensure!(signatures.valid == 200 && signatures.invalid == 0 && signatures.missing == 0, "{signatures:?}");
    Ok(())
}

pub(crate) async fn https(act: Act) -> Result<()> {
    let Act { scene, cluster, regions, .. } = act;
    let here = &regions[..1];
    let sinks = Sinks::start(&scene, "fulfilment", here).await?;
    let mut spec = FleetSpec::new("orders", here, 1, &sinks);
    spec.more = vec![("tls".to_owned(), json!({"secretName": "orders-tls"}))];
    let fleet = Fleet::apply(&scene, &spec).await?;
    fleet.says("Ready", "False", "Starting", &["waits for its volumes; see Secret orders-tls"]).await?;

    let names = vec![format!("orders.{}.svc", scene.namespace)];
    let certificate = rcgen::generate_simple_self_signed(names)?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-tls"},
    "type": "kubernetes.io/tls", "stringData": {
        "tls.crt": certificate.cert.pem(),
        "tls.key": certificate.signing_key.serialize_pem(),
    }});
    scene.apply(&serde_yaml::to_string(&secret)?).await?;
    fleet.ready().await?;

    let event = json!({"specversion": "1.0", "id": "0", "type": "com.shop.order.placed", "source": "/till/7"});
    let pod = format!("orders-{}-0", here[0]);
    eventually("an event is taken over HTTPS", LIMIT, async || {
        scene.send_to_pod("https", &pod, &event).await.map(Some)
    })
    .await?;
    // Not by our own client, which tries again for minutes what a proxy could not reach.
    let path = format!("/api/v1/namespaces/{}/pods/http:{pod}:{EVENTS_PORT}/proxy/", scene.namespace);
    let plain = cluster.kubectl(&["get", "--raw", &path]).await.err().context("plain HTTP is taken as well")?;
    ensure!(!format!("{plain:#}").contains("MethodNotAllowed"), "plain HTTP is taken as well: {plain:#}");
    sinks.all_arrive("/till/7", 1, LIMIT).await.map(drop)
}
