//! Takes a cluster down, whole or half-made: everything that its state file names, and nothing else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::control_group;
use super::network::{self, netns_path};
use super::state::State;
use crate::command;
use crate::place::Place;
use crate::process;

/// Removes all that there is of the cluster at `place`.
pub(crate) async fn remove(place: &Place) -> Result<()> {
    if let Some(state) = State::read(place)? {
        let groups = control_group::find(&state.control_group);
        let (mark, recorded) = (state.mark.clone(), state.processes().to_vec());
        // Daemons are recorded or marked; containers are in the control group. Their mounts, and with
        // them their network namespaces, belong to mount namespaces that end with the last process.
        let find = move || {
            let mut found = recorded.clone();
            found.extend(process::marked(&mark));
            found.extend(groups.iter().flat_map(|group| control_group::members(group)));
            found
        };
        tokio::task::spawn_blocking(move || process::end_all(find)).await??;
        for namespace in state.nodes.iter().chain([&state.fabric]) {
            if Path::new(&netns_path(namespace)).exists() {
                command::run("ip", &["netns", "delete", namespace]).await?;
            }
        }
        if state.made_netns_dir {
            network::remove_netns_dir();
        }
        // It went with the fabric, where its other end was; unless that was never made.
        if Path::new("/sys/class/net").join(&state.link).exists() {
            let removed = command::run("ip", &["link", "delete", &state.link]).await;
            // Namespaces are dismantled in the background: it may have gone just now.
            if Path::new("/sys/class/net").join(&state.link).exists() {
                removed?;
            }
        }
        let groups = control_group::find(&state.control_group);
        let remove = move || again(|| groups.iter().try_for_each(|group| control_group::remove(group)));
        tokio::task::spawn_blocking(remove).await??;
    }
    let dir = place.dir();
    if dir.exists() {
        let remove = move || again(|| remove_dir(&dir));
        tokio::task::spawn_blocking(remove).await??;
    }
    Ok(())
}

/// Tries for a while: what processes held is given back some time after they end.
fn again(attempt: impl Fn() -> Result<()>) -> Result<()> {
    const TRIES: u32 = 100;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
    for _ in 0..TRIES {
        if attempt().is_ok() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    attempt()
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
