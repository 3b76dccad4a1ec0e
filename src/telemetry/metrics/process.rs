//! What the kernel counts for this process, under the names that every Prometheus client uses.

use std::{fs, path::Path};

use procfs_core::{
    FromRead, Meminfo, ProcError, ProcResult, ProcessCGroups,
    process::{LimitValue, Limits, Stat},
};

use super::families::{MetricFamilies, MetricNumber};

/// Reads them; without `/proc` there are none.
pub(super) fn collect(families: &mut MetricFamilies) {
    if let Err(error) = read(families) {
        tracing::debug!(%error, "the counters of the process cannot be read");
    }
}

fn read(families: &mut MetricFamilies) -> ProcResult<()> {
    let stat = Stat::from_file("/proc/self/stat")?;
    let ticks = rustix::param::clock_ticks_per_second().to_f64();
    let cpu = (stat.utime + stat.stime).to_f64() / ticks;
    let started = boot_time()?.to_f64() + stat.starttime.to_f64() / ticks;
    let resident = stat.rss.to_f64() * rustix::param::page_size().to_f64();
    // One of them is the directory's own, while it is listed.
    let open_files = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    families.counter("process_cpu_seconds", "Processor time, in seconds", cpu);
    families.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970", started);
    families.gauge("process_resident_memory_bytes", "Resident memory", resident);
    families.gauge("amoiq_memory_limit_bytes", "Memory that the process may use", memory_limit()?);
    families.gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize);
    families.gauge("process_open_fds", "Open file descriptors", open_files);
    if let LimitValue::Value(most) = Limits::from_file("/proc/self/limits")?.max_open_files.soft_limit {
        families.gauge("process_max_fds", "The limit of open file descriptors", most);
    }
    Ok(())
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> ProcResult<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "));
    let seconds = seconds.and_then(|seconds| seconds.trim().parse().ok());
    seconds.ok_or_else(|| ProcError::Other("/proc/stat has no time of start".to_owned()))
}

/// The memory of the machine, or what the control groups of the process allow of it.
fn memory_limit() -> ProcResult<u64> {
    let mut least = Meminfo::from_file("/proc/meminfo")?.mem_total;
    // Version 2 has one group for each process, number 0. Each of its ancestors may have a limit too.
    let groups = ProcessCGroups::from_file("/proc/self/cgroup")?;
    let own = groups.into_iter().find(|group| group.hierarchy == 0);
    let own = own.map(|group| group.pathname).unwrap_or_default();
    for group in Path::new(own.trim_start_matches('/')).ancestors() {
        let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
        // `max` stands for no limit, and the root group has no such file.
        if let Some(limit) = limit.ok().and_then(|text| text.trim().parse().ok()) {
            least = least.min(limit);
        }
    }
    Ok(least)
}
