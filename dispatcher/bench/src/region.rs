//! Several shards that route to each other, in one region or in two: their keys, and the tables that an operator would give
//! them.

use std::rc::Rc;

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use signalbox_contract::{Peer, RegionShard, RegionTraffic, RoutingTable, TrafficTable};
use tempfile::TempDir;

use crate::lab::{Lab, Shard, shard_config};

/// What the certificate of each shard is made out to.
const NAME: &str = "shard.bench.here.signalbox";

/// The shards of a region.
pub(crate) struct Region {
    pub(crate) shards: Vec<Shard>,
    name: &'static str,
    epoch: u64,
    _keys: Rc<TempDir>,
}

impl Region {
    /// Starts so many shards, of which the first `owners` own the slots, and waits until all accept events.
    pub(crate) async fn start(lab: &Lab, count: u32, owners: u32, sinks: &[Value]) -> Result<Self> {
        Self::named("here", &Rc::new(keys(lab)?), lab, (count, owners), sinks).await
    }

    /// Two regions of one fleet with a shard each, and these sinks.
    pub(crate) async fn two(lab: &Lab, sinks: [&[Value]; 2]) -> Result<[Self; 2]> {
        let keys = Rc::new(keys(lab)?);
        let [here, there] = sinks;
        Ok([
            Self::named("here", &keys, lab, (1, 1), here).await?,
            Self::named("there", &keys, lab, (1, 1), there).await?,
        ])
    }

    async fn named(
        name: &'static str,
        keys: &Rc<TempDir>,
        lab: &Lab,
        (count, owners): (u32, u32),
        sinks: &[Value],
    ) -> Result<Self> {
        let file = |name: &str| keys.path().join(name);
        let mut config = shard_config(sinks);
        config["region"] = json!(name);
        config["control"] = json!({
            "listen": "127.0.0.1:0", "operator": "operator.bench.here.signalbox", "shard": NAME,
            "certFile": file("tls.crt"), "keyFile": file("tls.key"), "caFile": file("ca.crt"),
        });
        let mut shards = Vec::new();
        for ordinal in 0..count {
            shards.push(lab.started(&config, &["--ordinal", &ordinal.to_string()]).await?);
        }
        let mut region = Self { shards, name, epoch: 0, _keys: keys.clone() };
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
            region: self.name.to_owned(),
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

    /// What the table of the fleet says of it.
    pub(crate) fn traffic(
        &self,
        keeps_permille: u32,
        takes_weight: u32,
        takes_per_second: u64,
    ) -> Result<RegionTraffic> {
        let shards = self.shards.iter().map(|shard| {
            let address = shard.control.clone().context("a shard without a control port")?;
            Ok(RegionShard { address, events: Some(shard.listen.parse()?) })
        });
        let (name, shards) = (self.name.to_owned(), shards.collect::<Result<_>>()?);
        Ok(RegionTraffic { name, keeps_permille, takes_weight, takes_per_second, shards, ..RegionTraffic::default() })
    }

    /// Gives its shards the table of the fleet.
    pub(crate) async fn share(&self, table: &TrafficTable) -> Result<()> {
        for shard in &self.shards {
            shard.share(table).await?;
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
