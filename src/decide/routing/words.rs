//! What there is to say of a region's routing. Pure.

use super::heard::is_old;
use super::held::{about, others_like_it};
use super::{LOST, Look};
use crate::fleet::{Behind, Routing, approximate_count, names};

impl Look<'_> {
    /// What slots that are not delivered yet wait for. `None`: nothing.
    pub(super) fn waits(&self, routing: &Routing, behind: &[Behind], claiming: u32) -> Option<String> {
        if claiming == 0 && behind.is_empty() {
            return None;
        }
        let awaited = || routing.peers.keys().filter(|ordinal| !routing.lost.contains(ordinal));
        let silent = awaited().find(|ordinal| !self.heard.contains_key(ordinal));
        let hands_over = awaited().find(|&&ordinal| {
            ordinal >= routing.shards && self.heard.get(&ordinal).is_some_and(|heard| !heard.says.empty)
        });
        let whom = match (silent, behind, hands_over) {
            (Some(&ordinal), ..) => format!("Pod {}, which does not report", self.pod(ordinal)),
            (None, [behind, ..], _) => format!("Pod {} to take routing table {}", behind.pod, routing.epoch),
            (None, [], Some(&ordinal)) => format!("Pod {} to hand over what it holds", self.pod(ordinal)),
            (None, [], None) => "what other shards held of them".to_owned(),
        };
        let slots = match claiming {
            0 => "slots".to_owned(),
            1 => "1 slot".to_owned(),
            many => format!("{} slots", approximate_count(many.into())),
        };
        let verb = if claiming == 1 { "waits" } else { "wait" };
        Some(format!("{slots} of event keys {verb} for {whom}"))
    }

    /// What may come out of order, and why. `None`: nothing.
    pub(super) fn risk(&self, routing: &Routing, at_risk: u32) -> Option<String> {
        let Some(&ordinal) = routing.lost.first() else {
            let slots = approximate_count(at_risk.into());
            return (at_risk > 0).then(|| {
                format!("a shard that was taken for lost may still hold older events of {slots} slots of event keys")
            });
        };
        let (pod, held) = (self.pod(ordinal), routing.held.get(&ordinal).copied().map(about));
        let others = others_like_it(routing.lost.len());
        let late = match &held {
            Some(events) => format!("{events} come late when it is back"),
            None => "what it holds comes late".to_owned(),
        };
        let why = if self.shard(ordinal).is_some_and(is_old) {
            format!("Pod {pod} runs a dispatcher that hands nothing over, until it is replaced{others}; {late}")
        } else if self.is_gone(ordinal) {
            let claim = names::claim(self.situation.fleet, self.situation.region, ordinal);
            let (back, held) = (self.scale_back(routing), held.unwrap_or_else(|| "what it held".to_owned()));
            format!(
                "Pod {pod} was taken away before it had handed over everything, and its PersistentVolumeClaim {claim} still \
                 holds {held}{others}: {back} to have that delivered; it comes late"
            )
        } else {
            let seconds = LOST.as_secs();
            format!(
                "Pod {pod} is taken for lost, because others wait for it and it has not reported for {seconds}s{others}; \
                 {late}"
            )
        };
        Some(format!("{why}, and may come after younger events of its keys"))
    }

    pub(super) fn pod(&self, ordinal: u32) -> String {
        names::pod(self.situation.fleet, self.situation.region, ordinal)
    }
}
