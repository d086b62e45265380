//! What a process and its descendants have used, from `/proc`.

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;

/// Microseconds per clock tick of `/proc/<pid>/stat`: `USER_HZ` is 100 on every Linux platform that Rust has.
const US_PER_TICK: u64 = 10_000;

/// What a process tree has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, in microseconds, to the hundredth of a second.
    pub cpu_us: u64,
    /// Resident memory now, in bytes.
    pub rss_bytes: u64,
}

/// The process `root` and all that descend from it.
///
/// # Errors
/// If `root` is gone or `/proc` cannot be read.
pub fn tree_usage(root: u32) -> anyhow::Result<Usage> {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(stat) = Stat::parse(&text) {
            processes.insert(pid, stat);
        }
    }
    anyhow::ensure!(processes.contains_key(&root), "process {root} is gone");
    let mut usage = Usage::default();
    for pid in descendants(root, &processes) {
        usage.cpu_us += processes.get(&pid).map_or(0, |stat| stat.cpu_ticks * US_PER_TICK);
        usage.rss_bytes += fs::read_to_string(format!("/proc/{pid}/status"))
            .ok()
            .and_then(|status| memory(&status, "VmRSS:"))
            .unwrap_or(0);
    }
    Ok(usage)
}

/// Memory of a process that is its own, in bytes: what the kernel calls anonymous. Pages of a file, or of memory that is
/// mapped several times, as instances map what a component's memory begins with, are in its resident memory each time.
///
/// # Errors
/// If it is gone.
pub fn own_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("/proc")?;
    memory(&status, "RssAnon:").context("no RssAnon in /proc/<pid>/status")
}

/// CPU time of this process, in microseconds.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn own_cpu_us() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/stat").context("/proc/self/stat")?;
    Ok(Stat::parse(&text).context("/proc/self/stat")?.cpu_ticks * US_PER_TICK)
}

/// How many files this process may open.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn open_files_limit() -> anyhow::Result<u64> {
    let limits = fs::read_to_string("/proc/self/limits").context("/proc/self/limits")?;
    Ok(soft_limit(&limits, "Max open files").unwrap_or(u64::MAX))
}

/// The model of the first processor, as the kernel names it.
pub fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    cpu_ticks: u64,
}

impl Stat {
    /// Reads a line of `/proc/<pid>/stat` (proc(5)). The second field is a name in parentheses that may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let (_, after_name) = line.rsplit_once(')')?;
        // The first field here is the third of the line.
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
        Some(Self { parent: u32::try_from(number(4)?).ok()?, cpu_ticks: number(14)? + number(15)? })
    }
}

fn descendants(root: u32, processes: &BTreeMap<u32, Stat>) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = processes.iter().filter(|(pid, stat)| stat.parent == parent && **pid != parent);
        found.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

/// In bytes.
fn memory(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// `None` is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 10 0 0 0 120 30 5 6 20 0 1 0 100 1000 200 0";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, cpu_ticks: 150 }));
        assert_eq!(Stat::parse("42 (x) S 7"), None);
    }

    #[test]
    fn descendants_are_found_at_every_depth() {
        let tree = [(1, 0), (2, 1), (3, 2), (4, 1), (5, 9)];
        let tree = tree.into_iter().map(|(pid, parent)| (pid, Stat { parent, cpu_ticks: 0 })).collect();
        assert_eq!(descendants(1, &tree), [1, 2, 4, 3]);
    }

    #[test]
    fn memory_and_limits_are_read_as_the_kernel_writes_them() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nRssAnon:\t     1 kB\nThreads:\t3\n";
        assert_eq!((memory(status, "VmRSS:"), memory(status, "RssAnon:")), (Some(2 << 20), Some(1 << 10)));
        let limits =
            "Max cpu time  unlimited unlimited seconds\nMax open files            1024    4096     files\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit(limits, "Max cpu time"), None);
    }

    #[test]
    fn this_process_uses_something() {
        // In this order: what other tests allocate meanwhile makes the second larger.
        let own = own_bytes(std::process::id()).unwrap();
        assert!(own > 0 && tree_usage(std::process::id()).unwrap().rss_bytes > own);
        assert!(open_files_limit().unwrap() > 0);
        own_cpu_us().unwrap();
    }
}
