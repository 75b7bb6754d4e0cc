//! The table that this shard goes by, what it sees of other regions, and how far it is with what it gives away.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signalbox_contract::{RegionSeen, TrafficReport, TrafficTable};
use tokio::sync::watch;

use super::{check, file};
use crate::serve::file::StateError;
use crate::serve::metrics::Metrics;

/// Why a table was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) enum NotTaken {
    /// It is not for this shard, or makes no sense.
    Refused(String),
    /// It could not be written down: later it may be.
    Later(String),
}

/// What changes beside the table.
#[derive(Debug, Default)]
struct Now {
    /// Slots that are away, and events of them that are still here.
    away: (u32, u64),
    regions: Vec<RegionSeen>,
}

/// See the documentation of this file.
pub(in crate::serve) struct Traffic {
    fleet: String,
    region: String,
    dir: PathBuf,
    table: watch::Sender<Arc<TrafficTable>>,
    /// One table is written at a time.
    writing: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
    /// Grows with each change that whoever watches the report is to hear of.
    news: watch::Sender<u64>,
    metrics: Metrics,
}

impl Traffic {
    /// With the table in the data directory `dir`, if there is one that can be used: the operator has it too, so without it
    /// this shard is better off than without starting.
    pub(in crate::serve) fn load(
        (fleet, region): (&str, &str),
        dir: PathBuf,
        metrics: Metrics,
    ) -> Result<Self, StateError> {
        let found = match file::load(&dir) {
            Err(why @ (StateError::Damaged { .. } | StateError::Foreign { .. })) => {
                tracing::warn!(%why, "the traffic table on disk is not used");
                None
            }
            found => found?,
        };
        let found = found.filter(|table| {
            let refusal = check::refusal(table, fleet);
            if let Some(why) = &refusal {
                tracing::warn!(why, "the traffic table on disk is not used");
            }
            refusal.is_none()
        });
        let (fleet, region) = (fleet.to_owned(), region.to_owned());
        let table = watch::Sender::new(Arc::new(found.unwrap_or_default()));
        let (writing, now, news) = (tokio::sync::Mutex::default(), Mutex::default(), watch::Sender::new(0));
        Ok(Self { fleet, region, dir, table, writing, now, news, metrics })
    }

    /// The region of this shard.
    pub(in crate::serve) fn region(&self) -> &str {
        &self.region
    }

    /// The table that it goes by. Its version is 0 until there is one.
    pub(in crate::serve) fn table(&self) -> Arc<TrafficTable> {
        self.table.borrow().clone()
    }

    /// The same, as it changes.
    pub(in crate::serve) fn tables(&self) -> watch::Receiver<Arc<TrafficTable>> {
        self.table.subscribe()
    }

    /// Takes a table from the operator, unless it has it or a newer one. When this returns it is on disk.
    pub(in crate::serve) async fn push(&self, table: TrafficTable) -> Result<(), NotTaken> {
        if let Some(sentence) = check::refusal(&table, &self.fleet) {
            return Err(NotTaken::Refused(sentence));
        }
        let _writing = self.writing.lock().await;
        if table.version <= self.table.borrow().version {
            return Ok(());
        }
        let (dir, table) = (self.dir.clone(), Arc::new(table));
        let copy = table.clone();
        let written = tokio::task::spawn_blocking(move || file::store(&dir, &copy)).await;
        let written = written.map_err(|e| e.to_string()).and_then(|written| written.map_err(|e| e.to_string()));
        written.map_err(|e| NotTaken::Later(format!("the traffic table cannot be written ({e}): push it again")))?;
        tracing::info!(version = table.version, "goes by another traffic table");
        self.table.send_replace(table);
        self.tell();
        Ok(())
    }

    /// Whether new events are refused.
    pub(in crate::serve) fn sheds(&self) -> bool {
        self.table.borrow().regions.iter().any(|region| region.sheds && region.name == self.region)
    }

    /// Whether this shard's region gives events away, so that it takes none.
    pub(in crate::serve) fn gives(&self) -> bool {
        let table = self.table.borrow();
        table.regions.iter().any(|region| region.keeps_permille < check::ALL && region.name == self.region)
    }

    /// So many slots are away, and so many events of them still here.
    pub(in crate::serve) fn away(&self, slots: u32, events: u64) {
        let before = std::mem::replace(&mut self.now().away, (slots, events));
        if (before.0, before.1 == 0) != (slots, events == 0) {
            self.tell();
        }
    }

    /// What is seen of the other regions now.
    pub(in crate::serve) fn seen(&self, regions: Vec<RegionSeen>) {
        let answers = |regions: &[RegionSeen]| -> Vec<_> {
            regions.iter().map(|seen| (seen.name.clone(), seen.asked > 0, seen.answered > 0)).collect()
        };
        let news = {
            let mut now = self.now();
            let news = answers(&now.regions) != answers(&regions);
            now.regions = regions;
            news
        };
        if news {
            self.tell();
        }
    }

