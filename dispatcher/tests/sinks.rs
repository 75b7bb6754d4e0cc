//! Sinks that do not do what they should, and others that must not notice.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use support::{Shard, config, eventually, refusing, sink};
use tokio::net::TcpListener;

async fn last_failure(shard: &Shard, name: &str) -> String {
    eventually(&format!("a failure of {name} in the report"), || async {
        let report = shard.daemon.report().await;
        let sink = report["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).cloned().unwrap();
        sink["lastFailure"]["message"].as_str().map(str::to_owned)
    })
    .await
}

fn uri(address: &str) -> String {
    format!("http://{address}/")
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart_and_a_healthy_sink_does_not_notice() {
    let home = tempfile::tempdir().unwrap();
    let good = sink(home.path()).await;
    let failing = sink(home.path()).await;
    failing.behave(&json!({"failRatio": 1.0, "status": 500})).await;
    let hanging = sink(home.path()).await;
    hanging.behave(&json!({"hang": true})).await;
    let moved = sink(home.path()).await;
    moved.behave(&json!({"failRatio": 1.0, "status": 302})).await;
    let throttling = sink(home.path()).await;
    throttling.behave(&json!({"failRatio": 1.0, "status": 429, "retryAfterSeconds": 7})).await;
    let mut config = config(&[
        ("unresolvable", "http://nowhere.invalid/"),
        ("refusing", &uri(&refusing())),
        ("hanging", &uri(&hanging.listen)),
        ("failing", &uri(&failing.listen)),
        ("moved", &uri(&moved.listen)),
        ("throttling", &uri(&throttling.listen)),
        ("good", &uri(&good.listen)),
    ]);
    config["sinks"][0]["timeoutMs"] = json!(30_000);
    config["sinks"][2]["timeoutMs"] = json!(500);
    let shard = Shard::start(&config).await;
    for id in 0..200 {
        assert_eq!(shard.send(id, &format!("key-{}", id % 7)).await.status, 202);
    }
    eventually("the good sink to have everything", || async { (good.summary().await["unique"] == 200).then_some(()) })
        .await;
    for (name, part) in [
        ("unresolvable", "the name nowhere.invalid does not resolve"),
        ("refusing", "connection refused"),
        ("hanging", "no answer within 0.5s"),
        ("failing", "answered 500"),
        ("moved", "answered 302: redirects are not followed"),
        ("throttling", "answered 429 and asked to wait 7s"),
    ] {
        let message = last_failure(&shard, name).await;
        assert!(message.contains(part), "{name}: {message}");
    }
    let report = shard.daemon.report().await;
    assert_eq!(report["backlogEvents"], json!(200));
    assert!(report["oldestEventAgeMs"].is_u64());
    for sink in report["sinks"].as_array().unwrap() {
        let good = sink["name"] == "good";
        assert_eq!(sink["deliveredTotal"], json!(if good { 200 } else { 0 }), "{sink}");
        assert_eq!(sink["backlogEvents"], json!(if good { 0 } else { 200 }), "{sink}");
        assert_eq!(sink["consecutiveFailures"] == 0, good, "{sink}");
        assert_eq!(sink.get("lastFailure").is_none(), good, "{sink}");
    }
    let throttled = throttling.summary().await["failed_on_purpose"].as_u64().unwrap();
    assert!(
        throttled <= 16,
        "a sink that asks to wait is asked at most once per lane in flight, not {throttled} times"
    );
}

#[tokio::test]
async fn a_sink_that_comes_back_gets_everything_in_order_soon() {
    let home = tempfile::tempdir().unwrap();
    let back = sink(home.path()).await;
    back.behave(&json!({"failRatio": 1.0})).await;
    let mut config = config(&[("back", &uri(&back.listen))]);
    config["sinks"][0]["retry"] = json!({"initialBackoffMs": 50, "maxBackoffMs": 600_000});
    let shard = Shard::start(&config).await;
    let load =
        support::Load::start(&shard.url(), &["--rate", "2000", "--count", "2000", "--keys", "40", "--source", "/a"]);
    assert_eq!(load.result().await.0["accepted"], json!(2000));
    eventually("the sink to be left alone", || async {
        (shard.daemon.report().await["sinks"][0]["phase"] == "Tripped").then_some(())
    })
    .await;
    back.behave(&json!({"failRatio": 0.1})).await;
    shard.drained().await;
    let summary = back.summary().await;
    assert_eq!((&summary["unique"], &summary["out_of_order"]), (&json!(2000), &json!(0)), "{summary}");
}

/// A sink in this process that answers 500 to events of one key for as long as it is told to.
async fn refuses(key: &'static str) -> (String, Arc<AtomicBool>, Arc<Mutex<Vec<(String, u64)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let refusing = Arc::new(AtomicBool::new(true));
    let taken: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let (refuse, take) = (refusing.clone(), taken.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (refuse, take) = (refuse.clone(), take.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
                let (event_key, sequence) = (header("ce-partitionkey"), header("ce-sequence").parse().unwrap());
                let refused = event_key == key && refuse.load(Ordering::SeqCst);
                if !refused {
                    take.lock().unwrap().push((event_key, sequence));
                }
                async move {
                    let mut response = http::Response::new(Full::new(Bytes::new()));
                    *response.status_mut() =
                        if refused { http::StatusCode::INTERNAL_SERVER_ERROR } else { http::StatusCode::OK };
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, refusing, taken)
}

#[tokio::test]
async fn a_key_that_is_always_refused_holds_up_no_other_key_and_keeps_its_order() {
    let (address, refusing, taken) = refuses("key-3").await;
    let shard = Shard::start(&config(&[("picky", &uri(&address))])).await;
    let load = support::Load::start(&shard.url(), &["--rate", "1000", "--count", "1000", "--keys", "10"]);
    assert!(load.result().await.1);
    eventually("all other keys", || async { (taken.lock().unwrap().len() == 900).then_some(()) }).await;
    assert_eq!(shard.daemon.report().await["sinks"][0]["backlogEvents"], json!(100));
    refusing.store(false, Ordering::SeqCst);
    shard.drained().await;
    let taken = taken.lock().unwrap();
    for key in 0..10 {
        let of_key: Vec<u64> = taken.iter().filter(|(k, _)| *k == format!("key-{key}")).map(|&(_, n)| n).collect();
        assert_eq!(of_key, (0..100).collect::<Vec<_>>(), "key-{key}");
    }
}

#[tokio::test]
async fn a_sink_that_hangs_is_told_of_before_its_timeouts_are_and_no_more_when_it_is_back() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    // Attempts have two seconds.
    let shard = Shard::start(&config(&[("hangs", &format!("http://{}/", sink.listen))])).await;
    let send = async |from: u64| {
        for id in from..from + 100 {
            assert_eq!(shard.send(id, &format!("key-{id}")).await.status, 202);
        }
    };
    send(0).await;
    shard.drained().await;
    sink.behave(&json!({"hang": true})).await;
    let hangs = Instant::now();
    send(100).await;
    let failing = async || {
        let report = shard.daemon.report().await;
        (report["sinks"][0]["failingMs"].as_u64().unwrap(), report["sinks"][0]["consecutiveFailures"].as_u64().unwrap())
    };
    let told = eventually("a row of three seconds", || async {
        let (row, failures) = failing().await;
        (row >= 3_000).then_some((row, failures, hangs.elapsed()))
    })
    .await;
    println!("{told:?}");
    let (row, failures, after) = told;
    assert!(Duration::from_millis(row) <= after, "{told:?}");
    assert!(failures >= 3, "{told:?}");
    // By timeouts alone, at least seven: the attempts, a trip, a probe, a trip, and a probe.
    assert!(after < Duration::from_millis(6_500), "{told:?}");
    sink.behave(&json!({"hang": false})).await;
    shard.drained().await;
    assert_eq!(failing().await, (0, 0));
    assert_eq!(sink.summary().await["out_of_order"], 0);
}
