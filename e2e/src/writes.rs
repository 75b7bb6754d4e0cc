//! What the operator asked of the API server, from the server's own audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The `ServiceAccount` that the chart makes.
const OPERATOR: &str = "system:serviceaccount:signalbox-system:signalbox";

/// Where a token says which pod it was given to.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// The audit annotation with what the authorizer decided.
const DECISION: &str = "authorization.k8s.io/decision";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// What it was about: `shop/services/orders`, with a namespace or not.
    pub object: String,
    /// The kind of thing that was, as roles write it: `apps/statefulsets`, `/pods`, `signalbox.dev/eventdispatchers/status`.
    pub resource: String,
    /// The operator's pod that asked; empty where the server does not say.
    pub pod: String,
    /// The HTTP status of the answer.
    pub code: u16,
    /// Whether a role was missing for it. A namespace that is being deleted refuses with 403 too.
    pub unauthorised: bool,
}

impl Request {
    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// A place in the audit log.
pub struct Since {
    log: PathBuf,
    offset: u64,
}

impl Since {
    /// From the first line on.
    pub fn ever(log: &Path) -> Self {
        Self { log: log.to_owned(), offset: 0 }
    }

    /// From now on.
    pub fn now(log: &Path) -> Result<Self> {
        let offset = std::fs::metadata(log).with_context(|| log.display().to_string())?.len();
        Ok(Self { log: log.to_owned(), offset })
    }

    /// What the operator has asked since.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            let Ok(entry) = serde_json::from_str::<Entry>(&line?) else { continue };
            // A watch has an entry when it begins and one when it ends.
            if entry.user.username == OPERATOR && entry.stage != "ResponseStarted" {
                requests.push(entry.into());
            }
        }
        Ok(requests)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct User {
    username: String,
    /// What its token says besides.
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    subresource: String,
}

impl From<Entry> for Request {
    fn from(entry: Entry) -> Self {
        let ObjectRef { api_group, resource, namespace, name, subresource } = entry.object_ref.unwrap_or_default();
        let joined = |parts: &[&String]| {
            let there = parts.iter().filter(|part| !part.is_empty()).map(|part| part.as_str());
            there.collect::<Vec<_>>().join("/")
        };
        let pod = entry.user.extra.get(POD).and_then(|pods| pods.first()).cloned().unwrap_or_default();
        Self {
            pod,
            object: joined(&[&namespace, &resource, &name, &subresource]),
            resource: format!("{api_group}/{}", joined(&[&resource, &subresource])),
            code: entry.response_status.unwrap_or_default().code,
            unauthorised: entry.annotations.get(DECISION).is_some_and(|decision| decision == "forbid"),
            verb: entry.verb,
        }
    }
}
