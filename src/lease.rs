//! Leader election by a Lease, with the semantics of client-go.
//!
//! - A write is a PUT with the `resourceVersion` that was read, so of two candidates that see the same expired
//!   Lease one gets a conflict.
//! - A Lease has expired when *we* have not seen it change for its duration, by our own monotonic clock: clocks of
//!   other machines do not matter.
//! - A leader that cannot renew for [`RENEW_DEADLINE`] has lost, and its process must end: that is before another
//!   may take over, [`LEASE_DURATION`] after the last renewal.
//! - A leader that ends on purpose gives the Lease up, so that the other takes over at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::clock;

/// How long a leader that stopped renewing is still taken for one.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// How long a leader tries to renew before it gives up.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often leaders renew, and others look.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Longest wait for one answer of the API server; leaves room for another try before the deadline.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Until when this process may write, for those who write.
#[derive(Clone, Default)]
pub(crate) struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// The Lease was renewed by a request that was sent then.
    pub(crate) fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether the Lease was renewed so short a time ago that nobody else can hold it, whatever happened since.
    pub(crate) fn is_held(&self) -> bool {
        let renewed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_some_and(|at| at.elapsed() < RENEW_DEADLINE)
    }
}

/// One candidate.
pub(crate) struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    observed: Option<Observed>,
    leadership: Leadership,
}

/// The Lease as last seen, and when it last changed.
#[derive(Clone)]
struct Observed {
    spec: LeaseSpec,
    changed_at: Instant,
}

/// What one look came to.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Leads,
    Waits,
}

impl Candidate {
    /// A candidate called `identity` for the Lease `name`.
    pub(crate) fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            observed: None,
            leadership: Leadership::default(),
        }
    }

    /// Until when this process may write.
    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Waits until this candidate leads.
    pub(crate) async fn elected(&mut self) {
        let mut troubled = false;
        loop {
            match self.turn().await {
                Ok(Turn::Leads) => return,
                Ok(Turn::Waits) => troubled = false,
                Err(error) if !troubled => {
                    tracing::warn!(%error, lease = self.name, "cannot read or write the Lease; trying again");
                    troubled = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_PERIOD).await;
        }
    }

    /// Renews for as long as that works. Returns when leadership is lost.
    pub(crate) async fn lost(&mut self) {
        let mut renewed_at = Instant::now();
        loop {
            tokio::time::sleep(RETRY_PERIOD).await;
            match self.turn().await {
                Ok(Turn::Leads) => renewed_at = Instant::now(),
                Ok(Turn::Waits) => {
                    tracing::error!(lease = self.name, "another holds the Lease");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, lease = self.name, "could not renew the Lease");
                    if renewed_at.elapsed() + RETRY_PERIOD >= RENEW_DEADLINE {
                        return;
                    }
                }
            }
        }
    }

    /// Gives the Lease up, if it is held.
    pub(crate) async fn resign(&mut self) {
        let given_up = tokio::time::timeout(TIMEOUT, async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() != Some(&self.identity) {
                return Ok(());
            }
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
        });
        if !matches!(given_up.await, Ok(Ok(()))) {
            tracing::warn!(lease = self.name, "could not give the Lease up; it expires by itself");
        }
    }

    async fn turn(&mut self) -> kube::Result<Turn> {
        let timed_out = || kube::Error::Service("no answer from the API server in time".into());
        tokio::time::timeout(TIMEOUT, self.take_turn()).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn take_turn(&mut self) -> kube::Result<Turn> {
        let now = Instant::now();
        let found = self.api.get_opt(&self.name).await?;
        let spec = found.as_ref().and_then(|lease| lease.spec.clone());
        if let Some(spec) = &spec {
            self.observe(spec, now);
        }
        let Some(next) = next(self.observed.as_ref(), &self.identity, now, clock::now()) else {
            return Ok(Turn::Waits);
        };
        let written = if let Some(lease) = found {
            let lease = Lease { spec: Some(next.clone()), ..lease };
            self.api.replace(&self.name, &PostParams::default(), &lease).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(next.clone()) }).await
        };
        match written {
            Ok(_) => {
                self.observe(&next, now);
                self.leadership.renewed(now);
                Ok(Turn::Leads)
            }
            // Somebody else wrote first: if that was another candidate, it leads.
            Err(kube::Error::Api(status)) if status.code == 409 && !self.leads() => Ok(Turn::Waits),
            Err(error) => Err(error),
        }
    }

    fn leads(&self) -> bool {
        let holder = self.observed.as_ref().and_then(|observed| observed.spec.holder_identity.as_ref());
        holder == Some(&self.identity)
    }

    fn observe(&mut self, spec: &LeaseSpec, now: Instant) {
        if self.observed.as_ref().map(|observed| &observed.spec) != Some(spec) {
            self.observed = Some(Observed { spec: spec.clone(), changed_at: now });
        }
    }
}

