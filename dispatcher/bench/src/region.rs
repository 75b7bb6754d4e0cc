//! Several shards that route to each other: their keys, and the tables that an operator would give them.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use signalbox_contract::{Peer, RoutingTable};
use tempfile::TempDir;

use crate::lab::{Lab, Shard, shard_config};

/// What the certificate of each shard is made out to.
const NAME: &str = "shard.bench.here.signalbox";

/// The shards of a region.
pub(crate) struct Region {
    pub(crate) shards: Vec<Shard>,
    epoch: u64,
    _keys: TempDir,
}

impl Region {
    /// Starts so many shards, of which the first `owners` own the slots, and waits until all accept events.
    pub(crate) async fn start(lab: &Lab, count: u32, owners: u32, sinks: &[Value]) -> Result<Self> {
        let keys = keys(lab)?;
        let file = |name: &str| keys.path().join(name);
        let mut config = shard_config(sinks);
        config["control"] = json!({
            "listen": "127.0.0.1:0", "operator": "operator.bench.here.signalbox", "shard": NAME,
            "certFile": file("tls.crt"), "keyFile": file("tls.key"), "caFile": file("ca.crt"),
        });
        let mut shards = Vec::new();
        for ordinal in 0..count {
            shards.push(lab.started(&config, &["--ordinal", &ordinal.to_string()]).await?);
        }
        let mut region = Self { shards, epoch: 0, _keys: keys };
        region.route(owners).await?;
        for shard in &region.shards {
            shard.ready().await?;
        }
        Ok(region)
    }

    /// Gives all shards a table by which the first `owners` own the slots.
    pub(crate) async fn route(&mut self, owners: u32) -> Result<()> {
        self.epoch += 1;
        let peers = (0..).zip(&self.shards).map(|(ordinal, shard)| {
            Ok(Peer { ordinal, address: shard.control.clone().context("a shard without a control port")?, log: 0 })
        });
        let table = RoutingTable {
            fleet: "bench".to_owned(),
            region: "here".to_owned(),
            epoch: self.epoch,
            shards: owners,
            peers: peers.collect::<Result<_>>()?,
            lost: Vec::new(),
        };
        for shard in &self.shards {
            shard.route(&table).await?;
        }
        Ok(())
    }

    /// Whether all is as the latest table says: the owners deliver all of their slots, and the others are empty.
    pub(crate) async fn settled(&self, owners: usize) -> Result<bool> {
        for (ordinal, shard) in self.shards.iter().enumerate() {
            let report = shard.report().await?;
            let routing = &report["routing"];
            let done = if ordinal < owners { routing["claiming"] == 0 } else { routing["empty"] == true };
            if routing["epoch"] != self.epoch || !done {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// An authority, and a certificate that all shards show.
fn keys(lab: &Lab) -> Result<TempDir> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let mut params = CertificateParams::new([NAME.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let folder = lab.home()?;
    std::fs::write(folder.path().join("tls.crt"), params.signed_by(&key, &authority)?.pem())?;
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem())?;
    std::fs::write(folder.path().join("ca.crt"), authority.pem())?;
    Ok(folder)
}
