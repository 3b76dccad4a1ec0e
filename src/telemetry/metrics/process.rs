//! What the kernel counts of this process, under the names that every Prometheus client uses.

use std::{fs, path::Path};

use procfs::{
    Current, ProcResult,
    process::{LimitValue, Process},
};

use super::sheet::{Number, Sheet};

/// Puts it down; where there is no `/proc` nothing.
pub(super) fn fill(sheet: &mut Sheet) {
    if let Err(error) = read(sheet) {
        tracing::debug!(%error, "the kernel does not tell of the process");
    }
}

fn read(sheet: &mut Sheet) -> ProcResult<()> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second().to_f64();
    let cpu = (stat.utime + stat.stime).to_f64() / ticks;
    let started = procfs::boot_time_secs()?.to_f64() + stat.starttime.to_f64() / ticks;
    let resident = stat.rss * procfs::page_size();
    sheet.counter("process_cpu_seconds", "Processor time, in seconds", cpu);
    sheet.gauge("process_start_time_seconds", "Start of the process, in seconds since 1970", started);
    sheet.gauge("process_resident_memory_bytes", "Resident memory", resident);
    sheet.gauge("amoiq_memory_limit_bytes", "Memory that the process may have", memory_limit(&process)?);
    sheet.gauge("process_virtual_memory_bytes", "Virtual memory", stat.vsize);
    sheet.gauge("process_open_fds", "Open file descriptors", process.fd_count()?);
    if let LimitValue::Value(most) = process.limits()?.max_open_files.soft_limit {
        sheet.gauge("process_max_fds", "The most file descriptors that may be open", most);
    }
    Ok(())
}

/// What the machine has, or what the control groups of the process leave of it.
fn memory_limit(process: &Process) -> ProcResult<u64> {
    let mut least = procfs::Meminfo::current()?.mem_total;
    // Version 2 has one group for each process, number 0; a limit may be set on each above it.
    let own = process.cgroups()?.into_iter().find(|group| group.hierarchy == 0);
    let own = own.map(|group| group.pathname).unwrap_or_default();
    for group in Path::new(own.trim_start_matches('/')).ancestors() {
        let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
        // `max` is none, and the file is not there in the topmost group.
        if let Some(limit) = limit.ok().and_then(|text| text.trim().parse().ok()) {
            least = least.min(limit);
        }
    }
    Ok(least)
}
