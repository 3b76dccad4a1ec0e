//! What the kernel counts for this process, under the names that every Prometheus client uses.

use std::{fs, path::Path};

use procfs::{
    Current, ProcResult,
    process::{LimitValue, Process},
};

use super::families::{MetricFamilies, MetricNumber};

/// Reads them; without `/proc` there are none.
pub(super) fn collect(families: &mut MetricFamilies) {
    if let Err(error) = read(families) {
        tracing::debug!(%error, "the counters of the process cannot be read");
    }
}

fn read(families: &mut MetricFamilies) -> ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second().to_f64();
    let cpu = (stat.utime + stat.stime).to_f64() / ticks;
    let started = procfs::boot_time_secs()?.to_f64() + stat.starttime.to_f64() / ticks;
    let resident = stat.rss * procfs::page_size();
    families.counter("process_cpu_seconds", "Processor time, in seconds", cpu);
    families.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970", started);
    families.gauge("process_resident_memory_bytes", "Resident memory", resident);
    families.gauge("amoiq_memory_limit_bytes", "Memory that the process may use", memory_limit(&process)?);
    families.gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize);
    families.gauge("process_open_fds", "Open file descriptors", process.fd_count()?);
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        families.gauge("process_max_fds", "The limit of open file descriptors", most);
    }
    Ok(())
}

/// The memory of the machine, or what the control groups of the process allow of it.
fn memory_limit(process: &Process) -> ProcResult<u64> {
    let mut least = procfs::Meminfo::current()?.mem_total;
    // Version 2 has one group for each process, number 0. Each of its ancestors may have a limit too.
    let own = process.cgroups()?.into_iter().find(|group| group.hierarchy == 0);
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
