//! The data plane of Signalbox: takes `CloudEvents` over HTTP, keeps them on disk, delivers them to sinks; and the
//! two tools that put it to the test.
//!
//! ```text
//! load --POST--> serve: ingest -> writer -> log -> lanes -> client --POST--> sink
//!                          202 after fdatasync      in order per key, at least once
//! ```
//!
//! | module | what | may import |
//! | --- | --- | --- |
//! | [`event`] | what an event is, and its spellings; pure | nothing |
//! | [`slots`] | which slot a key is in, and which shard owns a slot; pure | nothing |
//! | [`claims`] | how slots change hands, one shard's part; pure | `slots` |
//! | `server` | the accept loop: connections and their limits | `random` |
//! | `random`, `output` | random numbers; lines on stdout and the addresses file | nothing |
//! | [`serve`] | one shard | `event`, `server`, `random`, `output`, `slots`, `claims` |
//! | [`sink`] | a receiver that counts, and fails when told to | `event`, `server`, `random`, `output` |
//! | [`load`] | a generator that keeps its schedule, and measures | `random`, `output` |
//! | [`dead_letters_command`] | lists, replays and deletes the dead letters of a shard | `output` |
//!
//! The program itself is `main.rs` and `cli/`, one file of flags a command, which import this library only.
//!
//! `serve`, `sink`, `load` and `dead_letters_command` do not know of each other: they meet over HTTP only, as
//! strangers would.

pub mod claims;
pub mod dead_letters_command;
pub mod event;
pub mod load;
mod output;
mod random;
pub mod serve;
mod server;
pub mod sink;
pub mod slots;
