//! Who is answered on which port: the admin port, and the control port of a shard that has keys.
//!
//! | | admin port, plain | control port, TLS with certificates on both sides |
//! | --- | --- | --- |
//! | without keys | everything | none |
//! | with keys | probes and metrics for everybody; the rest from within the pod only | see below |
//!
//! On the control port the operator has the report, the routing table and dead letters, and shards of the fleet have what
//! shards say to each other: each of the two by the name that its certificate is made out to, and nothing of the other's.
//!
//! From within the pod is from `127.0.0.1` or `::1`: so `kubectl exec` and `kubectl port-forward` reach the dead letters with
//! the rights that Kubernetes asks for, and need no keys. May import `admin` and `peers`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::serve::ListenerExt as _;
use axum::{Extension, Router};
use hyper_util::service::TowerToHyperService;
use signalbox_contract::ControlConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::admin::{self, Admin};
use super::peers::{self, Door, EVENTS_PATH, MESSAGES_PATH, REGIONS_PATH};
use crate::server::{Peers, Server, Tls, set_up_for_long};

/// The operator's place among the names of those who may connect: the first.
const OPERATOR: usize = 0;

/// A control port that is bound, with its keys.
pub(super) struct Control {
    listener: TcpListener,
    tls: Tls,
}

impl Control {
    /// Reads the keys, and binds the port.
    pub(super) async fn bind(config: &ControlConfig) -> anyhow::Result<Self> {
        let names = vec![config.operator.clone(), config.shard.clone()];
        let peers = Peers { authorities: config.ca_file.clone().into(), names };
        let tls = Tls::load(config.cert_file.as_ref(), config.key_file.as_ref(), Some(peers))?;
        Ok(Self { listener: crate::server::bind(config.listen).await?, tls })
    }

    /// Where it is.
    pub(super) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The two ports, for as long as this is kept.
pub(super) struct Ports {
    admin: JoinHandle<()>,
    _control: Option<Server>,
}

impl Ports {
    /// Answers on the admin port, and on the control port if there is one. What shards say to each other goes through
    /// `door`.
    pub(super) fn open(listener: TcpListener, control: Option<Control>, admin: &Arc<Admin>, door: &Arc<Door>) -> Self {
        let router = if control.is_some() {
            let inner = admin::inner(admin.clone()).layer(middleware::from_fn(from_within));
            admin::outer(admin.clone()).merge(inner)
        } else {
            admin::router(admin.clone())
        };
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let plain = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener.tap_io(|connection| set_up_for_long(connection)), service).await {
                tracing::error!(%error, "the admin port ended");
            }
        });
        let control = control.map(|Control { listener, tls }| {
            let for_operator = for_operator(admin);
            let for_shards = peers::router(door.clone()).fallback(async || not_for(FOR_SHARDS_ONLY));
            Server::start_for(listener, Some(tls), move |who, from| {
                let router = if who == Some(OPERATOR) { &for_operator } else { &for_shards };
                TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(from))))
            })
        });
        Self { admin: plain, _control: control }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        self.admin.abort();
    }
}

/// What a shard is told that asks for anything but what shards say to each other.
const FOR_SHARDS_ONLY: &str = "a shard has nothing to ask for here but what shards say to each other\n";

/// What the operator is told that speaks as a shard.
const FOR_THE_OPERATOR: &str = "only shards speak to each other here: this certificate is the operator's\n";

fn for_operator(admin: &Arc<Admin>) -> Router {
    let refused = || any(async || not_for(FOR_THE_OPERATOR));
    let routes = admin::inner(admin.clone()).route(MESSAGES_PATH, refused()).route(EVENTS_PATH, refused());
    routes.route(REGIONS_PATH, refused())
}

fn not_for(sentence: &'static str) -> Response {
    (StatusCode::FORBIDDEN, sentence).into_response()
}

async fn from_within(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if is_within(peer.ip()) {
        return next.run(request).await;
    }
    let sentence = "from outside of the pod this is on the control port, with a certificate of the fleet\n";
    (StatusCode::FORBIDDEN, sentence).into_response()
}

/// Not the whole of 127.0.0.0/8: there are proxies that pass on from other addresses of it what they got from anywhere.
fn is_within(peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer == IpAddr::V4(Ipv4Addr::LOCALHOST) || peer == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn only_the_loopback_address_itself_is_within() {
        let within = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.6", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1"]
            .map(|peer| is_within(peer.parse().unwrap()));
        assert_eq!(within, [true, true, true, false, false, false, false]);
    }
}
