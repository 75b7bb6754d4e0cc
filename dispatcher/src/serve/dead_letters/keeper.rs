//! The one thread that writes dead letters: group commit, as in `writer.rs`.
//!
//! After a failed write what is on disk is unknown, so nothing more is written until the next start. That is no
//! reason to end the process: what could not be buried is still in the log.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::letter::LetterKey;
use super::store::{Buried, Shelf, Store};
use super::{BuryError, NewDeadLetter, StoreError};

/// Most commands in one group.
const MAX_GROUP: usize = 256;

/// Most record bytes in one group.
const MAX_GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What the thread is asked to do.
pub(super) enum Command {
    /// Keep a letter that died at this time.
    Bury(Box<NewDeadLetter>, i64, oneshot::Sender<Result<(), BuryError>>),
    /// Remove letters, and note this about replays, in one. Answers how many were there.
    Remove(Vec<LetterKey>, Option<Bytes>, oneshot::Sender<Result<u64, StoreError>>),
}

/// Someone to be answered once the group is on disk.
enum Waiter {
    Bury(oneshot::Sender<Result<(), BuryError>>),
    Remove(u64, oneshot::Sender<Result<u64, StoreError>>),
}

/// Starts the thread. It ends when nobody can send commands any more.
pub(super) fn start(shelf: Arc<Shelf>, limit: u64, mut commands: mpsc::Receiver<Command>) -> std::io::Result<()> {
    std::thread::Builder::new().name("dead-letters".to_owned()).spawn(move || {
        let mut broken = None;
        let mut next = None;
        while let Some(first) = next.take().or_else(|| commands.blocking_recv()) {
            let group;
            (group, next) = take(first, &mut commands);
            match &broken {
                None => broken = keep(&shelf, limit, group).err(),
                Some(error) => refuse(group, error),
            }
        }
    })?;
    Ok(())
}

/// `first` and what has queued up behind it, as long as it is of the same kind: so no group both adds and removes
/// the same letter. And the one of another kind, if that is why the group ends.
fn take(first: Command, commands: &mut mpsc::Receiver<Command>) -> (Vec<Command>, Option<Command>) {
    let burying = matches!(first, Command::Bury(..));
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(command) = next.take() {
        if matches!(command, Command::Bury(..)) != burying {
            return (group, Some(command));
        }
        if let Command::Bury(letter, ..) = &command {
            bytes += letter.record.len();
        }
        group.push(command);
        if group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
            next = commands.try_recv().ok();
        }
    }
    (group, None)
}

/// Does a group, and answers everyone of it when it is on disk, or has failed.
fn keep(shelf: &Shelf, limit: u64, group: Vec<Command>) -> Result<(), StoreError> {
    // What needs no store must not make one.
    let mut needed = Vec::with_capacity(group.len());
    for command in group {
        match command {
            Command::Bury(_, _, done) if limit == 0 => drop(done.send(Err(BuryError::Full(0)))),
            Command::Remove(_, None, done) if shelf.store().is_none() => drop(done.send(Ok(0))),
            other => needed.push(other),
        }
    }
    if needed.is_empty() {
        return Ok(());
    }
    let store = match shelf.store_or_new() {
        Ok(store) => store,
        Err(error) => {
            // Nothing was written. The next one may have more luck, such as room on the disk.
            tracing::error!("{error}");
            refuse(needed, &error);
            return Ok(());
        }
    };
    let mut waiters = Vec::with_capacity(needed.len());
    let result = apply(shelf, store, limit, needed, &mut waiters);
    if let Err(error) = &result {
        tracing::error!("{error}: no event is given up until this process has been started again");
    }
    for waiter in waiters {
        // Someone who has gone away finds it done all the same.
        match (waiter, &result) {
            (Waiter::Bury(done), Ok(())) => drop(done.send(Ok(()))),
            (Waiter::Bury(done), Err(e)) => drop(done.send(Err(BuryError::Failed(e.to_string())))),
            (Waiter::Remove(count, done), Ok(())) => drop(done.send(Ok(count))),
            (Waiter::Remove(_, done), Err(e)) => drop(done.send(Err(e.clone()))),
        }
    }
    result
}

fn apply(
    shelf: &Shelf,
    store: &Store,
    limit: u64,
    group: Vec<Command>,
    waiters: &mut Vec<Waiter>,
) -> Result<(), StoreError> {
    let mut change = shelf.change(store)?;
    for command in group {
        match command {
            Command::Bury(letter, now_us, done) => match change.bury(&letter, now_us, limit)? {
                Buried::Kept => waiters.push(Waiter::Bury(done)),
                Buried::Full => drop(done.send(Err(BuryError::Full(limit)))),
                Buried::Taken => {
                    let sentence = format!(
                        "{}.{} is another event, of an earlier log: replay or delete that one",
                        letter.sink, letter.position
                    );
                    drop(done.send(Err(BuryError::Failed(sentence))));
                }
            },
            Command::Remove(keys, replays, done) => {
                let mut count = 0;
                for key in &keys {
                    count += u64::from(change.remove(key)?);
                }
                if let Some(json) = replays {
                    change.note_replays(json);
                }
                waiters.push(Waiter::Remove(count, done));
            }
        }
    }
    change.commit()
}

fn refuse(group: Vec<Command>, error: &StoreError) {
    for command in group {
        match command {
            Command::Bury(_, _, done) => drop(done.send(Err(BuryError::Failed(error.to_string())))),
            Command::Remove(_, _, done) => drop(done.send(Err(error.clone()))),
        }
    }
}
