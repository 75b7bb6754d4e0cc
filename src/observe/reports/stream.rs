//! One connection to a shard, as lines. Knows HTTP, and nothing of what the lines say.

use std::net::IpAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use signalbox_contract::REPORT_PATH;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::tls::Identity;

/// Longest line taken: 32 sinks make about 20 KB.
const MAX_BYTES: usize = 128 << 10;

/// The lines that a shard gives. The connection ends with this.
pub(super) struct Lines {
    body: Incoming,
    /// What has come, from the first byte that was not given out yet.
    pending: Vec<u8>,
    ended: bool,
    /// Drives the connection.
    _connection: JoinSet<()>,
}

impl Lines {
    /// Connects, and asks. An error is the end of a sentence about the shard.
    pub(super) async fn open(ip: &str, port: u16, identity: Option<&Identity>) -> Result<Self, String> {
        let ip: IpAddr = ip.parse().map_err(|_| "its address is not one")?;
        let unreachable = || format!("port {port} cannot be reached");
        let stream = TcpStream::connect((ip, port)).await.map_err(|_| unreachable())?;
        match identity {
            None => Self::ask(stream, port).await,
            Some(identity) => {
                let secured = identity.secure(stream).await;
                Self::ask(secured.map_err(|e| format!("port {port} is not to be trusted: {e}"))?, port).await
            }
        }
    }

    async fn ask(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, port: u16) -> Result<Self, String> {
        let unreachable = || format!("port {port} cannot be reached");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| unreachable())?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // How it ended shows in the body.
            let _ = connection.await;
        });
        let request = Request::get(format!("{REPORT_PATH}?watch=true"))
            .header(HOST, format!("shard:{port}"))
            .body(Empty::<Bytes>::new())
            .map_err(|_| unreachable())?;
        let answer = sender.send_request(request).await.map_err(|_| unreachable())?;
        if !answer.status().is_success() {
            return Err(format!("port {port} answers {}", answer.status().as_u16()));
        }
        Ok(Self { body: answer.into_body(), pending: Vec::new(), ended: false, _connection: task })
    }

    /// The next line; `None` when there are no more. What stands after the last line break is a line, too: a shard that
    /// gives one report at a time ends it with none.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut searched = 0;
        loop {
            if let Some(length) = self.pending[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.pending.split_off(searched + length + 1);
                let mut line = std::mem::replace(&mut self.pending, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.pending.len();
            if searched > MAX_BYTES {
                return Err(format!("its report is longer than {} KiB", MAX_BYTES >> 10));
            }
            if self.ended {
                let line = std::mem::take(&mut self.pending);
                return Ok((!line.is_empty()).then_some(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.pending.extend(frame.data_ref().into_iter().flatten()),
                Some(Err(_)) => return Err("its report breaks off".to_owned()),
                None => self.ended = true,
            }
        }
    }
}
