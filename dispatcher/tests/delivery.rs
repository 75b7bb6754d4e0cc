//! What a shard does about sinks that are gone, refuse, dribble, or may not be reached; and what it signs and traces.
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
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{Daemon, Load, Shard, config, event_headers, eventually, request, sink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A sink in this process that answers what it is told to, and keeps what it got.
async fn answering(answer: impl Fn(&HeaderMap) -> StatusCode + Clone + Send + Sync + 'static) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let received = Received::default();
    let keep = received.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (keep, answer) = (keep.clone(), answer.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (keep, answer) = (keep.clone(), answer.clone());
                async move {
                    let (head, body) = request.into_parts();
                    let mut response = Response::new(Full::new(Bytes::new()));
                    *response.status_mut() = answer(&head.headers);
                    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                    keep.lock().unwrap().push((head.headers, body));
                    Ok::<_, Infallible>(response)
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, received)
}

/// A sink that reads what it gets and writes `answer` one byte at a time, with a pause after each.
async fn dribbling(answer: &'static [u8], pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                for byte in answer {
                    if stream.write_all(&[*byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    address
}

fn uri(address: &str) -> String {
    format!("http://{address}/")
}

/// What the report says of a sink.
async fn told(shard: &Shard, name: &str) -> Value {
    let report = shard.daemon.report().await;
    report["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).cloned().unwrap()
}

async fn until(shard: &Shard, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("{name}: {what}"), || async { Some(told(shard, name).await).filter(|sink| is(sink)) }).await
}

fn message(sink: &Value) -> &str {
    sink["lastFailure"]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn deliveries_are_signed_with_every_secret_over_the_body_that_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let secrets = ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"];
    let path = home.path().join("secrets");
    std::fs::write(&path, secrets.map(|secret| format!("whsec_{secret}\n")).concat()).unwrap();
    let fails = Arc::new(Mutex::new(2));
    let (address, received) = answering(move |_| {
        let mut fails = fails.lock().unwrap();
        *fails -= i32::from(*fails > 0);
        if *fails > 0 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    })
    .await;
    let mut config = config(&[("signed", &uri(&address))]);
    config["sinks"][0]["signingSecretFile"] = json!(path);
    let shard = Shard::start(&config).await;
    for id in 0..2 {
        assert_eq!(shard.send(id, "key").await.status, 202);
    }
    shard.drained().await;
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 3);
    let ids: Vec<&str> = received.iter().map(|(headers, _)| headers["webhook-id"].to_str().unwrap()).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}: the first was sent twice");
    for (headers, body) in received.iter() {
        assert_eq!(&body[..], b"data");
        let header = |name: &str| headers[name].to_str().unwrap();
        let signed = format!("{}.{}.data", header("webhook-id"), header("webhook-timestamp"));
        let expected = secrets.map(|secret| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &BASE64_STANDARD.decode(secret).unwrap());
            format!("v1,{}", BASE64_STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes())))
        });
        assert_eq!(header("webhook-signature"), expected.join(" "));
        let age = jiff::Timestamp::now().as_second() - header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..=60).contains(&age), "{age}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let (address, received) = answering(|_| StatusCode::OK).await;
    let port = address.rsplit(':').next().unwrap();
    let mut config = config(&[
        ("literal", &uri(&address)),
        ("mapped", &format!("http://[::ffff:127.0.0.1]:{port}/")),
        ("named", &format!("http://localhost:{port}/")),
        ("odd", &format!("http://2130706433:{port}/")),
        ("metadata", "http://169.254.169.254/latest/"),
    ]);
    config["addresses"] = json!({});
    let shard = Shard::start(&config).await;
    assert_eq!(shard.send(0, "key").await.status, 202);
    for name in ["literal", "mapped", "named", "odd"] {
        let sink = until(&shard, name, "a failure", |sink| !message(sink).is_empty()).await;
        assert!(message(&sink).contains("loopback addresses are only if addresses.allowed has them"), "{sink}");
    }
    let sink = until(&shard, "metadata", "a failure", |sink| !message(sink).is_empty()).await;
    assert_eq!(message(&sink), "the address 169.254.169.254 is not allowed: link-local addresses never are");
    assert_eq!(received.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_sink_that_is_gone_keeps_its_events_and_is_asked_once() {
    let (address, received) = answering(|_| StatusCode::GONE).await;
    let home = tempfile::tempdir().unwrap();
    let good = sink(home.path()).await;
    let mut shard = Shard::start(&config(&[("gone", &uri(&address)), ("good", &uri(&good.listen))])).await;
    assert_eq!(shard.send(0, "key").await.status, 202);
    let sink = until(&shard, "gone", "tripped", |sink| sink["phase"] == "Tripped").await;
    assert_eq!((message(&sink), &sink["concurrencyLimit"]), ("answered 410: gone", &json!(0)));
    for id in 1..100 {
        assert_eq!(shard.send(id, &format!("key-{id}")).await.status, 202);
    }
    eventually("the good sink", || async { (good.summary().await["unique"] == 100).then_some(()) }).await;
    assert_eq!(received.lock().unwrap().len(), 1);
    assert_eq!(told(&shard, "gone").await["backlogEvents"], json!(100));
    // A new process asks again.
    shard.daemon.signal("TERM");
    shard.daemon.ended().await;
    shard.restart().await;
    eventually("to be asked again", || async { (received.lock().unwrap().len() > 1).then_some(()) }).await;
}

#[tokio::test]
async fn an_event_that_is_refused_to_the_last_becomes_a_dead_letter_and_its_key_goes_on() {
    let (address, received) =
        answering(|headers| if headers["ce-id"] == "0" { StatusCode::BAD_REQUEST } else { StatusCode::OK }).await;
    let mut config = config(&[("picky", &uri(&address))]);
    config["sinks"][0]["retry"]["maxAttempts"] = json!(3);
    config["deadLetterLimitBytes"] = json!(100_000);
    let shard = Shard::start(&config).await;
    for id in 0..5 {
        assert_eq!(shard.send(id, "key").await.status, 202);
    }
    shard.drained().await;
    let ids: Vec<String> =
        received.lock().unwrap().iter().map(|(head, _)| head["ce-id"].to_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["0", "0", "0", "1", "2", "3", "4"]);
    let sink = told(&shard, "picky").await;
    assert_eq!(
        (&sink["deadLetters"], &sink["deliveredTotal"], &sink["phase"]),
        (&json!(1), &json!(4), &json!("Serving"))
    );
    let metrics = shard.daemon.get("/metrics").await.text();
    for line in [
        "signalbox_dispatcher_dead_lettered_total{sink=\"picky\"} 1",
        "signalbox_dispatcher_attempts_total{sink=\"picky\",outcome=\"Refused\"} 3",
        "signalbox_dispatcher_breaker_phase{sink=\"picky\",phase=\"Serving\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn without_room_for_a_dead_letter_no_event_is_given_up() {
    let (address, _) = answering(|_| StatusCode::BAD_REQUEST).await;
    let mut config = config(&[("picky", &uri(&address))]);
    config["sinks"][0]["retry"]["maxAttempts"] = json!(2);
    config["deadLetterLimitBytes"] = json!(10);
    let shard = Shard::start(&config).await;
    assert_eq!(shard.send(0, "key").await.status, 202);
    until(&shard, "picky", "told that there is no room", |sink| message(sink).contains("at their limit")).await;
    let refused = "signalbox_dispatcher_dead_letters_refused_total{sink=\"picky\"} ";
    eventually("it is tried again and again", || async {
        let metrics = shard.daemon.get("/metrics").await.text();
        let count = metrics.lines().find_map(|line| line.strip_prefix(refused)).unwrap().parse::<u64>().unwrap();
        (count >= 2).then_some(())
    })
    .await;
    let sink = told(&shard, "picky").await;
    assert_eq!((&sink["backlogEvents"], &sink["deadLetters"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn sinks_that_answer_a_byte_at_a_time_or_never_hold_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    let slow_head = dribbling(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Duration::from_secs(1)).await;
    let slow_body =
        dribbling(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n123456789", Duration::from_millis(20)).await;
    // The system takes connections for it, and nobody ever will.
    let black_hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let black_hole_address = black_hole.local_addr().unwrap().to_string();
    let mut good = Vec::new();
    for _ in 0..7 {
        good.push(sink(home.path()).await);
    }
    let names: Vec<String> = (0..7).map(|n| format!("good-{n}")).collect();
    let uris: Vec<String> = good.iter().map(|sink| uri(&sink.listen)).collect();
    let (head_uri, body_uri, hole_uri) = (uri(&slow_head), uri(&slow_body), uri(&black_hole_address));
    let mut sinks = vec![("slow-head", head_uri.as_str()), ("slow-body", &body_uri), ("black-hole", &hole_uri)];
    sinks.extend(names.iter().map(String::as_str).zip(uris.iter().map(String::as_str)));
    let mut config = config(&sinks);
    config["sinks"][2]["timeoutMs"] = json!(30_000);
    let shard = Shard::start(&config).await;
    let load = Load::start(&shard.url(), &["--rate", "500", "--count", "1000", "--keys", "20", "--source", "/s"]);
    assert_eq!(load.result().await.0["accepted"], json!(1000));
    for sink in &good {
        eventually("a good sink to have everything", || async {
            (sink.summary().await["unique"] == 1000).then_some(())
        })
        .await;
    }
    // None of the attempts into the black hole has ended yet.
    let sink = told(&shard, "black-hole").await;
    assert_eq!((&sink["failedAttemptsTotal"], &sink["deliveredTotal"]), (&json!(0), &json!(0)), "{sink}");
    until(&shard, "slow-head", "a timeout", |sink| message(sink) == "no answer within 2s").await;
    // The head says it all: the rest is not waited for.
    until(&shard, "slow-body", "deliveries", |sink| sink["deliveredTotal"].as_u64().unwrap() > 0).await;
    drop(black_hole);
}

#[tokio::test]
async fn an_event_that_is_accepted_and_delivered_leaves_spans_of_one_trace() {
    let fails = Arc::new(Mutex::new(1));
    let (address, received) = answering(move |headers| {
        let mut fails = fails.lock().unwrap();
        if headers["ce-id"] != "untraced" || *fails == 0 {
            return StatusCode::NO_CONTENT;
        }
        *fails -= 1;
        StatusCode::INTERNAL_SERVER_ERROR
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (data, traces, uri) = (path("data"), path("traces.jsonl"), uri(&address));
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let rest = ["--sink", &uri, "--data-dir", &data, "--traces", &traces, "--trace-ratio", "1"];
    let mut shard = Daemon::start(home.path(), &[&["serve"][..], &ports, &rest].concat()).await;
    shard.ready().await;

    let parent = |flags: &str| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    let (wanted, unwanted) = (parent("01"), parent("00"));
    for (id, parent) in [("traced", Some(&wanted)), ("silent", Some(&unwanted)), ("untraced", None)] {
        let mut headers = event_headers(id, "");
        headers.retain(|(_, value)| !value.is_empty());
        headers.extend(parent.map(|parent| ("ce-traceparent", parent.as_str())));
        assert_eq!(request(&shard.listen, "POST", "/", &headers, "data").await.status, 202);
    }
    eventually("four requests", || async { (received.lock().unwrap().len() == 4).then_some(()) }).await;
    shard.signal("TERM");
    assert!(shard.ended().await.success());

    for (headers, _) in received.lock().unwrap().iter() {
        assert!(!headers.contains_key("traceparent"));
        if headers["ce-id"] == "traced" {
            assert_eq!(headers["ce-traceparent"], wanted.as_str(), "the event is sent as it came");
        }
    }
    let mut spans = Vec::new();
    for line in std::fs::read_to_string(&traces).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        spans.extend(line["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    let attribute = |span: &Value, key: &str| {
        let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == key);
        found.map(|attribute| attribute["value"].as_object().unwrap().values().next().unwrap().clone())
    };
    let of = |id: &str, name: &str| -> Vec<Value> {
        let is = |span: &&Value| span["name"] == name && attribute(span, "cloudevents.event_id").unwrap() == id;
        spans.iter().filter(is).cloned().collect()
    };
    assert_eq!(spans.len(), 5, "{spans:#?}");
    for (id, trace, parent, attempts) in [
        (
            "traced",
            Some("0af7651916cd43dd8448eb211c80319c"),
            json!("b7ad6b7169203331"),
            json!([["1", "204", "Delivered"]]),
        ),
        ("untraced", None, Value::Null, json!([["1", "500", "Failed"], ["2", "204", "Delivered"]])),
    ] {
        let [accept] = &of(id, "accept")[..] else { panic!("{id}: {spans:#?}") };
        assert!(trace.is_none_or(|trace| accept["traceId"] == trace), "{accept}");
        assert_eq!(accept["parentSpanId"], parent);
        assert_eq!(attribute(accept, "http.response.status_code"), Some(json!("202")));
        let mut deliver = of(id, "deliver");
        deliver.sort_by_key(|span| attribute(span, "signalbox.attempt").unwrap().to_string());
        for span in &deliver {
            assert_eq!((&span["traceId"], &span["parentSpanId"]), (&accept["traceId"], &accept["spanId"]));
            assert_ne!(span["spanId"], accept["spanId"]);
            assert_eq!(attribute(span, "signalbox.sink"), Some(json!("sink-1")));
        }
        let keys = ["signalbox.attempt", "http.response.status_code", "signalbox.outcome"];
        let came: Vec<_> = deliver.iter().map(|span| keys.map(|key| attribute(span, key))).collect();
        assert_eq!(json!(came), attempts);
    }
}
