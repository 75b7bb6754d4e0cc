//! The result on one page. Pure.

use std::fmt::Write as _;

use crate::loss::Loss;
use crate::steps::{Played, Steps};

/// Width of the longest bar, in characters.
const BAR: u64 = 32;

/// The page.
pub(crate) fn page(steps: &Steps, played: &Played) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, steps, played);
    page
}

fn write_page(page: &mut String, steps: &Steps, played: &Played) -> std::fmt::Result {
    let Played { load, receipts, shards, shown, loss } = played;
    writeln!(page, "\nSignalbox: a fleet of event dispatchers, on a real Kubernetes\n")?;
    for (what, how, took) in &steps.done {
        writeln!(page, "  {what:<10} {how:<64} {:>6.1} s", took.as_secs_f64())?;
    }

    writeln!(
        page,
        "\n  {:>12}   {:>12}   {:>12}   {:>12}   {:>12}",
        "sent", "accepted", "delivered", "lost", "duplicates"
    )?;
    writeln!(
        page,
        "  {:>12}   {:>12}   {:>12}   {:>12}   {:>12}",
        grouped(load.sent),
        grouped(load.accepted),
        grouped(receipts.unique),
        grouped(receipts.lost),
        grouped(receipts.duplicates)
    )?;

    writeln!(page, "\n  accepted by each shard")?;
    let most = shards.iter().map(|(_, events)| *events).max().unwrap_or(0).max(1);
    for (shard, events) in shards {
        let bar = "█".repeat(usize::try_from(events * BAR / most).unwrap_or(0));
        writeln!(page, "  {shard:<20} {bar:<32} {:>8}", grouped(*events))?;
    }

    let latency = &load.latency_ms;
    writeln!(page, "\n  from the moment an event was meant to be sent until it was on disk and answered 202")?;
    writeln!(
        page,
        "  p50 {:.1} ms   p90 {:.1} ms   p99 {:.1} ms   max {:.1} ms   retries {}",
        latency.p50, latency.p90, latency.p99, latency.max, load.retries
    )?;
    let trouble = load.rejected.iter().chain(&load.errors).filter(|(_, count)| **count > 0);
    for (what, count) in trouble {
        writeln!(page, "  {} requests ended with {what} and were made again", grouped(*count))?;
    }

    for (command, output) in shown {
        writeln!(page, "\n  $ {command}")?;
        for line in output.lines() {
            writeln!(page, "  {line}")?;
        }
    }
    if let Some(loss) = loss {
        write_loss(page, loss)?;
    }
    let verdict =
        if played.passed() { "Every event that was sent was delivered." } else { "Some events were not delivered." };
    writeln!(page, "\n{verdict}")
}

/// What became of the region that was lost: when, and what `kubectl get ed --watch` says by itself.
fn write_loss(page: &mut String, loss: &Loss) -> std::fmt::Result {
    let Loss { region, events, load, lost, watched } = loss;
    writeln!(page, "\n  {region} leaves the network and comes back, while {} events come", grouped(load.sent))?;
    for (after, what) in events {
        writeln!(page, "  {:>6.1} s  {what}", after.as_secs_f64())?;
    }
    let again = load.retries;
    writeln!(
        page,
        "  {} accepted, {} sent again, {} lost; p50 {:.1} ms, p99 {:.1} ms",
        grouped(load.accepted),
        grouped(again),
        grouped(*lost),
        load.latency_ms.p50,
        load.latency_ms.p99
    )?;
    writeln!(page, "\n  $ kubectl get ed --watch")?;
    watched.iter().try_for_each(|line| writeln!(page, "  {line}"))
}

/// `10,000` for 10000.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_in_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (10_000, "10,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
