//! One request on a connection of its own, and metrics in text.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Asks, and gives status and body.
pub(crate) async fn request(address: &str, method: &str, path: &str, body: &str) -> Result<(u16, Bytes)> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("no connection to {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address);
    let request = if body.is_empty() { request } else { request.header("content-type", "application/json") };
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}

/// The text of `/metrics` at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The sum of the samples with this name whose labels contain `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &str) -> f64 {
        self.samples(name).filter(|(found, _)| found.contains(labels)).map(|(_, value)| value).sum()
    }

    /// Name without labels, then labels and value.
    fn samples<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            // Another metric may begin with this name.
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }

    /// Upper bounds of a histogram's buckets and how many samples are at or below each, all label sets added.
    fn buckets(&self, histogram: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.samples(&format!("{histogram}_bucket")) {
            let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
            let bound = match bound.map(|(bound, _)| bound) {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }

    /// The quantile of what a histogram has counted since `earlier`, spread evenly within its bucket.
    pub(crate) fn quantile_since(&self, earlier: &Self, histogram: &str, quantile: f64) -> Option<f64> {
        let before = earlier.buckets(histogram);
        let counts = self.buckets(histogram).into_iter().map(|(bound, count)| {
            let known = before.iter().find(|(known, _)| known.total_cmp(&bound).is_eq());
            (bound, count - known.map_or(0.0, |(_, count)| *count))
        });
        let counts: Vec<(f64, f64)> = counts.collect();
        let wanted = counts.last().map(|(_, all)| all * quantile).filter(|wanted| *wanted > 0.0)?;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in counts {
            if count >= wanted {
                return Some(if bound.is_finite() {
                    low + (bound - low) * (wanted - below) / (count - below)
                } else {
                    low
                });
            }
            (low, below) = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "the numbers are exact")]

    use super::Metrics;

    #[test]
    fn samples_are_added_by_name_and_label() {
        let metrics = Metrics("a_total{sink=\"x\",o=\"y\"} 3\na_total{sink=\"z\"} 4\na_total_more 9\nb 2\n".to_owned());
        assert_eq!(metrics.sum("a_total", ""), 7.0);
        assert_eq!(metrics.sum("a_total", "sink=\"x\""), 3.0);
        assert_eq!(metrics.sum("b", ""), 2.0);
    }

    #[test]
    fn quantiles_count_what_came_since() {
        let text = |one, two, all| {
            format!("h_bucket{{le=\"1.0\"}} {one}\nh_bucket{{le=\"2.0\"}} {two}\nh_bucket{{le=\"+Inf\"}} {all}\n")
        };
        let (before, after) = (Metrics(text(100, 100, 100)), Metrics(text(110, 190, 200)));
        assert_eq!(after.quantile_since(&before, "h", 0.5), Some(1.5));
        assert_eq!(after.quantile_since(&before, "h", 0.99), Some(2.0));
        assert_eq!(before.quantile_since(&before, "h", 0.5), None);
    }
}
