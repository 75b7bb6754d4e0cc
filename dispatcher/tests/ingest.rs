//! What a producer is answered: every status code, on real sockets.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "this is a test, its helpers too"
)]

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::{Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use support::{Shard, config, event_headers, eventually, refusing, request, sink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn shard() -> Shard {
    Shard::start(&config(&[("a", &format!("http://{}/", refusing()))])).await
}

#[tokio::test]
async fn a_valid_event_is_answered_202_in_both_modes_and_arrives_as_it_was_sent() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let shard = Shard::start(&config(&[("a", &format!("http://{}/events", sink.listen))])).await;
    assert_eq!(shard.send(1, "k").await.status, 202);
    let body = r#"{"id":"2","source":"/test","specversion":"1.0","type":"t","data":{"a":1}}"#;
    let structured = [("content-type", "application/cloudevents+json; charset=utf-8")];
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &structured, body).await.status, 202);
    shard.drained().await;
    let summary = sink.summary().await;
    assert_eq!((&summary["received"], &summary["invalid"]), (&json!(2), &json!(0)));
    assert_eq!(sink.get("/received?source=%2Ftest").await.json(), json!([[1, 2]]));
    let metrics = shard.daemon.get("/metrics").await.text();
    for line in [
        "signalbox_dispatcher_accepted_total 2",
        "signalbox_dispatcher_backlog_events 0",
        "signalbox_dispatcher_delivered_total{sink=\"a\"} 2",
        "signalbox_dispatcher_attempts_total{sink=\"a\",outcome=\"Delivered\"} 2",
        "signalbox_dispatcher_log_sync_seconds_count 2",
        "signalbox_dispatcher_delivery_latency_seconds_count{sink=\"a\"} 2",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn what_is_not_an_event_is_refused_with_a_reason_and_what_to_send_instead() {
    let shard = shard().await;
    let at = &shard.daemon.listen;
    let required = event_headers("1", "k");
    let without_id: Vec<_> = required.iter().copied().filter(|(name, _)| *name != "ce-id").collect();
    let response = request(at, "POST", "/", &without_id, "").await;
    assert_eq!(response.status, 400);
    assert!(response.error().contains("id is missing"), "{}", response.text());

    for content_type in
        ["application/cloudevents+xml", "application/cloudevents-batch+xml", "application/json", "text/plain"]
    {
        let response = request(at, "POST", "/", &[("content-type", content_type)], "[]").await;
        assert_eq!(response.status, 415, "{content_type}");
        assert!(response.error().contains("send"), "{}", response.text());
    }

    let response = request(at, "GET", "/", &[], "").await;
    assert_eq!((response.status.as_u16(), response.header("allow")), (405, Some("POST, OPTIONS")));
    assert!(response.error().contains("POST /"));
    let response = request(at, "POST", "/events", &required, "").await;
    assert_eq!(response.status, 404);
    assert!(response.error().contains("POST /"));

    let long = "x".repeat(70_000);
    let too_long_head = [required.as_slice(), &[("ce-long", &long)]].concat();
    assert_eq!(request(at, "POST", "/", &too_long_head, "").await.status, 431);

    let report = shard.daemon.report().await;
    assert_eq!((&report["acceptedTotal"], &report["backlogEvents"]), (&json!(0), &json!(0)));
    let metrics = shard.daemon.get("/metrics").await.text();
    for line in ["{reason=\"Malformed\"} 1", "{reason=\"UnsupportedMediaType\"} 4", "{reason=\"WrongMethod\"} 1"] {
        assert!(metrics.contains(&format!("signalbox_dispatcher_rejected_total{line}")), "{metrics}");
    }
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    let shard = Shard::start(&config(&[("a", &format!("http://{}/", sink.listen))])).await;
    let batch = [("content-type", "application/cloudevents-batch+json")];
    let event =
        |id: u64| json!({"id": id.to_string(), "source": "/test", "specversion": "1.0", "type": "t", "data": id});
    let good: Vec<_> = (0..100).map(event).collect();
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &batch, &json!(good).to_string()).await.status, 202);
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &batch, "[]").await.status, 202);

    let mut bad: Vec<_> = (100..110).map(event).collect();
    bad[7]["source"] = json!("");
    let response = request(&shard.daemon.listen, "POST", "/", &batch, &json!(bad).to_string()).await;
    assert_eq!(response.status, 400);
    assert!(response.error().contains("event 7") && response.error().contains("source"), "{}", response.text());

    shard.drained().await;
    assert_eq!(sink.get("/received?source=/test").await.json(), json!([[0, 99]]));
    assert_eq!(shard.daemon.report().await["acceptedTotal"], json!(100));
}

