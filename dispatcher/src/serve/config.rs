//! The shard's configuration, from a file or from `--sink` alone, checked before anything starts. Pure but for
//! reading that file and those that it names.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use http::Uri;
use signalbox_contract::{AddressPolicy, Ordering, RetryConfig, ShardConfig, SinkConfig};

use super::addresses::Addresses;
use super::filter;
use super::signature::Signer;

/// Fleet of a shard that was started with `--sink`.
const STANDALONE_FLEET: &str = "standalone";

/// Region of a shard that was started with `--sink`.
const STANDALONE_REGION: &str = "local";

/// Timeout of an attempt with `--sink`.
const DEFAULT_TIMEOUT_MS: u64 = 5_000;

/// Attempts in flight per sink with `--sink`.
const DEFAULT_MAX_CONCURRENCY: u32 = 64;

/// Backoff with `--sink`.
const DEFAULT_RETRY: RetryConfig = RetryConfig { initial_backoff_ms: 200, max_backoff_ms: 30_000, max_attempts: None };

/// Backlog limit with `--sink`.
const DEFAULT_BACKLOG_LIMIT_BYTES: u64 = 1024 * 1024 * 1024;

/// Largest event with `--sink`.
const DEFAULT_MAX_EVENT_BYTES: u64 = 1024 * 1024;

/// Largest event that may be configured: it has to fit into the memory set aside for receiving.
const MAX_EVENT_BYTES: u64 = 32 * 1024 * 1024;

/// Most sinks, as in the `EventDispatcher`.
const MAX_SINKS: usize = 32;

/// Most attempts in flight per sink: each is a connection.
const MAX_CONCURRENCY: u32 = 4096;

/// A configuration that cannot be used. One sentence that says what to write instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Neither a file nor a sink.
    #[error("there is nothing to serve: give either --config FILE, or --sink URL once or more")]
    Nothing,
    /// Both a file and a sink.
    #[error("--config and --sink exclude each other: put the sinks into the file, or leave --config out")]
    Both,
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read ({source}): give the path of a file that is there")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not the JSON of a `ShardConfig`.
    #[error("the configuration {path} is not valid ({source}): write the JSON of a ShardConfig, whole")]
    Torn {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
}

/// Exactly one of the two ways to configure a shard.
pub(super) fn load(file: Option<&Path>, sinks: &[String]) -> Result<ShardConfig, ConfigError> {
    let config = match (file, sinks) {
        (None, []) => return Err(ConfigError::Nothing),
        (Some(_), [_, ..]) => return Err(ConfigError::Both),
        (None, sinks) => standalone(sinks),
        (Some(path), []) => {
            let text =
                std::fs::read(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            serde_json::from_slice(&text).map_err(|source| ConfigError::Torn { path: path.to_owned(), source })?
        }
    };
    check(&config)?;
    addresses(&config, file.is_none())?;
    for sink in &config.sinks {
        signer(sink)?;
    }
    Ok(config)
}

fn standalone(sinks: &[String]) -> ShardConfig {
    let sink = |(n, uri): (usize, &String)| SinkConfig {
        name: format!("sink-{n}"),
        uri: uri.clone(),
        timeout_ms: DEFAULT_TIMEOUT_MS,
        max_concurrency: DEFAULT_MAX_CONCURRENCY,
        retry: DEFAULT_RETRY,
        ordering: Ordering::PerKey,
        filter: BTreeMap::new(),
        signing_secret_file: None,
    };
    ShardConfig {
        fleet: STANDALONE_FLEET.to_owned(),
        region: STANDALONE_REGION.to_owned(),
        sinks: (1..).zip(sinks).map(sink).collect(),
        backlog_limit_bytes: DEFAULT_BACKLOG_LIMIT_BYTES,
        backlog_limit_events: None,
        backlog_limit_age_ms: None,
        max_event_bytes: DEFAULT_MAX_EVENT_BYTES,
        duplicate_window_ms: 0,
        dead_letter_limit_bytes: 0,
        tls: None,
        control: None,
        addresses: AddressPolicy::default(),
    }
}

fn check(config: &ShardConfig) -> Result<(), ConfigError> {
    let refuse = |sentence: String| Err(ConfigError::Value(sentence));
    if config.sinks.is_empty() || config.sinks.len() > MAX_SINKS {
        return refuse(format!("sinks has {} entries: write 1 to {MAX_SINKS}", config.sinks.len()));
    }
    if config.backlog_limit_bytes == 0 {
        return refuse("backlogLimitBytes is 0: write how many bytes the backlog may take".to_owned());
    }
    if !(1..=MAX_EVENT_BYTES).contains(&config.max_event_bytes) {
        return refuse(format!("maxEventBytes is {}: write 1 to {MAX_EVENT_BYTES}", config.max_event_bytes));
    }
    let mut names = HashSet::new();
    for sink in &config.sinks {
        let name = &sink.name;
        if name.is_empty() || !names.insert(name) {
            return refuse(format!("the sink name {name:?} is empty or used twice: give each sink a name of its own"));
        }
        uri(sink)?;
        filter::check(sink).map_err(ConfigError::Value)?;
        if sink.timeout_ms == 0 {
            return refuse(format!("timeoutMs of sink {name} is 0: write how many milliseconds an attempt may take"));
        }
        if !(1..=MAX_CONCURRENCY).contains(&sink.max_concurrency) {
            return refuse(format!(
                "maxConcurrency of sink {name} is {}: write 1 to {MAX_CONCURRENCY}",
                sink.max_concurrency
            ));
        }
        if sink.retry.max_attempts == Some(0) {
            return refuse(format!(
                "maxAttempts of sink {name} is 0: write 1 or more, or leave it out to try for ever"
            ));
        }
        let RetryConfig { initial_backoff_ms: initial, max_backoff_ms: max, .. } = sink.retry;
        if initial == 0 || max < initial {
            return refuse(format!(
                "retry of sink {name} goes from {initial} to {max} ms: write an initialBackoffMs of at least 1, \
                 and a maxBackoffMs that is no smaller"
            ));
        }
    }
    Ok(())
}

/// The address of a sink, ready to be sent to.
pub(super) fn uri(sink: &SinkConfig) -> Result<Uri, ConfigError> {
    let parsed = sink.uri.parse::<Uri>().ok();
    parsed
        .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|h| !h.is_empty()))
        .ok_or_else(|| {
            ConfigError::Value(format!(
                "the uri {:?} of sink {} is not an absolute http or https URI: write one such as \
                 http://orders.shop.svc:8080/events",
                sink.uri, sink.name
            ))
        })
}

