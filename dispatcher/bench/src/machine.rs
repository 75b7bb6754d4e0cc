//! What the figures were measured on.

use std::path::Path;

use serde::Serialize;

/// Processor, kernel, disk, and how busy others keep it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) filesystem: String,
    /// Processes that wanted to run in the minute before: above 0.5, others were at work.
    pub(crate) load_before: f64,
}

impl Machine {
    /// This machine; `dir` is where the logs are kept.
    pub(crate) fn read(dir: &Path) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field(&text("/proc/meminfo"), "MemTotal:");
        let memory = memory.and_then(|memory| memory.split_whitespace().next()?.parse::<f64>().ok());
        Self {
            processor: field(&text("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory.unwrap_or_default() / (1024.0 * 1024.0),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            filesystem: filesystem(&text("/proc/mounts"), dir),
            load_before: text("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        }
    }
}

/// Kind and device of the filesystem that `dir` is on.
fn filesystem(mounts: &str, dir: &Path) -> String {
    let parts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let deepest = parts.filter(|parts| parts.len() > 2 && dir.starts_with(parts[1])).max_by_key(|parts| parts[1].len());
    deepest.map_or_else(|| "unknown".to_owned(), |parts| format!("{} on {}", parts[2], parts[0]))
}

#[cfg(test)]
mod tests {
    use super::filesystem;
    use std::path::Path;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n";
        assert_eq!(filesystem(mounts, Path::new("/tmp/x")), "tmpfs on tmpfs");
        assert_eq!(filesystem(mounts, Path::new("/home/x")), "ext4 on /dev/a");
        assert_eq!(filesystem("", Path::new("/")), "unknown");
    }
}