#[tokio::test]
async fn each_sink_gets_what_its_filter_lets_through_and_what_nobody_wants_is_not_stored() {
    let home = tempfile::tempdir().unwrap();
    let (orders, all) = (home.path().join("orders"), home.path().join("all"));
    for dir in [&orders, &all] {
        std::fs::create_dir(dir).unwrap();
    }
    let (orders, all) = (sink(&orders).await, sink(&all).await);
    let mut config = config(&[("a", &format!("http://{}/", orders.listen)), ("b", &format!("http://{}/", all.listen))]);
    config["sinks"][0]["filter"] = json!({"type": "test", "partitionkey": "order-"});
    config["sinks"][1]["filter"] = json!({"source": "/te"});
    let shard = Shard::start(&config).await;
    assert_eq!(shard.send(0, "order-1").await.status, 202);
    assert_eq!(shard.send(1, "customer-1").await.status, 202);
    let mut unwanted = event_headers("2", "customer-1");
    unwanted[1].1 = "/other";
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &unwanted, "").await.status, 202);
    shard.drained().await;
    assert_eq!(orders.get("/received?source=/test").await.json(), json!([[0, 0]]));
    assert_eq!(all.get("/received?source=/test").await.json(), json!([[0, 1]]));
    assert_eq!(all.summary().await["received"], json!(2));
    let metrics = shard.daemon.get("/metrics").await.text();
    for line in ["signalbox_dispatcher_unmatched_total 1", "signalbox_dispatcher_accepted_total 2"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_webhook_sender_that_asks_is_told_that_it_may_send() {
    let shard = shard().await;
    let at = &shard.daemon.listen;
    let asks = [("webhook-request-origin", "eventemitter.example.com"), ("webhook-request-rate", "120")];
    let response = request(at, "OPTIONS", "/", &asks, "").await;
    assert_eq!((response.status.as_u16(), response.header("allow")), (200, Some("POST, OPTIONS")));
    assert_eq!(response.header("webhook-allowed-origin"), Some("*"));
    assert_eq!(response.header("webhook-allowed-rate"), Some("*"));
    let response = request(at, "OPTIONS", "/", &[], "").await;
    assert_eq!((response.status.as_u16(), response.header("webhook-allowed-origin")), (200, None));
    assert_eq!(request(at, "OPTIONS", "/events", &asks, "").await.status, 404);
}

#[tokio::test]
async fn at_the_limit_of_events_more_are_answered_429_until_the_sink_has_made_room() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1.0})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    config["backlogLimitEvents"] = json!(20);
    let shard = Shard::start(&config).await;
    let answers = futures::future::join_all((0..60).map(|id| shard.send(id, "k"))).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert!((1..=20).contains(&accepted), "{accepted}");
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!(refused.error().contains("limit of 20 events"), "{}", refused.text());
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    eventually("the limit to be reached", || async { (shard.send(100, "k").await.status == 429).then_some(()) }).await;
    let report = shard.daemon.report().await;
    assert!(report["backlogEvents"].as_u64().unwrap() <= 20, "{report}");

    sink.behave(&json!({})).await;
    eventually("room", || async { (shard.send(101, "k").await.status == 202).then_some(()) }).await;
    assert_eq!(shard.daemon.report().await["accepting"], json!(true));
}

#[tokio::test]
async fn an_overload_is_refused_within_bounded_memory_and_then_taken_again() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"hang": true})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    config["backlogLimitBytes"] = json!(8_000_000);
    let shard = Shard::start(&config).await;
    let body = "x".repeat(50_000);
    let (mut accepted, mut refused) = (0, 0);
    // Three times what it may hold.
    for round in 0..10 {
        let ids: Vec<String> = (0..48).map(|n| (round * 48 + n).to_string()).collect();
        let requests = ids.iter().map(|id| {
            let headers = event_headers(id, id);
            let (at, body) = (&shard.daemon.listen, &body);
            async move { request(at, "POST", "/", &headers, body).await.status }
        });
        for status in futures::future::join_all(requests).await {
            match status.as_u16() {
                202 => accepted += 1,
                429 => refused += 1,
                other => panic!("answered {other}"),
            }
        }
    }
    assert!((1..=160).contains(&accepted) && refused > 300, "{accepted} accepted, {refused} refused");
    assert!(shard.daemon.report().await["backlogBytes"].as_u64().unwrap() <= 8_000_000);
    let resident = shard.daemon.resident_bytes();
    assert!(resident < 300_000_000, "{resident} bytes");

    sink.behave(&json!({})).await;
    eventually("room", || async { (shard.send(1000, "k").await.status == 202).then_some(()) }).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_answered_413_with_and_without_a_length() {
    let shard = shard().await;
    let at = &shard.daemon.listen;
    let just_right = "x".repeat(100_000);
    assert_eq!(request(at, "POST", "/", &event_headers("1", "k"), &just_right).await.status, 202);
    let too_large = request(at, "POST", "/", &event_headers("2", "k"), &"x".repeat(3_000_000)).await;
    assert_eq!(too_large.status, 413);
    assert!(too_large.error().contains("100000 bytes"));

    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\nce-id: 3\r\nce-source: /t\r\nce-specversion: 1.0\r\nce-type: t\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    stream.write_all(chunk.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let shard = shard().await;
    let mut stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\nce-id: 3\r\ncontent-length: 10\r\n\r\nhalf";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_hung_up_on() {
    let shard = shard().await;
    let mut nothing = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    let mut half = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nce-").await.unwrap();
    for stream in [&mut nothing, &mut half] {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    assert_eq!(shard.send(1, "k").await.status, 202);
}

#[tokio::test]
async fn too_many_headers_are_answered_431() {
    let shard = shard().await;
    let names: Vec<String> = (0..130).map(|n| format!("x-{n}")).collect();
    let mut headers = event_headers("1", "k");
    for name in &names {
        headers.push((Box::leak(name.clone().into_boxed_str()), "x"));
    }
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &headers, "").await.status, 431);
    assert_eq!(request(&shard.daemon.listen, "POST", "/", &headers[..80], "").await.status, 202);
}

