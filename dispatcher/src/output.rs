//! What the commands say besides logging: results on stdout, and the addresses that they bound.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

/// Writes one line to stdout. A reader that has gone away is no error: `load … | head` is fine.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes `{"listen": "IP:PORT", "admin": "IP:PORT", "control": "IP:PORT"}`, of those that there are, to `path`, whole or not at all. So whoever started the
/// command with port 0 can find it: wait until the file is there, then read it.
pub(crate) fn write_addresses(
    path: &Path,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    control: Option<SocketAddr>,
) -> anyhow::Result<()> {
    let mut addresses = serde_json::json!({ "listen": listen });
    if let Some(admin) = admin {
        addresses["admin"] = serde_json::json!(admin);
    }
    if let Some(control) = control {
        addresses["control"] = serde_json::json!(control);
    }
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, addresses.to_string())
        .and_then(|()| std::fs::rename(&temporary, path))
        .with_context(|| format!("the addresses cannot be written to {}", path.display()))
}
