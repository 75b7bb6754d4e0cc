//! A Gateway that producers come through: Traefik, in the scene's namespace, behind the Service `gateway`.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use signalbox_cluster::Cluster;

use crate::{Scene, eventually};

/// The name of the Gateway, and of all that it is made of.
pub const GATEWAY: &str = "gateway";
/// Where Traefik listens: above what needs a privilege.
const PORT: u16 = 8000;

/// A Gateway. What is cluster-wide of it is removed with [`Gateway::remove`]; the definitions of the Gateway API stay.
pub struct Gateway {
    scene: Scene,
}

/// What a route sends to a Service, in the order of the route.
pub type Weights = Vec<(String, i64)>;

impl Gateway {
    /// Starts it, and waits until it has been accepted.
    pub async fn start(scene: &Scene, cluster: &Cluster) -> Result<Self> {
        let image = cluster.gateway_api().await?;
        cluster
            .kubectl_with_input(&["apply", "--server-side", "--filename=-"], &cluster_wide(&scene.namespace))
            .await?;
        let gateway = Self { scene: scene.clone() };
        scene.apply(&in_namespace(&scene.namespace, image)).await?;
        eventually("the Gateway is programmed", Duration::from_mins(2), async || {
            let found = gateway.api("Gateway").get(GATEWAY).await?;
            let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is = |type_: &str| conditions.iter().any(|found| found["type"] == type_ && found["status"] == "True");
            ensure!(is("Accepted") && is("Programmed"), "{conditions:?}");
            Ok(Some(()))
        })
        .await?;
        Ok(gateway)
    }

    /// The weights of a route that the Gateway has accepted.
    pub async fn weights(&self, route: &str) -> Result<Weights> {
        let found = self.api("HTTPRoute").get(route).await?;
        let parents = found.data["status"]["parents"].as_array().cloned().unwrap_or_default();
        let conditions =
            parents.first().and_then(|parent| parent["conditions"].as_array().cloned()).unwrap_or_default();
        for type_ in ["Accepted", "ResolvedRefs"] {
            let is = conditions.iter().any(|found| found["type"] == type_ && found["status"] == "True");
            ensure!(is, "the Gateway has not {type_} the route: {parents:?}");
        }
        let backends = found.data["spec"]["rules"][0]["backendRefs"].as_array().cloned().unwrap_or_default();
        let weight = |backend: &serde_json::Value| {
            (backend["name"].as_str().unwrap_or_default().to_owned(), backend["weight"].as_i64().unwrap_or(1))
        };
        Ok(backends.iter().map(weight).collect())
    }

    /// Removes what is outside the namespace.
    pub async fn remove(self, cluster: &Cluster) -> Result<()> {
        let args = ["delete", "--ignore-not-found", "--wait=false", "--filename=-"];
        cluster.kubectl_with_input(&args, &cluster_wide(&self.scene.namespace)).await.map(drop)
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", kind));
        Api::namespaced_with(self.scene.stage.client.clone(), &self.scene.namespace, &resource)
    }
}

fn cluster_wide(namespace: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: signalbox-e2e}}
spec: {{controllerName: traefik.io/gateway-controller}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: signalbox-e2e-gateway}}
rules:
- {{apiGroups: [\"\"], resources: [namespaces, services, secrets, configmaps, nodes, pods], verbs: [get, list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses, gateways, httproutes, grpcroutes, referencegrants, backendtlspolicies]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gatewayclasses/status, gateways/status, httproutes/status, grpcroutes/status, backendtlspolicies/status]
  verbs: [update, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: signalbox-e2e-gateway}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: signalbox-e2e-gateway}}
subjects: [{{kind: ServiceAccount, name: {GATEWAY}, namespace: {namespace}}}]
"
    )
}

fn in_namespace(namespace: &str, image: &str) -> String {
    format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{name: {GATEWAY}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {GATEWAY}}}
spec:
  selector: {{app: {GATEWAY}}}
  ports: [{{name: http, port: 8080, targetPort: {PORT}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {GATEWAY}}}
spec:
  selector: {{matchLabels: {{app: {GATEWAY}}}}}
  template:
    metadata: {{labels: {{app: {GATEWAY}}}}}
    spec:
      serviceAccountName: {GATEWAY}
      enableServiceLinks: true
      terminationGracePeriodSeconds: 1
      securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: traefik
        image: {image}
        imagePullPolicy: Never
        args: [--providers.kubernetesgateway=true, '--providers.kubernetesgateway.namespaces={namespace}',
          '--entrypoints.web.address=:{PORT}', --global.checknewversion=false, --global.sendanonymoususage=false,
          --providers.providersthrottleduration=200ms, --log.level=INFO, --ping=true, --ping.entrypoint=web]
        readinessProbe: {{httpGet: {{path: /ping, port: {PORT}}}, periodSeconds: 1}}
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {GATEWAY}}}
spec:
  gatewayClassName: signalbox-e2e
  listeners: [{{name: http, port: {PORT}, protocol: HTTP}}]
"
    )
}
