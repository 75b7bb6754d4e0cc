//! What can be asked on the command line: one file a command, each with its flags, and what they start.

mod load;
mod serve;
mod sink;
mod values;

use clap::Subcommand;
use signalbox_dispatcher::dead_letters_command::{self, DeadLettersArgs};

/// The commands. Each says whether all was well.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run one shard: accept events, store them, deliver them.
    Serve(serve::Serve),
    /// Run a receiver that counts and verifies what it is sent, and fails when told to.
    Sink(sink::Sink),
    /// Send events at a steady rate and measure. Fails unless every event was accepted.
    Load(load::Load),
    /// See to events that were given up on: list them, look at one, replay or delete them.
    DeadLetters(DeadLettersArgs),
}

impl Command {
    /// Does what was asked, to its end.
    pub(crate) async fn run(self) -> anyhow::Result<bool> {
        match self {
            Self::Serve(serve) => serve.run().await,
            Self::Sink(sink) => sink.run().await,
            Self::Load(load) => load.run().await,
            Self::DeadLetters(args) => dead_letters_command::run(args).await,
        }
    }
}
