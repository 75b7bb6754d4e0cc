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
    /// Whether somebody else was quicker: nothing is wrong, and there is something newer to look at.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(self, Self::Report(ReportError::Outdated))
    }

    /// The word for metrics.
    pub(crate) fn category(&self) -> &'static str {
        match self {
            Self::Report(ReportError::Outdated) => "overtaken",
            Self::Apply(_) => "apply",
            Self::Keys(_) => "keys",
            Self::Report(_) => "report",
        }
    }
}
