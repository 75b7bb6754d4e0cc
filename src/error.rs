//! Why a reconcile did not come to its end. One variant per room that can fail; a sick fleet is not an error.

use thiserror::Error;

use crate::keys::NotMinted;
use crate::report::ReportError;

/// Why a reconcile has to be tried again.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Objects were not applied. The status says which, and why.
    #[error("{0} objects were not applied")]
    Apply(usize),
    /// There are no keys to give to shards.
    #[error(transparent)]
    Keys(#[from] NotMinted),
    /// The status was not written.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl Error {
    /// The word for metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Keys(_) => "keys",
            Self::Report(_) => "report",
        }
    }
}