/// The addresses that sinks may have. `standalone` is a shard without a file.
pub(super) fn addresses(config: &ShardConfig, standalone: bool) -> Result<Addresses, ConfigError> {
    Addresses::new(&config.addresses, standalone).map_err(ConfigError::Value)
}

/// What signs deliveries to a sink, if they are to be signed.
pub(super) fn signer(sink: &SinkConfig) -> Result<Option<Signer>, ConfigError> {
    let open = |path: &String| Signer::open(Path::new(path), &sink.name).map_err(ConfigError::Value);
    sink.signing_secret_file.as_ref().map(open).transpose()
}

#[cfg(test)]
mod tests {
    use super::{ConfigError, check, load, standalone};
    use signalbox_contract::ShardConfig;

    type Mistake = fn(&mut ShardConfig);

    fn valid() -> ShardConfig {
        standalone(&["http://a/".to_owned(), "https://b:8443/events".to_owned()])
    }

    #[test]
    fn sinks_alone_are_a_whole_configuration() {
        let config = load(None, &["http://a/".to_owned(), "http://b/".to_owned()]).unwrap();
        assert_eq!(config.sinks.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["sink-1", "sink-2"]);
    }

    #[test]
    fn exactly_one_way_to_configure_is_needed() {
        assert!(matches!(load(None, &[]), Err(ConfigError::Nothing)));
        assert!(matches!(load(Some("x".as_ref()), &["http://a/".to_owned()]), Err(ConfigError::Both)));
        assert!(matches!(load(Some("/does/not/exist".as_ref()), &[]), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn every_refusal_says_what_to_write_instead() {
        let mistakes: [(&str, Mistake); 13] = [
            ("maxAttempts", |c| c.sinks[0].retry.max_attempts = Some(0)),
            ("sinks", |c| c.sinks.clear()),
            ("backlogLimitBytes", |c| c.backlog_limit_bytes = 0),
            ("maxEventBytes", |c| c.max_event_bytes = 0),
            ("maxEventBytes", |c| c.max_event_bytes = u64::MAX),
            ("used twice", |c| c.sinks[0].name = "sink-2".to_owned()),
            ("uri", |c| c.sinks[0].uri = "/relative".to_owned()),
            ("uri", |c| c.sinks[0].uri = "ftp://a/".to_owned()),
            ("filter", |c| drop(c.sinks[0].filter.insert("Type".to_owned(), "a".to_owned()))),
            ("timeoutMs", |c| c.sinks[0].timeout_ms = 0),
            ("maxConcurrency", |c| c.sinks[0].max_concurrency = 0),
            ("retry", |c| c.sinks[0].retry.initial_backoff_ms = 0),
            ("retry", |c| c.sinks[0].retry.max_backoff_ms = 1),
        ];
        for (word, mistake) in mistakes {
            let mut config = valid();
            mistake(&mut config);
            let sentence = check(&config).unwrap_err().to_string();
            assert!(sentence.contains(word) && (sentence.contains("write") || sentence.contains("give")), "{sentence}");
        }
        check(&valid()).unwrap();
    }
}
