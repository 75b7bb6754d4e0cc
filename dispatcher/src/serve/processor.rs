//! The processors: how much of them this process has used, and may use. May import nothing of this crate.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where control groups are, in a container as on a machine.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Processor time of all threads of this process, those that have ended included.
pub(super) fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processors that this process may use, in thousandths: the least of its control groups' quotas, else those that it
/// may run on. 0: not known. Read anew each time, because a pod may be resized while it runs.
pub(super) fn limit_millis() -> u64 {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let quota = quota_millis(Path::new(CONTROL_GROUPS), &own);
    let processors = std::thread::available_parallelism().map_or(0, |count| count.get() as u64);
    limit(quota, processors)
}

/// `processors` is what may be run on, and no more than whole processors of the quota.
fn limit(quota: Option<u64>, processors: u64) -> u64 {
    match quota {
        Some(quota) if processors == 0 || quota / 1000 <= processors => quota,
        _ => processors * 1000,
    }
}

/// The least quota of the control group that `own` names, as `/proc/self/cgroup` does, and of those above it.
fn quota_millis(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = root.join(path);
    // In a container the path may be that of the machine, and only the root be there.
    let above = group.ancestors().take_while(|path| path.starts_with(root));
    above.filter_map(|path| parse(&std::fs::read_to_string(path.join("cpu.max")).ok()?)).min()
}

/// `150000 100000` of `cpu.max`: so many microseconds in each period of so many.
fn parse(cpu_max: &str) -> Option<u64> {
    let (quota, period) = cpu_max.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

#[cfg(test)]
mod tests {
    use super::{limit, limit_millis, parse, quota_millis, used};

    #[test]
    fn a_quota_is_a_share_of_its_period_and_max_is_none() {
        assert_eq!(parse("150000 100000\n"), Some(1500));
        assert_eq!(parse("max 100000\n"), None);
        assert_eq!(parse("5000 0"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_least_quota_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let pod = root.path().join("kubepods/pod");
        std::fs::create_dir_all(pod.join("container")).unwrap();
        let write = |path: &std::path::Path, text: &str| std::fs::write(path.join("cpu.max"), text).unwrap();
        let quota = |own: &str| quota_millis(root.path(), own);
        assert_eq!(quota("0::/kubepods/pod/container\n"), None);
        write(&pod.join("container"), "max 100000");
        write(&pod, "50000 100000");
        assert_eq!(quota("0::/kubepods/pod/container\n"), Some(500));
        write(&pod.join("container"), "20000 100000");
        assert_eq!(quota("0::/kubepods/pod/container\n"), Some(200));
        write(root.path(), "10000 100000");
        assert_eq!(quota("0::/of/the/machine\n"), Some(100), "in a container only the root is there");
        assert_eq!(quota("4:cpu:/kubepods\n"), None, "version 1 says nothing");
    }

    #[test]
    fn a_quota_beyond_the_processors_limits_nothing() {
        assert_eq!(limit(Some(1500), 1), 1500, "whole processors of a quota are rounded down");
        assert_eq!(limit(Some(300), 1), 300);
        assert_eq!(limit(Some(8000), 2), 2000);
        assert_eq!((limit(None, 4), limit(None, 0), limit(Some(700), 0)), (4000, 0, 700));
        assert!(limit_millis() > 0);
    }

    #[test]
    fn work_uses_processor_time() {
        let before = used();
        let mut left = 0_u64;
        while used() == before {
            left = std::hint::black_box(left + 1);
        }
        assert!(used() > before);
    }
}