#[tokio::test]
async fn http2_without_tls_is_spoken_on_the_same_port() {
    let shard = shard().await;
    let stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for id in 0..5 {
        let mut request = Request::builder().method("POST").uri(shard.url());
        for (name, value) in event_headers(&id.to_string(), "k") {
            request = request.header(name, value);
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from("x"))).unwrap()).await.unwrap();
        assert_eq!(response.status(), 202);
    }
    let get = Request::builder().uri(shard.url()).body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(get).await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_harms_nobody() {
    let shard = shard().await;
    let mut flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    flood.extend(frame(4, 0, 0, &[]));
    for stream in (1..40_000).step_by(2) {
        // POST / with a body to come, and its end: RST_STREAM with CANCEL.
        flood.extend(frame(1, 4, stream, b"\x83\x86\x84\x41\x01x"));
        flood.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    let (mut read, mut write) = TcpStream::connect(&shard.daemon.listen).await.unwrap().into_split();
    let reading = tokio::spawn(async move { read.read_to_end(&mut Vec::new()).await });
    // It may hang up before all is written.
    let _ = write.write_all(&flood).await;
    drop(write);
    let _ = reading.await.unwrap();
    let resident = shard.daemon.resident_bytes();
    assert!(resident < 300_000_000, "{resident} bytes");
    assert_eq!(shard.send(1, "k").await.status, 202);
}

#[tokio::test]
async fn nonsense_on_the_port_harms_nobody() {
    let shard = shard().await;
    let mut state = 7;
    for length in [1, 10, 1000, 100_000] {
        let mut stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
        let bytes: Vec<u8> = (0..length).map(|_| u8::try_from(support::draw(&mut state, 256)).unwrap()).collect();
        // It may hang up before all is written.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
    assert_eq!(shard.send(1, "k").await.status, 202);
}

#[tokio::test]
async fn at_the_backlog_limit_events_are_answered_429_and_accepted_again_when_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let sink = sink(home.path()).await;
    sink.behave(&json!({"failRatio": 1.0})).await;
    let mut config = config(&[("a", &format!("http://{}/", sink.listen))]);
    config["backlogLimitBytes"] = json!(2_000);
    let shard = Shard::start(&config).await;
    let mut accepted = 0;
    let refused = loop {
        let response = shard.send(accepted, "k").await;
        if response.status != 202 {
            break response;
        }
        accepted += 1;
        assert!(accepted < 100, "there is no limit");
    };
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().unwrap() > 0));
    assert!(refused.error().contains("limit of 2000 bytes"));
    let report = shard.daemon.report().await;
    assert_eq!(report["backlogEvents"], json!(accepted));
    assert!(report["backlogBytes"].as_u64().unwrap() <= 2_000);

    sink.behave(&json!({})).await;
    shard.drained().await;
    assert_eq!(shard.daemon.report().await["accepting"], json!(true));
    assert_eq!(shard.send(accepted, "k").await.status, 202);
    shard.drained().await;
    assert_eq!(sink.get("/received?source=/test").await.json(), json!([[0, accepted]]));
}

#[tokio::test]
async fn while_stopping_new_events_are_answered_503_and_the_shard_is_not_ready() {
    // Something is left to deliver, so the drain takes its time.
    let mut shard = shard().await;
    assert_eq!(shard.send(1, "k").await.status, 202);
    let stream = TcpStream::connect(&shard.daemon.listen).await.unwrap();
    let (mut open, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let get = Request::builder().uri("/").header("host", "x").body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(open.send_request(get).await.unwrap().status(), 405);

    shard.daemon.signal("TERM");
    eventually("readyz to say no", || async { (shard.daemon.get("/readyz").await.status == 503).then_some(()) }).await;
    assert_eq!(shard.daemon.get("/healthz").await.status, 200);
    // Who is still sent here is accepted for a moment, and then not: what was accepted is kept all the same.
    let mut accepted = 1;
    let refused = loop {
        let answer = shard.send(accepted + 1, "k").await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(shard.daemon.report().await["accepting"], json!(false));
    let mut again = Request::builder().method("POST").uri("/").header("host", "x");
    for (name, value) in event_headers("late", "k") {
        again = again.header(name, value);
    }
    assert_eq!(open.send_request(again.body(Empty::new()).unwrap()).await.unwrap().status(), 503);
    assert!(shard.daemon.ended().await.success());
    shard.restart().await;
    assert_eq!(shard.daemon.report().await["backlogEvents"], json!(accepted));
}
