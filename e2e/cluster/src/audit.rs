//! The audit log that the API server is told to keep, whichever way the cluster is made.

/// Who asked for what, once per request: enough to compare a role with what it was used for.
pub(crate) const POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
";

/// In megabytes. One file, never rotated: whoever reads it reads all of it.
pub(crate) const LARGEST: &str = "100000";
