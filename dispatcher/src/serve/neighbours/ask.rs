//! One question to one events port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Whether anything comes back from an events port within so long: the answer to a request without consequences, or the
/// alert of one that speaks TLS. A connection that is only taken, and closed, is no answer: whatever stands in between may
/// do that.
pub(super) async fn answers(address: SocketAddr, within: Duration) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let question = format!("OPTIONS / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        stream.read(&mut [0; 64]).await
    };
    matches!(tokio::time::timeout(within, asking).await, Ok(Ok(bytes)) if bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::answers;
    use std::time::{Duration, Instant};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// What somebody is taken for who does this with a connection.
    async fn asked(then: impl AsyncFnOnce(tokio::net::TcpStream)) -> bool {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            then(listener.accept().await.unwrap().0).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answered = answers(address, Duration::from_millis(300)) => answered,
            () = serve => unreachable!(),
        }
    }

    #[tokio::test]
    async fn anything_that_comes_back_is_an_answer_and_nothing_else_is() {
        assert!(
            asked(async |mut stream| stream.write_all(&[21, 3, 3, 0, 2, 2, 50]).await.unwrap()).await,
            "a TLS alert"
        );
        assert!(!asked(async |stream| drop(stream)).await, "closed");
        let hangs = Instant::now();
        assert!(!asked(async |_stream| std::future::pending().await).await, "hangs");
        assert!(hangs.elapsed() >= Duration::from_millis(300) && hangs.elapsed() < Duration::from_secs(5));
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(!answers(nobody, Duration::from_millis(300)).await, "refused");
    }
}
