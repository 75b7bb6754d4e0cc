//! `dispatcher dead-letters`: what the admin port of a shard offers for dead letters, for people and scripts.
//!
//! ```text
//! arguments --> paths and queries --HTTP--> /v1/dead-letters of a shard --> tables, or the JSON as it came
//! ```
//!
//! Knows the JSON by its words only: this is a client like any other, and serves shards of other versions too. May
//! import `output`.

mod args;
mod client;
mod table;

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::output;
pub use args::{Action, DeadLettersArgs, Filters};
use client::Shard;

/// Most letters that the shard gives at once.
const PAGE: usize = 1000;

/// How often `--wait` asks.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Does what is asked. False when something is left that ought not to be: a letter that could not be replayed.
pub async fn run(args: DeadLettersArgs) -> anyhow::Result<bool> {
    let shard = Shard::new(&args.admin)?;
    let json = args.json;
    match args.action {
        Action::List { filters, limit } => list(&shard, &filters, limit, json).await,
        Action::Show { id } => show(&shard, &id, json).await,
        Action::Delete { filters, all } => {
            let mut query = filters.pairs();
            if all {
                query.push(("all", "true".to_owned()));
            }
            let answer = shard.ask("DELETE", "", &query).await?;
            say(json, &answer, || format!("{} deleted", table::letters(&answer["deleted"])));
            Ok(true)
        }
        Action::Replay { filters, rate, dry_run, wait } => {
            let mut query = filters.pairs();
            query.push(("rate", rate.to_string()));
            if dry_run {
                query.push(("dryRun", "true".to_owned()));
            }
            let answer = shard.ask("POST", "/replay", &query).await?;
            if dry_run {
                say(json, &answer, || table::dry_run(&answer));
                return Ok(true);
            }
            if wait {
                let id = answer["id"].as_str().context("the shard gave the replay no id: is it of a newer version?")?;
                return follow(&shard, id, json).await;
            }
            say(json, &answer, || table::replay(&answer));
            Ok(true)
        }
        Action::Cancel { replay } => {
            let answer = shard.ask("DELETE", &format!("/replays/{}", client::encode(&replay)), &[]).await?;
            say(json, &answer, || table::replay(&answer));
            Ok(true)
        }
        Action::Status => {
            // In this order: beside a replay that is done, the letters are not those from before its last step.
            let mut replays = shard.ask("GET", "/replays", &[]).await?;
            let mut answer = shard.ask("GET", "", &[("limit", "1".to_owned())]).await?;
            let status = serde_json::json!({
                "totals": answer["totals"].take(),
                "replays": replays["replays"].take(),
            });
            say(json, &status, || table::status(&status));
            Ok(true)
        }
    }
}

/// Lists page by page, until there are as many as asked for.
async fn list(shard: &Shard, filters: &Filters, limit: usize, json: bool) -> anyhow::Result<bool> {
    let mut letters = Vec::new();
    let mut query = filters.pairs();
    loop {
        let ask = limit.saturating_sub(letters.len()).min(PAGE);
        let mut page_query = query.clone();
        page_query.push(("limit", ask.to_string()));
        let mut page = shard.ask("GET", "", &page_query).await?;
        if let Value::Array(more) = page["letters"].take() {
            letters.extend(more);
        }
        let next = page["next"].as_str().filter(|_| letters.len() < limit).map(str::to_owned);
        let Some(next) = next else {
            page["letters"] = letters.into();
            say(json, &page, || table::list(&page));
            return Ok(true);
        };
        query = filters.pairs();
        query.push(("cursor", next));
    }
}

async fn show(shard: &Shard, id: &str, json: bool) -> anyhow::Result<bool> {
    if json {
        output::line(&shard.ask("GET", &format!("/{}", client::encode(id)), &[]).await?.to_string());
        return Ok(true);
    }
    let page = shard.ask("GET", "", &[("id", id.to_owned())]).await?;
    let Some(letter) = page["letters"].get(0) else {
        bail!("there is no dead letter {id}: it was replayed or deleted, or never was; list them to see");
    };
    output::line(&table::letter(letter));
    let event = shard.ask("GET", &format!("/{}", client::encode(id)), &[]).await?;
    output::line(&serde_json::to_string_pretty(&event)?);
    Ok(true)
}

/// Tells of a replay until it has ended.
async fn follow(shard: &Shard, id: &str, json: bool) -> anyhow::Result<bool> {
    let mut told = String::new();
    loop {
        let answer = shard.ask("GET", "/replays", &[]).await.context(
            "the replay may be under way all the same, and goes on when the shard is started again: ask for its status",
        )?;
        let replay = answer["replays"].as_array().into_iter().flatten().find(|replay| replay["id"] == id);
        let replay = replay.context("the shard does not know the replay any more: ask for the status")?;
        let ended = replay["state"] != "Running";
        let line = if json { replay.to_string() } else { table::replay(replay) };
        if line != told && (!json || ended) {
            output::line(&line);
        }
        told = line;
        if ended {
            return Ok(replay["state"] == "Done" && replay["failed"] == 0);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn say(json: bool, answer: &Value, text: impl FnOnce() -> String) {
    output::line(&if json { answer.to_string() } else { text() });
}