/// The Lease to write, or `None` if another holds it. Pure.
fn next(observed: Option<&Observed>, identity: &str, now: Instant, wall_clock: Timestamp) -> Option<LeaseSpec> {
    let fresh = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(wall_clock)),
        renew_time: Some(MicroTime(wall_clock)),
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    };
    let Some(Observed { spec, changed_at }) = observed else { return Some(fresh) };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder == identity {
        return Some(LeaseSpec {
            acquire_time: spec.acquire_time.clone(),
            lease_transitions: spec.lease_transitions,
            ..fresh
        });
    }
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0);
    let expired = now.duration_since(*changed_at) >= Duration::from_secs(seconds);
    let transitions = spec.lease_transitions.unwrap_or(0).saturating_add(1);
    (holder.is_empty() || expired).then_some(LeaseSpec { lease_transitions: Some(transitions), ..fresh })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_by(holder: &str, changed_at: Instant) -> Observed {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        Observed { spec, changed_at }
    }

    fn next_after(seconds: u64, holder: &str) -> Option<LeaseSpec> {
        let start = Instant::now();
        next(Some(&held_by(holder, start)), "us", start + Duration::from_secs(seconds), clock::now())
    }

    #[test]
    fn a_lease_that_nobody_made_is_made() {
        let spec = next(None, "us", Instant::now(), clock::now()).unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("us"), Some(0)));
    }

    #[test]
    fn a_lease_that_another_renews_is_left_alone() {
        assert_eq!(next_after(14, "them"), None);
    }

    #[test]
    fn a_lease_that_has_not_changed_for_its_duration_is_taken() {
        let spec = next_after(15, "them").unwrap();
        assert_eq!((spec.holder_identity.as_deref(), spec.lease_transitions), (Some("us"), Some(5)));
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        assert!(next_after(0, "").is_some());
    }

    #[test]
    fn whatever_times_another_writes_its_lease_is_taken_when_we_have_not_seen_it_change_and_no_sooner() {
        let (start, wall_clock) = (Instant::now(), clock::now());
        for hours in [-1, 0, 1] {
            // The clock of whoever holds it is so far from ours.
            let theirs = MicroTime(wall_clock + jiff::SignedDuration::from_hours(hours));
            let mut held = held_by("them", start);
            (held.spec.acquire_time, held.spec.renew_time) = (Some(theirs.clone()), Some(theirs));
            let after = |seconds| next(Some(&held), "us", start + Duration::from_secs(seconds), wall_clock);
            assert_eq!(after(14), None, "{hours} h");
            let taken = after(15).unwrap();
            assert_eq!(taken.renew_time, Some(MicroTime(wall_clock)), "{hours} h");
        }
    }

    #[test]
    fn our_own_lease_is_renewed_without_a_transition() {
        assert_eq!(next_after(2, "us").unwrap().lease_transitions, Some(4));
    }
}
