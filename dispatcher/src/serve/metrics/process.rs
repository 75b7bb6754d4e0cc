//! What the process costs, read from the system when it is asked for. With the events accepted or delivered between
//! two readings, the first is CPU time per event. May import `processor`.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::set_seconds;
use crate::serve::processor;

pub(super) struct ProcessMetrics {
    cpu: Counter<f64, AtomicU64>,
    cpu_limit: Gauge<f64, AtomicU64>,
    resident: Gauge,
}

impl ProcessMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let cpu = Counter::default();
        registry.register_with_unit("cpu", "CPU time of this process, in user and system", Unit::Seconds, cpu.clone());
        let resident = Gauge::default();
        registry.register_with_unit("resident", "Memory of this process that is in RAM", Unit::Bytes, resident.clone());
        let cpu_limit = Gauge::default();
        registry.register("cpu_limit_processors", "Processors that this process may use", cpu_limit.clone());
        Self { cpu, cpu_limit, resident }
    }

    pub(super) fn read(&self) {
        set_seconds(&self.cpu, processor::used());
        #[allow(clippy::cast_precision_loss, reason = "no machine has so many")]
        self.cpu_limit.set(processor::limit_millis() as f64 / 1e3);
        if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
            self.resident.set(resident_bytes(&status).unwrap_or(0));
        }
    }
}

/// `VmRSS:      5432 kB` of `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::resident_bytes;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    5432 kB\nRssAnon: 1 kB\n"), Some(5432 * 1024));
        assert_eq!(resident_bytes("VmRSS: many\n"), None);
    }
}
