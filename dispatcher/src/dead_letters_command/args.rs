//! The arguments of `dispatcher dead-letters`. May import nothing.

use clap::{Args, Subcommand};

/// See to events that were given up on: list them, look at one, replay them when the sink is mended, or delete them.
#[derive(Args, Clone, Debug)]
pub struct DeadLettersArgs {
    /// The admin port of the shard.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", global = true)]
    pub admin: String,
    /// Print one line of JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// List letters: by sink, and of each sink in the order in which their events were accepted.
    List {
        /// Which letters.
        #[command(flatten)]
        filters: Filters,
        /// Most letters to list.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
        limit: usize,
    },
    /// Show the whole event of a letter. With --json, as an event that can be sent again.
    Show {
        /// The letter's id, as listed.
        id: String,
    },
    /// Delete letters for good.
    Delete {
        /// Which letters.
        #[command(flatten)]
        filters: Filters,
        /// Every letter. Exclusive with filters.
        #[arg(long)]
        all: bool,
    },
    /// Deliver letters again, each to the sink that had not taken it. Without a filter: all of them.
    Replay {
        /// Which letters.
        #[command(flatten)]
        filters: Filters,
        /// Events per second, at most: 1 to 10000.
        #[arg(long, value_name = "N", default_value_t = 100)]
        rate: u32,
        /// Only count the letters, and show the first few.
        #[arg(long)]
        dry_run: bool,
        /// Show the progress until the replay is done. Fails unless every letter was replayed.
        #[arg(long, conflicts_with = "dry_run")]
        wait: bool,
    },
    /// Cancel a replay. What was replayed stays replayed.
    Cancel {
        /// The replay's id, as in the status.
        replay: String,
    },
    /// Show how many letters there are, and how replays are doing.
    Status,
}

/// Which letters. They must have all that is given.
#[derive(Args, Clone, Debug, Default)]
pub struct Filters {
    /// The letter with this id, as listed.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Letters that this sink did not take.
    #[arg(long, value_name = "NAME")]
    pub sink: Option<String>,
    /// Events whose type begins so.
    #[arg(long = "type", value_name = "PREFIX")]
    pub kind: Option<String>,
    /// Events whose source begins so.
    #[arg(long, value_name = "PREFIX")]
    pub source: Option<String>,
    /// Events with this subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Events that are ordered by this: their partitionkey, else their subject.
    #[arg(long)]
    pub key: Option<String>,
    /// The event with this id.
    #[arg(long, value_name = "ID")]
    pub event_id: Option<String>,
    /// Letters that died of this, as listed.
    #[arg(long)]
    pub reason: Option<String>,
    /// Letters that died at this time or later, such as 2026-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub dead_after: Option<String>,
    /// Letters that died before this time.
    #[arg(long, value_name = "TIME")]
    pub dead_before: Option<String>,
}

impl Filters {
    /// The parameters of a query.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        [
            ("id", &self.id),
            ("sink", &self.sink),
            ("type", &self.kind),
            ("source", &self.source),
            ("subject", &self.subject),
            ("key", &self.key),
            ("eventId", &self.event_id),
            ("reason", &self.reason),
            ("deadAfter", &self.dead_after),
            ("deadBefore", &self.dead_before),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.clone()?)))
        .collect()
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&limit| limit > 0).ok_or_else(|| format!("{text:?} is not a limit: write 1 or more"))
}
