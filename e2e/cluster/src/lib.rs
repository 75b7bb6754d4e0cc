//! A real multi-node Kubernetes to test on.
//!
//! One interface, [`Cluster`], and three ways to have one ([`Source`]): a cluster that exists already,
//! [kind](https://kind.sigs.k8s.io) where a Docker daemon answers, and otherwise nodes that are network
//! namespaces of this machine. The tests do not know which one they run on, except through
//! [`Cluster::supports_faults`] and [`Cluster::audit_log`].
//!
//! | module | what |
//! | --- | --- |
//! | `cluster` | the interface |
//! | `choice` | the choice between the three |
//! | `existing`, `kind`, `namespaces` | the three |
//! | `tools` | the programs, built from `e2e/kubernetes` and kept in a cache |
//! | `lock`, `place` | who uses a cluster's name, and where its files are |
//! | `faults`, `step` | what is broken on purpose, and mended |
//! | `relay` | a network that is slow |
//! | `gateway` | an implementation of the Gateway API |
//! | `tap` | counts connections where they begin |
//! | `nodes`, `evidence` | what is done the same way on all three |
//!
//! | environment variable | what |
//! | --- | --- |
//! | `SIGNALBOX_E2E_CLUSTER` | `existing`, `kind` or `namespaces`; otherwise the first that is possible |
//! | `SIGNALBOX_E2E_NAME` | tells clusters on one machine apart; `signalbox` if not set |
//! | `SIGNALBOX_E2E_KUBECONFIG` | the kubeconfig of the existing cluster |
//! | `SIGNALBOX_E2E_LOAD_IMAGE` | a command that loads the image archive `{}` into it; otherwise it pulls |
//! | `SIGNALBOX_KIND_NODE_IMAGE` | kind's node image, instead of its own choice |
//! | `SIGNALBOX_CACHE` | where built programs are kept; `~/.cache/signalbox` if not set |

mod archive;
mod audit;
mod choice;
mod cluster;
mod command;
mod error;
mod evidence;
mod existing;
mod faults;
mod gateway;
mod kind;
mod lock;
mod namespaces;
mod nodes;
mod options;
mod place;
mod process;
mod progress;
mod relay;
mod step;
mod tap;
mod tools;

pub use choice::Source;
pub use cluster::Cluster;
pub use error::{ClusterError, Unavailable};
pub use faults::{Fault, Injected};
pub use nodes::{Node, REGION_LABEL};
pub use options::Options;
pub use tap::Tap;
