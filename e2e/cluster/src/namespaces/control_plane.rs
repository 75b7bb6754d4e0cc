//! The control plane: etcd, the API server, the controllers, the scheduler and the maker of volumes.
//!
//! All of it runs in the fabric's network namespace, so that its ports are nobody else's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::certificates::{ADMINISTRATORS, Authority};
use super::daemon::{Daemons, Room};
use super::layout::{API_PORT, API_SERVICE, SERVICES, Subnet};
use super::network::api_url;
use crate::audit;
use crate::command;
use crate::tools::{Tool, Tools};

/// Slow disks and busy processors are common where tests run.
const PATIENCE: Duration = Duration::from_mins(2);

/// What all parts of the control plane are made of.
pub(crate) struct ControlPlane<'a> {
    pub(crate) daemons: Daemons<'a>,
    pub(crate) authority: &'a Authority,
    pub(crate) tools: &'a Tools,
    pub(crate) subnet: Subnet,
    pub(crate) fabric: &'a str,
}

/// The file that the API server writes what it was asked to.
pub(crate) fn audit_log(logs: &Path) -> PathBuf {
    logs.join("audit.log")
}

impl ControlPlane<'_> {
    /// Starts etcd and the API server, and waits until the API server answers.
    pub(crate) async fn start_api(&self) -> Result<()> {
        let dir = self.daemons.place.dir();
        let address = self.subnet.control_plane();
        let etcd = [
            format!("--data-dir={}", dir.join("etcd").display()),
            "--listen-client-urls=http://127.0.0.1:2379".to_owned(),
            "--advertise-client-urls=http://127.0.0.1:2379".to_owned(),
            "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
            // The data dies with the cluster, so it need not survive the machine.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        self.start("etcd", &self.tools.program(&Tool::ETCD)?, &etcd)?;

        let policy = dir.join("audit-policy.yaml");
        std::fs::write(&policy, audit::POLICY).with_context(|| format!("cannot write {}", policy.display()))?;
        let (token_key, token_public) = self.authority.token_keys()?;
        let names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ];
        let addresses = [address.into(), API_SERVICE.parse().context("the API server's Service address")?];
        let serving = self.authority.issue("apiserver", "kube-apiserver", &[], &names, &addresses)?;
        let to_kubelets =
            self.authority.issue("to-kubelets", "kube-apiserver-to-kubelets", &[ADMINISTRATORS], &[], &[])?;
        let aggregator = self.authority.issue("aggregator", "aggregator", &[], &[], &[])?;
        let ca = self.authority.file();
        let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let args = [
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={API_PORT}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            file("tls-cert-file", &serving.certificate),
            file("tls-private-key-file", &serving.key),
            file("client-ca-file", &ca),
            file("kubelet-certificate-authority", &ca),
            file("kubelet-client-certificate", &to_kubelets.certificate),
            file("kubelet-client-key", &to_kubelets.key),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            file("service-account-signing-key-file", &token_key),
            file("service-account-key-file", &token_public),
            "--authorization-mode=Node,RBAC".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Extension API servers and webhooks are reached at their pods: Service addresses exist on nodes only.
            "--enable-aggregator-routing=true".to_owned(),
            file("proxy-client-cert-file", &aggregator.certificate),
            file("proxy-client-key-file", &aggregator.key),
            file("requestheader-client-ca-file", &ca),
            "--requestheader-allowed-names=aggregator".to_owned(),
            "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
            "--requestheader-group-headers=X-Remote-Group".to_owned(),
            "--requestheader-username-headers=X-Remote-User".to_owned(),
            file("audit-policy-file", &policy),
            file("audit-log-path", &audit_log(&self.daemons.place.logs())),
            format!("--audit-log-maxsize={}", audit::LARGEST),
        ];
        let api = self.start("kube-apiserver", &self.kube("kube-apiserver")?, &args)?;

        let admin = self.authority.issue("admin", "signalbox-e2e", &[ADMINISTRATORS], &[], &[])?;
        let kubeconfig = self.daemons.place.kubeconfig();
        self.authority.kubeconfig(&kubeconfig, self.daemons.place.name(), &api_url(self.subnet), &admin)?;
        let kubectl = self.kube("kubectl")?;
        let ready = || async {
            // The port first: asking for it costs next to nothing, starting kubectl does not.
            tokio::net::TcpStream::connect((address, API_PORT)).await.is_ok()
                && command::run(
                    &kubectl,
                    &["--kubeconfig", &kubeconfig.to_string_lossy(), "get", "--raw=/readyz", "--request-timeout=5s"],
                )
                .await
                .is_ok()
        };
        self.daemons.wait(&api, PATIENCE, ready).await
    }

    /// Starts what acts on what the API server holds.
    pub(crate) fn start_controllers(&self) -> Result<()> {
        let dir = self.daemons.place.dir();
        let ca = self.authority.file();
        let token_key = dir.join("pki/tokens.key");
        let controllers = self.client("kube-controller-manager", "system:kube-controller-manager", &[])?;
        let args = [
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--use-service-account-credentials".to_owned(),
            format!("--root-ca-file={}", ca.display()),
            format!("--service-account-private-key-file={}", token_key.display()),
            // Starting is many requests: at the default rate they take five seconds.
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
            // Nodes come with their pods' addresses: see `manifests`.
            "--allocate-node-cidrs=false".to_owned(),
        ];
        self.start(
            "kube-controller-manager",
            &self.kube("kube-controller-manager")?,
            &[&kubeconfigs(&controllers)[..], &args[..]].concat(),
        )?;

        let scheduler = self.client("kube-scheduler", "system:kube-scheduler", &[])?;
        let args = ["--leader-elect=false".to_owned(), "--bind-address=127.0.0.1".to_owned()];
        self.start(
            "kube-scheduler",
            &self.kube("kube-scheduler")?,
            &[&kubeconfigs(&scheduler)[..], &args[..]].concat(),
        )?;

        let pair = self.authority.issue("volumes", "signalbox-e2e-volumes", &[ADMINISTRATORS], &[], &[])?;
        let args = [
            format!("--server={}", api_url(self.subnet)),
            format!("--root={}", dir.join("volumes").display()),
            format!("--ca={}", ca.display()),
            format!("--cert={}", pair.certificate.display()),
            format!("--key={}", pair.key.display()),
        ];
        self.start("volumes", &self.tools.program(&Tool::VOLUMES)?, &args)?;
        Ok(())
    }

    /// The kubeconfig of a component.
    pub(crate) fn client(&self, component: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let pair = self.authority.issue(component, user, groups, &[], &[])?;
        let path = self.daemons.place.dir().join(format!("pki/{component}.kubeconfig"));
        self.authority.kubeconfig(&path, self.daemons.place.name(), &api_url(self.subnet), &pair)?;
        Ok(path)
    }

    fn kube(&self, program: &str) -> Result<PathBuf> {
        self.tools.path(&Tool::KUBE, program)
    }

    fn start(&self, what: &str, program: &Path, args: &[String]) -> Result<crate::process::Process> {
        self.daemons.start(what, Room::Network(self.fabric), program, args)
    }
}

/// One for its work, and the same for checking who may read its metrics.
fn kubeconfigs(path: &Path) -> [String; 3] {
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
        .map(|flag| format!("--{flag}={}", path.display()))
}
