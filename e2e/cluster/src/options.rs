//! What a caller can choose about a cluster; everything else follows from the machine.

use anyhow::{Result, ensure};

/// The name used where none is given.
pub(crate) const DEFAULT_NAME: &str = "signalbox";

/// Names become parts of namespace, directory and control-group names, which are short and plain.
const LONGEST_NAME: usize = 30;

/// What a caller chooses about a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells clusters on one machine apart: lower-case letters, digits and `-`, at most 30 characters.
    pub name: String,
    /// No progress on standard error.
    pub quiet: bool,
}

impl Options {
    /// The name from `SIGNALBOX_E2E_NAME` (default `signalbox`), with progress shown.
    pub fn from_env() -> Self {
        let name = std::env::var("SIGNALBOX_E2E_NAME").ok().filter(|name| !name.is_empty());
        Self { name: name.unwrap_or_else(|| DEFAULT_NAME.to_owned()), quiet: false }
    }

    pub(crate) fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !self.name.is_empty()
                && self.name.len() <= LONGEST_NAME
                && self.name.chars().all(plain)
                && !self.name.starts_with('-'),
            "the cluster name {:?} must be 1 to {LONGEST_NAME} lower-case letters, digits or dashes, and not start with a dash",
            self.name
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for name in ["", "../other", "Upper", "-rf", "a name", &"x".repeat(31)] {
            let options = Options { name: name.to_owned(), quiet: true };
            assert!(options.check().is_err(), "{name:?} was accepted");
        }
        assert!(Options { name: "signalbox-2".to_owned(), quiet: true }.check().is_ok());
    }
}