    /// Where this shard is.
    pub(in crate::serve) fn report(&self) -> TrafficReport {
        let now = self.now();
        let (handed_over_total, taken_over_total) = self.metrics.between_regions();
        TrafficReport {
            version: self.table.borrow().version,
            away_slots: now.away.0,
            away_events: now.away.1,
            handed_over_total,
            taken_over_total,
            regions: now.regions.clone(),
        }
    }

    /// Grows when whoever watches the report is to hear of it at once.
    pub(in crate::serve) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(in crate::serve) mod tests {
    use super::*;
    use signalbox_contract::RegionTraffic;

    /// A table of fleet "orders" in which region "eu" keeps so much, and "us" takes with that weight.
    pub(in crate::serve) fn table(version: u64, keeps_permille: u32, takes_weight: u32) -> TrafficTable {
        let eu = RegionTraffic { name: "eu".to_owned(), keeps_permille, ..RegionTraffic::default() };
        let us =
            RegionTraffic { name: "us".to_owned(), keeps_permille: 1000, takes_weight, ..RegionTraffic::default() };
        TrafficTable { fleet: "orders".to_owned(), version, regions: vec![eu, us] }
    }

    fn load(dir: &tempfile::TempDir) -> Traffic {
        Traffic::load(("orders", "eu"), dir.path().to_owned(), Metrics::new(&[])).unwrap()
    }

    #[tokio::test]
    async fn a_table_outlives_a_restart_and_an_older_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let traffic = load(&dir);
        assert_eq!((traffic.report().version, traffic.gives()), (0, false));
        traffic.push(table(7, 0, 1)).await.unwrap();
        for older in [6, 7] {
            traffic.push(table(older, 1000, 1)).await.unwrap();
        }
        for traffic in [traffic, load(&dir)] {
            assert_eq!((traffic.report().version, traffic.gives(), &*traffic.table()), (7, true, &table(7, 0, 1)));
        }
        let refused = load(&dir).push(TrafficTable { fleet: "mail".to_owned(), ..table(8, 0, 1) }).await;
        assert!(matches!(refused, Err(NotTaken::Refused(why)) if why.contains("fleet mail")));
    }

    #[tokio::test]
    async fn a_shard_whose_table_is_damaged_or_of_a_later_version_starts_without_and_takes_the_next() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["{}", r#"{"version":2,"crc32":0,"state":{}}"#] {
            std::fs::write(dir.path().join("traffic"), text).unwrap();
            let traffic = load(&dir);
            assert_eq!((traffic.report().version, traffic.gives()), (0, false));
            traffic.push(table(7, 0, 1)).await.unwrap();
            assert_eq!(load(&dir).report().version, 7);
        }
        let unreadable = tempfile::tempdir().unwrap();
        std::fs::create_dir(unreadable.path().join("traffic")).unwrap();
        let refused = Traffic::load(("orders", "eu"), unreadable.path().to_owned(), Metrics::new(&[])).err().unwrap();
        assert!(refused.to_string().contains("cannot be read"), "{refused}");
    }

    #[tokio::test]
    async fn a_table_that_cannot_be_written_is_not_gone_by() {
        let dir = tempfile::tempdir().unwrap();
        let traffic = Traffic::load(("orders", "eu"), dir.path().join("gone"), Metrics::new(&[])).unwrap();
        let refused = traffic.push(table(1, 0, 1)).await;
        assert!(matches!(refused, Err(NotTaken::Later(why)) if why.contains("push it again")));
        assert_eq!(traffic.report().version, 0);
    }

    #[test]
    fn only_what_changes_the_picture_is_news() {
        let dir = tempfile::tempdir().unwrap();
        let traffic = load(&dir);
        let seen = |asked, answered| vec![RegionSeen { name: "us".to_owned(), asked, answered, silent_ms: 0 }];
        let mut news = traffic.news();
        let mut is_news = |change: &dyn Fn()| {
            news.mark_unchanged();
            change();
            news.has_changed().unwrap()
        };
        assert!(is_news(&|| traffic.seen(seen(2, 2))));
        assert!(!is_news(&|| traffic.seen(seen(2, 1))));
        assert!(is_news(&|| traffic.seen(seen(2, 0))) && is_news(&|| traffic.seen(seen(2, 1))));
        assert!(is_news(&|| traffic.away(5, 9)) && !is_news(&|| traffic.away(5, 8)));
        assert!(is_news(&|| traffic.away(5, 0)) && is_news(&|| traffic.away(0, 0)));
    }
}
