//! Why there is no cluster: because this machine has no way to one, or because one was tried and failed.

use std::fmt;

use crate::choice::Source;

/// Why [`crate::Cluster::up`] returned no cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nothing was tried, because something that each way needs is missing.
    #[error("{0}")]
    Unavailable(Unavailable),
    /// A way was chosen, and did not work.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// Each way to a cluster, with one sentence on what it lacks here and how to get it.
#[derive(Debug)]
pub struct Unavailable {
    pub(crate) ways: Vec<(Source, String)>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no cluster to run on, and none can be made here:")?;
        for (source, missing) in &self.ways {
            write!(f, "\n  {source}: {missing}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_its_own_line_and_sentence() {
        let error = Unavailable {
            ways: vec![
                (Source::Existing, "set A.".to_owned()),
                (Source::Kind, "start B.".to_owned()),
                (Source::Namespaces, "run as root.".to_owned()),
            ],
        };
        let text = error.to_string();
        assert!(text.ends_with("\n  existing: set A.\n  kind: start B.\n  namespaces: run as root."), "{text}");
    }
}
