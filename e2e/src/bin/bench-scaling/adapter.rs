//! The external metrics API, as far as a HorizontalPodAutoscaler asks for it: one metric, the backlog of a fleet.
//!
//! It runs in this process, and asks the shards when it is asked, so it adds no delay of its own. The API server reaches
//! it at the address that this machine has towards the API server.

use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use signalbox_cluster::Cluster;
use signalbox_e2e::{Scene, Stage, eventually};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::NAMESPACE;
use crate::spikes::backlog;

/// The metric; its label says which fleet.
pub(crate) const METRIC: &str = "signalbox-backlog";
/// The label.
pub(crate) const FLEET: &str = "fleet";
/// The API group with its version, which are also the path.
const API: &str = "external.metrics.k8s.io/v1beta1";
/// The objects that make the API server ask us.
const NAME: &str = "signalbox-bench-adapter";

/// The adapter, registered with the API server.
pub(crate) struct Adapter {
    asked: Arc<AtomicU64>,
    server: AbortHandle,
}

impl Adapter {
    /// Starts it, and waits until the API server has it.
    pub(crate) async fn start(cluster: &Cluster, scene: &Scene) -> Result<Self> {
        let here = our_address(cluster).await?;
        let listener = TcpListener::bind(here).await.context("no port for the metrics adapter")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicU64::new(0));
        let server = tokio::spawn(serve(listener, acceptor()?, scene.clone(), asked.clone())).abort_handle();
        for object in objects(&scene.namespace, address) {
            apply(&scene.stage, object).await?;
        }
        let name = "v1beta1.external.metrics.k8s.io";
        let services: Api<DynamicObject> = Api::all_with(scene.stage.client.clone(), &api_service());
        eventually("the API server has the metrics adapter", std::time::Duration::from_mins(1), async || {
            let service = services.get(name).await?;
            let conditions = service.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let available = conditions.iter().find(|condition| condition["type"] == "Available");
            let available = available.context("nothing is said about it yet")?;
            anyhow::ensure!(available["status"] == "True", "{}", available["message"]);
            Ok(Some(()))
        })
        .await?;
        Ok(Self { asked, server })
    }

    /// How often the metric was asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes it away again.
    pub(crate) async fn end(self, stage: &Stage) -> Result<()> {
        self.server.abort();
        clear(stage).await
    }
}

/// Removes what the API server was told, by this run or an earlier one: while it asks an adapter that is gone, no
/// namespace can be deleted.
pub(crate) async fn clear(stage: &Stage) -> Result<()> {
    for object in objects(NAMESPACE, ([127, 0, 0, 1], 1).into()) {
        let (api, object) = api_of(stage, object)?;
        match api.delete(&object.name_any(), &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Where this machine can be reached from the API server, with any port.
async fn our_address(cluster: &Cluster) -> Result<SocketAddr> {
    let url =
        cluster.kubectl(&["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"]).await?;
    let api: hyper::Uri = url.trim().parse()?;
    let host = api.host().context("the API server has no address")?;
    // Nothing is sent: connecting only chooses the address that would be sent from.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((host, api.port_u16().unwrap_or(443)))?;
    let mut here = socket.local_addr()?;
    anyhow::ensure!(
        !here.ip().is_loopback(),
        "the API server is reached through {host}, so it cannot reach this process: leave the HorizontalPodAutoscaler \
         out with --hpa-spikes 0"
    );
    here.set_port(0);
    Ok(here)
}

fn acceptor() -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(tokio_rustls::rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, scene: Scene, asked: Arc<AtomicU64>) -> Result<Infallible> {
    loop {
        let (stream, _) = listener.accept().await?;
        let (tls, scene, asked) = (tls.clone(), scene.clone(), asked.clone());
        tokio::spawn(async move {
            // Probes that only connect are no matter.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let (scene, asked) = (scene.clone(), asked.clone());
                async move { Ok::<_, Infallible>(answer(&request, &scene, &asked).await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, scene: &Scene, asked: &AtomicU64) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let body = match path.strip_prefix(&format!("/apis/{API}")) {
        Some("" | "/") => Some(resources()),
        Some(rest) if rest.ends_with(&format!("/{METRIC}")) => {
            asked.fetch_add(1, Ordering::Relaxed);
            let fleet = selected(request.uri().query().unwrap_or_default());
            match backlog(scene, &fleet).await {
                Ok(events) => Some(values(&fleet, events)),
                Err(_) => None,
            }
        }
        _ => None,
    };
    let (status, body) = match body {
        Some(body) => (StatusCode::OK, body),
        None => {
            (StatusCode::NOT_FOUND, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}))
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// The fleet in `labelSelector=fleet%3Dorders`.
fn selected(query: &str) -> String {
    let selector = query.split('&').find_map(|part| part.strip_prefix("labelSelector=")).unwrap_or_default();
    selector.replace("%3D", "=").rsplit('=').next().unwrap_or_default().to_owned()
}

fn resources() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API, "resources": [
        {"name": METRIC, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]},
    ]})
}

fn values(fleet: &str, events: u64) -> Value {
    json!({"kind": "ExternalMetricValueList", "apiVersion": API, "metadata": {}, "items": [{
        "metricName": METRIC, "metricLabels": {FLEET: fleet},
        "timestamp": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), "value": events.to_string(),
    }]})
}

/// What makes the API server ask us, and lets the autoscaler ask the API server.
fn objects(namespace: &str, address: SocketAddr) -> [Value; 5] {
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME, "namespace": namespace},
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": address.port()}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": NAME, "namespace": namespace, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4", "ports": [{"name": "https", "port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": NAME},
            "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [{"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}]}),
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100,
                "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": {"name": NAME, "namespace": namespace, "port": 443}}}),
    ]
}

fn api_service() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("apiregistration.k8s.io", "v1", "APIService"))
}

fn api_of(stage: &Stage, object: Value) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let kind = GroupVersionKind::try_from(object.types.clone().context("an object without a kind")?)?;
    let resource = ApiResource::from_gvk(&kind);
    let client = stage.client.clone();
    let api = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    Ok((api, object))
}

async fn apply(stage: &Stage, object: Value) -> Result<()> {
    let (api, object) = api_of(stage, object)?;
    api.patch(&object.name_any(), &PatchParams::apply("signalbox-bench").force(), &Patch::Apply(&object)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fleet_is_in_the_selector() {
        for query in ["labelSelector=fleet%3Dorders", "timeout=1s&labelSelector=fleet=orders"] {
            assert_eq!(super::selected(query), "orders");
        }
    }
}
