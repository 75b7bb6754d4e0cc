//! The three ways to a cluster, and which one is taken.

use std::fmt;

use anyhow::{Result, bail};

use crate::error::Unavailable;
use crate::kind::Kind;
use crate::namespaces::Namespaces;
use crate::place::Place;
use crate::tools::Tools;
use crate::{existing, kind, namespaces};

/// The environment variable that chooses the way to a cluster; otherwise it is the first that is possible.
const CHOICE: &str = "SIGNALBOX_E2E_CLUSTER";

/// A way to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It exists already, and is in `SIGNALBOX_E2E_KUBECONFIG`.
    Existing,
    /// kind makes it, on Docker.
    Kind,
    /// Its nodes are network namespaces of this machine.
    Namespaces,
}

impl Source {
    /// In the order of preference.
    const ALL: [Source; 3] = [Source::Existing, Source::Kind, Source::Namespaces];

    fn name(self) -> &'static str {
        match self {
            Source::Existing => "existing",
            Source::Kind => "kind",
            Source::Namespaces => "namespaces",
        }
    }

    /// Those to consider, by the value of `SIGNALBOX_E2E_CLUSTER`.
    fn chosen(choice: Option<&str>) -> Result<Vec<Self>> {
        match choice {
            None | Some("") => Ok(Self::ALL.to_vec()),
            Some(name) => match Self::ALL.iter().find(|source| source.name() == name) {
                Some(source) => Ok(vec![*source]),
                None => bail!("{CHOICE} is {name:?}, but must be existing, kind or namespaces"),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The way to take, or why there is none.
pub(crate) async fn choose(place: &Place, tools: &Tools) -> Result<Result<Source, Unavailable>> {
    let choice = std::env::var(CHOICE).ok();
    let considered = Source::chosen(choice.as_deref())?;
    // What was made one way is not replaced by another, just because Docker has been started since.
    let made =
        if Kind::is_at(place) { Some(Source::Kind) } else { Namespaces::is_at(place).then_some(Source::Namespaces) };
    let mut ways = Vec::new();
    for source in considered.iter().copied() {
        let missing = match (source, made) {
            (Source::Existing, _) => existing::unavailable(),
            (_, Some(made)) if made != source => {
                if considered.len() == 1 {
                    bail!(
                        "the cluster {:?} was made by {made}: take it down first, or choose another SIGNALBOX_E2E_NAME",
                        place.name()
                    );
                }
                continue;
            }
            (Source::Kind, _) => kind::unavailable(tools).await,
            (Source::Namespaces, _) => namespaces::unavailable(tools),
        };
        let Some(missing) = missing else { return Ok(Ok(source)) };
        ways.push((source, missing + "."));
    }
    Ok(Err(Unavailable { ways }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_that_is_none_is_refused_with_the_choices() {
        assert_eq!(Source::chosen(None).unwrap(), Source::ALL);
        assert_eq!(Source::chosen(Some("kind")).unwrap(), [Source::Kind]);
        let error = Source::chosen(Some("minikube")).unwrap_err().to_string();
        assert!(error.contains("existing, kind or namespaces"), "{error}");
    }
}
