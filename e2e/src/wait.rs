//! Waiting for a condition, with the last reason why it does not hold yet as the error.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks until `condition` gives a value. `Ok(None)` and errors are looked at again; after `limit` the last of them is
/// the error.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let why = match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if start.elapsed() >= limit {
            match why {
                Some(error) => return Err(error.context(format!("waited {limit:?} in vain: {what}"))),
                None => bail!("waited {limit:?} in vain: {what}"),
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_reason_is_the_error() {
        let error = eventually("a miracle", Duration::ZERO, async || -> Result<Option<()>> { bail!("not today") });
        let error = format!("{:#}", error.await.unwrap_err());
        assert_eq!(error, "waited 0ns in vain: a miracle: not today");
    }
}
