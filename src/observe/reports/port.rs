//! Asks a shard's events port whether anybody is there. Anything that comes back is an answer, be it an error, or an alert of
//! one that speaks TLS only. Knows nothing of shards.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);

/// What is asked: nothing that changes anything, or costs anything.
const QUESTION: &[u8] = b"OPTIONS / HTTP/1.1\r\nHost: signalbox\r\nConnection: close\r\n\r\n";

/// Asks. An error is the end of a sentence about the port.
pub(super) async fn ask(ip: &str, port: u16) -> Result<(), String> {
    let ip: IpAddr = ip.parse().map_err(|_| "its address is not one")?;
    let asking = async {
        let mut stream = TcpStream::connect((ip, port)).await.map_err(|error| error.to_string())?;
        stream.write_all(QUESTION).await.map_err(|error| error.to_string())?;
        match stream.read(&mut [0; 64]).await {
            Ok(0) => Err("it hangs up without a word".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(TIMEOUT, asking).await.map_err(|_| format!("no answer within {TIMEOUT:?}"))?
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is said of a port that answers so, on one connection.
    async fn asked(answer: Option<&'static [u8]>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(stream.read_buf(&mut head).await.unwrap() > 0);
            }
            assert!(head.starts_with(b"OPTIONS / HTTP/1.1\r\nHost: "), "{head:?}");
            match answer {
                Some(bytes) => stream.write_all(bytes).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        let said = ask("127.0.0.1", port).await;
        server.abort();
        said
    }

    #[tokio::test]
    async fn whatever_comes_back_is_an_answer() {
        for answer in [
            &b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"[..],
            b"HTTP/1.1 503 \r\n",
            b"\x15\x03\x03\x00\x02\x02\x46",
            b"?",
        ] {
            assert_eq!(asked(Some(answer)).await, Ok(()), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_says_nothing_is_silent_and_says_why() {
        assert_eq!(asked(None).await, Err("no answer within 500ms".to_owned()));
        assert_eq!(asked(Some(b"")).await, Err("it hangs up without a word".to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = ask("127.0.0.1", port).await.unwrap_err();
        assert!(refused.contains("refused"), "{refused}");
        assert_eq!(ask("orders-eu-west-0", port).await, Err("its address is not one".to_owned()));
    }
}
