//! The client of whoever leads: it reads always, and writes only while the Lease was renewed a short time ago.
//!
//! ```text
//! lease --renewed--> Leadership --held?--> Service: GET passes, the rest only if it is held --> the API server
//! ```
//!
//! A process that stood still for a while goes on in the middle of a reconcile, and would write before the task that renews
//! the Lease has had its turn. So each write looks at the time by itself. May import `lease`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tower_service::Service;

use crate::lease::Leadership;

/// A client that writes only while `leadership` is held.
pub(crate) fn client(inner: Client, namespace: &str, leadership: Leadership) -> Client {
    Client::new(Guarded { inner, leadership }, namespace)
}

#[derive(Clone)]
struct Guarded {
    inner: Client,
    leadership: Leadership,
}

impl Service<Request<Body>> for Guarded {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = Pin<Box<dyn Future<Output = kube::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<kube::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { inner, leadership } = self.clone();
        Box::pin(async move {
            if request.method() != Method::GET && !leadership.is_held() {
                return Err(kube::Error::Service(
                    "the Lease was not renewed in time: who does not lead does not write".into(),
                ));
            }
            inner.send(request).await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, Patch, PatchParams};

    use super::*;

    /// Answers everything, and counts.
    #[derive(Clone, Default)]
    struct Everything(Arc<AtomicUsize>);

    impl Service<Request<Body>> for Everything {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            self.0.fetch_add(1, Ordering::Relaxed);
            let body = br#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#;
            std::future::ready(Ok(Response::new(Body::from(body.to_vec()))))
        }
    }

    #[tokio::test]
    async fn who_did_not_renew_in_time_reads_and_does_not_write() {
        let (server, leadership) = (Everything::default(), Leadership::default());
        let client = client(Client::new(server.clone(), "default"), "default", leadership.clone());
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        let patch = serde_json::json!({"data": {}});
        let write = async || maps.patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await;

        assert!(write().await.is_err(), "nobody leads before the first renewal");
        let now = tokio::time::Instant::now();
        leadership.renewed(now);
        assert!(write().await.is_ok());
        // As if it had stood still, and went on before anything else had its turn.
        leadership.renewed(now.checked_sub(Duration::from_secs(30)).unwrap());
        let before = server.0.load(Ordering::Relaxed);
        assert!(write().await.unwrap_err().to_string().contains("does not write"));
        assert!(maps.delete("a", &DeleteParams::default()).await.is_err());
        assert_eq!(server.0.load(Ordering::Relaxed), before, "it was sent all the same");
        assert!(maps.get("a").await.is_ok());
        leadership.renewed(tokio::time::Instant::now());
        assert!(write().await.is_ok());
    }
}
