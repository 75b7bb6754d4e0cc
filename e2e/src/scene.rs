//! A namespace for one story: restricted, its own, and gone afterwards.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use signalbox_contract::{ADMIN_PORT, EVENTS_PORT, METRICS_PATH};

use crate::{Stage, eventually};

/// How often the containers of a pod were started again.
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

/// A namespace on a stage.
#[derive(Clone)]
pub struct Scene {
    /// Where the operator is.
    pub stage: Stage,
    /// The namespace.
    pub namespace: String,
}

impl Scene {
    /// Makes the namespace `name`, in which only pods that meet the restricted Pod Security Standard may run.
    pub async fn open(stage: &Stage, name: &str) -> Result<Self> {
        let namespaces: Api<Namespace> = Api::all(stage.client.clone());
        let namespace: Namespace = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {
                "pod-security.kubernetes.io/enforce": "restricted",
                "signalbox.dev/e2e": "scene",
            }},
        }))?;
        // One that an earlier run left behind may still be going.
        eventually("the namespace can be made", Duration::from_mins(2), async || {
            match namespaces.create(&PostParams::default(), &namespace).await {
                Ok(_) => Ok(Some(())),
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    namespaces.delete(name, &DeleteParams::default()).await?;
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        Ok(Self { stage: stage.clone(), namespace: name.to_owned() })
    }

    /// Deletes the namespace with all that is in it, and waits until it is gone.
    pub async fn close(self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.stage.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await?;
        eventually("the namespace is gone", Duration::from_mins(2), async || {
            Ok(namespaces.get_opt(&self.namespace).await?.is_none().then_some(()))
        })
        .await
    }

    /// The objects of one kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.stage.client.clone(), &self.namespace)
    }

    /// Sends objects as `kubectl apply` would; YAML with one or more documents.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
        for document in yaml.split("\n---\n") {
            let object: DynamicObject = serde_yaml::from_str(document).with_context(|| document.to_owned())?;
            let types = object.types.clone().context("an object without a kind")?;
            let kind = GroupVersionKind::try_from(types)?;
            let resource = ApiResource::from_gvk(&kind);
            let api: Api<DynamicObject> = Api::namespaced_with(self.stage.client.clone(), &self.namespace, &resource);
            let params = PatchParams::apply("signalbox-e2e").force();
            api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await?;
        }
        Ok(())
    }

    /// The names of the objects of one kind that carry `labels`.
    pub async fn names<K>(&self, labels: &str) -> Result<Vec<String>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let objects = self.api::<K>().list(&ListParams::default().labels(labels)).await?;
        let mut names: Vec<_> = objects.iter().map(kube::ResourceExt::name_any).collect();
        names.sort();
        Ok(names)
    }

    /// The pods that carry `labels`, by name.
    pub async fn pods(&self, labels: &str) -> Result<Vec<Pod>> {
        let mut pods = self.api::<Pod>().list(&ListParams::default().labels(labels)).await?.items;
        pods.sort_by_key(kube::ResourceExt::name_any);
        Ok(pods)
    }

    /// What the Service `service` answers to `GET path` on its port `port`, asked through the API server.
    pub async fn get(&self, service: &str, port: &str, path: &str) -> Result<String> {
        self.request("GET", &format!("services/{service}:{port}"), path, String::new()).await
    }

    /// What the pod `pod` answers to `GET path` on its port `port`, asked through the API server.
    pub async fn get_from_pod(&self, pod: &str, port: u16, path: &str) -> Result<String> {
        self.request("GET", &format!("pods/{pod}:{port}"), path, String::new()).await
    }

    /// One figure of the shard `pod`, by the metric's name. Its report is not for everybody: see the control port.
    pub async fn figure(&self, pod: &str, metric: &str) -> Result<u64> {
        let metrics = self.get_from_pod(pod, ADMIN_PORT, METRICS_PATH).await?;
        let prefix = format!("{metric} ");
        let figure = metrics.lines().find_map(|line| line.strip_prefix(&prefix));
        Ok(figure.with_context(|| format!("no {metric} in the metrics of {pod}"))?.trim().parse()?)
    }

    /// What the shard `pod` answers to an event in structured mode; `scheme` is `http` or `https`. The API server, which
    /// asks, looks at no certificate.
    pub async fn send_to_pod(&self, scheme: &str, pod: &str, event: &serde_json::Value) -> Result<String> {
        let (target, event) = (format!("pods/{scheme}:{pod}:{EVENTS_PORT}"), event.to_string());
        self.request_as("POST", &target, "/", "application/cloudevents+json", event).await
    }

    /// What the shard `pod` answers to a batch of events, over plain HTTP.
    pub async fn send_batch_to_pod(&self, pod: &str, events: &serde_json::Value) -> Result<String> {
        let (target, events) = (format!("pods/{pod}:{EVENTS_PORT}"), events.to_string());
        self.request_as("POST", &target, "/", "application/cloudevents-batch+json", events).await
    }

    /// The answer of `PUT path` with a JSON body.
    pub async fn put(&self, service: &str, port: &str, path: &str, json: &str) -> Result<String> {
        self.request("PUT", &format!("services/{service}:{port}"), path, json.to_owned()).await
    }

    async fn request(&self, method: &str, target: &str, path: &str, body: String) -> Result<String> {
        self.request_as(method, target, path, "application/json", body).await
    }

    async fn request_as(&self, method: &str, target: &str, path: &str, content: &str, body: String) -> Result<String> {
        let uri = format!("/api/v1/namespaces/{}/{target}/proxy{path}", self.namespace);
        let request = http::Request::builder()
            .method(method)
            .uri(&uri)
            .header("content-type", content)
            .body(body.into_bytes())?;
        self.stage.client.request_text(request).await.with_context(|| format!("{method} {uri}"))
    }
}
