//! What cannot be beaten on this machine: the disk by itself, and a server that does nothing.

use std::convert::Infallible;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::process::Process;

/// Size of the file that is written to, over and over from its start: zeros beforehand, so that no sync has to write
/// down where blocks are.
const FILE_BYTES: usize = 64 * 1024 * 1024;

/// How long writing and syncing takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncTimes {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Writes and `fdatasync`s `bytes` at a time in `dir`, one after the other, for so long.
pub(crate) async fn sync_times(dir: &Path, bytes: usize, time: Duration) -> Result<SyncTimes> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || measure(&dir, bytes, time)).await?
}

fn measure(dir: &Path, bytes: usize, time: Duration) -> Result<SyncTimes> {
    let file: File = tempfile::tempfile_in(dir)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let data = vec![b'x'; bytes];
    let mut times = Vec::new();
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < time {
        if offset + bytes > FILE_BYTES {
            offset = 0;
        }
        let before = Instant::now();
        file.write_all_at(&data, offset as u64)?;
        file.sync_data()?;
        times.push(before.elapsed());
        offset += bytes;
    }
    times.sort();
    let quantile = |percent: usize| times.get((times.len() - 1) * percent / 100).copied().unwrap_or_default();
    Ok(SyncTimes { p50_ms: quantile(50).as_secs_f64() * 1e3, p99_ms: quantile(99).as_secs_f64() * 1e3 })
}

/// A running bare server, and its address. With `syncs` it answers once the body is on disk.
pub(crate) async fn bare_server(dir: &Path, syncs: bool) -> Result<(Process, String)> {
    let home = tempfile::tempdir_in(dir)?;
    let addresses = home.path().join("addresses");
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bare-server").arg("--addresses").arg(&addresses);
    if syncs {
        command.arg("--sync-in").arg(dir);
    }
    let mut process = Process::start(&mut command, &home.path().join("log"))?;
    let bound = process.written(&addresses).await?;
    let address = bound["listen"].as_str().context("the addresses file is not complete")?.to_owned();
    Ok((process, address))
}

/// The bare server itself: takes HTTP/1.1 requests, reads their bodies, answers 202. With a directory, once what was
/// read has been written to a file of zeros there and synced, together with all else that has come meanwhile.
pub(crate) async fn serve(addresses: &Path, sync_in: Option<&Path>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let writer = sync_in.map(start_writer).transpose()?;
    let unfinished = addresses.with_extension("new");
    std::fs::write(&unfinished, serde_json::json!({"listen": listener.local_addr()?}).to_string())?;
    std::fs::rename(&unfinished, addresses)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let writer = writer.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, writer.clone()));
            // A client that goes away is no matter.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What is to be written, and who waits for it.
type Waiting = (Bytes, oneshot::Sender<()>);

fn start_writer(dir: &Path) -> Result<mpsc::Sender<Waiting>> {
    let file: File = tempfile::tempfile_in(dir)?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let (sender, waiting) = mpsc::channel::<Waiting>();
    std::thread::spawn(move || {
        let (mut group, mut waiters, mut offset) = (Vec::new(), Vec::new(), 0);
        while let Ok(first) = waiting.recv() {
            for (bytes, waiter) in std::iter::once(first).chain(waiting.try_iter()) {
                group.extend_from_slice(&bytes);
                waiters.push(waiter);
            }
            if offset + group.len() > FILE_BYTES {
                offset = 0;
            }
            if let Err(e) = file.write_all_at(&group, offset as u64).and_then(|()| file.sync_data()) {
                crate::output::note(&format!("error: the disk: {e}"));
                return;
            }
            offset += group.len();
            group.clear();
            for waiter in waiters.drain(..) {
                let _ = waiter.send(());
            }
        }
    });
    Ok(sender)
}

async fn answer(
    request: Request<Incoming>,
    writer: Option<mpsc::Sender<Waiting>>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let stored = match (request.into_body().collect().await, writer) {
        (Err(_), _) => false,
        (Ok(_), None) => true,
        (Ok(body), Some(writer)) => {
            let (done, durable) = oneshot::channel();
            writer.send((body.to_bytes(), done)).is_ok() && durable.await.is_ok()
        }
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = if stored { StatusCode::ACCEPTED } else { StatusCode::BAD_REQUEST };
    Ok(response)
}
