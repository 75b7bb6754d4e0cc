//! Claims: how slots change hands, as a machine of one shard.

mod claim;
mod give;
mod shard;
mod types;

pub use shard::Claims;
pub use types::{Answer, Batch, Durable, Effect, Epoch, Input, Key, Message, Ordinal, Slot, Slots, Source, Tenure};
