//! The heads, in JSON: types for serde beside those of the protocol, which know nothing of it. Pure.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use signalbox_contract::RoutingTable;

use super::{Unread, unread};
use crate::claims::{self, Batch, Epoch, Message, Slot};
use crate::slots::SLOTS;

/// Bytes of a set of slots: a bit each.
const SLOT_BYTES: usize = SLOTS as usize / 8;

/// From whom to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::serve::peers) struct Address {
    pub(in crate::serve::peers) fleet: String,
    pub(in crate::serve::peers) region: String,
    /// Who speaks.
    pub(in crate::serve::peers) from: u32,
    /// Who is meant.
    pub(in crate::serve::peers) to: u32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Said {
    #[serde(flatten)]
    pub(super) address: Address,
    /// Nothing: whoever speaks only says where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Words>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sinks: Vec<String>,
    /// What time it is where this is written, in microseconds since 1970. Absent of shards that did not say so yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) now_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Passed {
    #[serde(flatten)]
    pub(super) address: Address,
    pub(super) epoch: Epoch,
    /// How many events each part has.
    pub(super) parts: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GivenAway {
    pub(super) fleet: String,
    /// The regions.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) log: u64,
    pub(super) sinks: Vec<String>,
    /// As of [`Said::now_us`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) now_us: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Answered {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<RoutingTable>,
    pub(super) parts: Vec<PartAnswer>,
}

/// What became of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::serve::peers) enum PartAnswer {
    /// Its events are on disk.
    Stored,
    /// They belong elsewhere, by a newer table, which stands beside this.
    Redirect,
    /// Whoever sent them is to be told this.
    Refused {
        /// 413, 429 or 503.
        status: u16,
        /// Why, and what to do instead.
        sentence: String,
        /// For `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u64>,
    },
    /// Not now, and not for a reason that concerns who sent them: ask again.
    Later(String),
}

/// A message, for serde.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Words {
    Seal(Box<RoutingTable>),
    Sealed(Epoch),
    Transfer { epoch: Epoch, incarnation: u64, number: u64, slots: String },
    Stored { epoch: Epoch, incarnation: u64, number: u64 },
    Done { epoch: Epoch, slots: String },
    Newer(Box<RoutingTable>),
}

impl From<&Message> for Words {
    fn from(message: &Message) -> Self {
        match message {
            Message::Seal(table) => Self::Seal(Box::new(RoutingTable::clone(table))),
            Message::Sealed(epoch) => Self::Sealed(*epoch),
            &Message::Transfer(epoch, Batch { incarnation, number }, ref slots) => {
                Self::Transfer { epoch, incarnation, number, slots: of_slots(slots) }
            }
            &Message::Stored(epoch, Batch { incarnation, number }) => Self::Stored { epoch, incarnation, number },
            Message::Done(epoch, slots) => Self::Done { epoch: *epoch, slots: of_slots(slots) },
            Message::Newer(table) => Self::Newer(Box::new(RoutingTable::clone(table))),
        }
    }
}

impl Words {
    pub(super) fn read(self) -> Result<Message, Unread> {
        Ok(match self {
            Self::Seal(table) => Message::Seal(Arc::new(*table)),
            Self::Sealed(epoch) => Message::Sealed(epoch),
            Self::Transfer { epoch, incarnation, number, slots: set } => {
                Message::Transfer(epoch, Batch { incarnation, number }, slots(&set)?)
            }
            Self::Stored { epoch, incarnation, number } => Message::Stored(epoch, Batch { incarnation, number }),
            Self::Done { epoch, slots: set } => Message::Done(epoch, slots(&set)?),
            Self::Newer(table) => Message::Newer(Arc::new(*table)),
        })
    }
}

/// A bit a slot, the first in the lowest of the first byte, in base64.
fn of_slots(slots: &claims::Slots) -> String {
    let mut bits = [0_u8; SLOT_BYTES];
    for slot in slots {
        if let Some(byte) = bits.get_mut(usize::from(slot / 8)) {
            *byte |= 1 << (slot % 8);
        }
    }
    BASE64_STANDARD.encode(bits)
}

fn slots(text: &str) -> Result<claims::Slots, Unread> {
    let bits = BASE64_STANDARD.decode(text).ok().filter(|bits| bits.len() == SLOT_BYTES);
    let bits = bits.ok_or_else(|| unread("a set of slots in it is not understood"))?;
    let has = |slot: &Slot| bits.get(usize::from(slot / 8)).is_some_and(|byte| byte >> (slot % 8) & 1 == 1);
    Ok((0..SLOTS).filter(has).collect())
}
