//! What a server of any number of processes has used: some processes and all of their descendants.
//!
//! A process that ends adds its CPU time to that of the parent that waits for it (`cutime` and `cstime`), so processes
//! that come and go between two samples are counted. Where that cannot be known, there is no figure but a reason.
//! proc_pid_stat(5), proc_pid_status(5), proc_pid_smaps(5).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::time::ClockId;

use super::{Switches, context_switches, field, process_cpu, processes, read_clock, resident};
use crate::clock::Nanos;

/// A clock tick of /proc: USER_HZ is 100 on every architecture that io_uring runs on.
const TICK: Nanos = Nanos(10_000_000);

/// `cutime` and `cstime` are each rounded down to ticks, in both samples.
const ROUNDING: Nanos = Nanos(2 * TICK.0);

/// Processes are sampled again if one may have ended meanwhile, this often at most.
const ATTEMPTS: usize = 20;

/// Process id, and when it started in ticks since boot: an id alone may be reused.
type Id = (i32, u64);

/// Processes and their descendants at one instant.
#[derive(Debug, Clone, Default)]
pub struct ProcessTree {
    /// In ticks since boot.
    taken: u64,
    processes: BTreeMap<Id, Process>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Process {
    parent: i32,
    name: String,
    cpu: Nanos,
    /// Of the children it has waited for, and of theirs.
    reaped: Reaped,
    switches: Switches,
    /// True if it ignores SIGCHLD: then the kernel adds its children's CPU time to nothing.
    ignores_children: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Reaped {
    cpu: Nanos,
    /// Minor page faults. Every process has some, so this shows a child that used less than a tick.
    faults: u64,
}

/// What a process tree has used between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeUsage {
    /// CPU time, that of processes which came and went included.
    pub cpu: Nanos,
    /// Context switches; `None` if processes ended meanwhile: the kernel does not keep those.
    pub switches: Option<Switches>,
}

impl ProcessTree {
    /// Samples these processes and their descendants. The calling process and its descendants are left out, and of its
    /// ancestors only the process itself is counted: their other descendants may be anything.
    pub fn read(roots: &[i32]) -> ProcessTree {
        let mut last = ProcessTree::default();
        for _ in 0..ATTEMPTS {
            let (tree, complete) = ProcessTree::read_once(roots);
            // A child that ends after its parent was read, and before itself, shows in the next sample only.
            let is_stable = tree.never_had_children() || tree.reaped() == last.reaped();
            last = tree;
            if complete && is_stable {
                break;
            }
        }
        last
    }

    fn never_had_children(&self) -> bool {
        let mut processes = self.processes.values();
        self.processes.len() <= 1 && processes.all(|process| process.reaped == Reaped::default())
    }

    /// The processes, and what they have reaped.
    fn reaped(&self) -> Vec<(Id, Reaped)> {
        let processes = self.processes.iter();
        processes.map(|(&id, process)| (id, process.reaped)).collect()
    }

    /// False if a process ended meanwhile.
    fn read_once(roots: &[i32]) -> (ProcessTree, bool) {
        let taken = read_clock(ClockId::CLOCK_BOOTTIME).unwrap_or_default().0 / TICK.0;
        let stats: BTreeMap<i32, Stat> = processes().filter_map(|pid| Some((pid, Stat::read(pid)?))).collect();
        let mut tree = ProcessTree {
            taken,
            processes: BTreeMap::new(),
        };
        let mut complete = true;
        for (pid, alone) in members(roots, &stats, std::process::id().cast_signed()) {
            match Process::read(pid, &stats[&pid], alone) {
                Some(process) => drop(tree.processes.insert((pid, stats[&pid].started), process)),
                None => complete = false,
            }
        }
        (tree, complete)
    }

    /// The processes, descendants included.
    pub fn pids(&self) -> Vec<i32> {
        self.processes.keys().map(|&(pid, _)| pid).collect()
    }

    /// The names of these processes of the tree, each once.
    pub fn names(&self, pids: &[i32]) -> Vec<String> {
        let named = self.processes.iter().filter(|((pid, _), _)| pids.contains(pid));
        let names: BTreeSet<&String> = named.map(|(_, process)| &process.name).collect();
        names.into_iter().cloned().collect()
    }

    /// Resident memory in bytes. Of several processes, pages that they share count once (proportional set sizes).
    /// `None` if that of a process is not readable.
    pub fn resident(&self) -> Option<u64> {
        match self.pids().as_slice() {
            [] => None,
            [pid] => resident(*pid),
            pids => pids.iter().map(|&pid| proportional_set_size(pid)).sum(),
        }
    }

    /// What the tree has used since `before`. Errors: why that is not known.
    pub fn since(&self, before: &ProcessTree) -> Result<TreeUsage, String> {
        if self.processes.is_empty() {
            return Err("its processes had ended by the end of measuring".to_owned());
        }
        self.check_newcomers(before)?;
        self.check_ended(before)?;
        let several = self.processes.len() > 1 || before.processes.len() > 1;
        let ignoring = self.processes.values().find(|process| process.ignores_children);
        if let Some(Process { name, .. }) = ignoring.filter(|_| several) {
            return Err(format!(
                "{name} ignores SIGCHLD, so the CPU time of processes that end is lost"
            ));
        }
        let switches = |tree: &ProcessTree| {
            let all = tree.processes.values().map(|process| process.switches);
            all.fold(Switches::default(), |sum, one| Switches {
                voluntary: sum.voluntary + one.voluntary,
                involuntary: sum.involuntary + one.involuntary,
            })
        };
        Ok(TreeUsage {
            cpu: self.total() - before.total(),
            switches: (!self.has_lost_processes(before)).then(|| switches(self).since(switches(before))),
        })
    }

    fn total(&self) -> Nanos {
        let all = self.processes.values().map(Process::total);
        all.fold(Nanos(0), |sum, one| sum + one)
    }

    /// Errors: a process is in the tree now, was not before, and is older: what it had used by then is not known.
    fn check_newcomers(&self, before: &ProcessTree) -> Result<(), String> {
        let mut newcomers = self
            .processes
            .iter()
            .filter(|(id, _)| !before.processes.contains_key(id));
        match newcomers.find(|((_, started), _)| *started < before.taken) {
            Some((_, Process { name, .. })) => Err(format!("{name} began to listen while measuring")),
            None => Ok(()),
        }
    }

    /// Errors: a process has ended, and its CPU time was not added to that of an ancestor in the tree.
    fn check_ended(&self, before: &ProcessTree) -> Result<(), String> {
        let mut owed: BTreeMap<Id, Nanos> = BTreeMap::new();
        for (id, process) in &before.processes {
            if self.processes.contains_key(id) {
                continue;
            }
            let lost = || format!("{} ended while measuring, and its CPU time is lost", process.name);
            let heir = self.surviving_ancestor(process, before).ok_or_else(lost)?;
            let sum = owed.entry(heir).or_default();
            *sum = *sum + process.total();
        }
        for (heir, owed) in owed {
            let (now, then) = (self.processes[&heir].reaped, before.processes[&heir].reaped);
            if now.faults == then.faults || now.cpu - then.cpu + ROUNDING < owed {
                let name = &self.processes[&heir].name;
                return Err(format!(
                    "processes of {name} ended while measuring, and their CPU time is lost"
                ));
            }
        }
        Ok(())
    }

    fn surviving_ancestor(&self, process: &Process, before: &ProcessTree) -> Option<Id> {
        let mut parent = process.parent;
        loop {
            let (&id, above) = before.processes.range((parent, 0)..=(parent, u64::MAX)).next()?;
            if self.processes.contains_key(&id) {
                return Some(id);
            }
            parent = above.parent;
        }
    }

    /// True if a process has ended since `before`, even one that was not there then.
    pub fn has_lost_processes(&self, before: &ProcessTree) -> bool {
        let ended = before.processes.keys().any(|id| !self.processes.contains_key(id));
        let reaped = |(id, process): (&Id, &Process)| {
            let faults = before.processes.get(id).map_or(0, |before| before.reaped.faults);
            process.reaped.faults > faults
        };
        ended || self.processes.iter().any(reaped)
    }
}

impl Process {
    /// `alone`: without its descendants. None if it has ended.
    fn read(pid: i32, stat: &Stat, alone: bool) -> Option<Process> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Process {
            parent: stat.parent,
            name: stat.name.clone(),
            cpu: process_cpu(pid)?,
            reaped: if alone { Reaped::default() } else { stat.reaped },
            switches: context_switches(pid)?,
            ignores_children: !alone && ignores_children(&status),
        })
    }

    fn total(&self) -> Nanos {
        self.cpu + self.reaped.cpu
    }
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    name: String,
    parent: i32,
    started: u64,
    reaped: Reaped,
}

impl Stat {
    fn read(pid: i32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses and may contain anything; the fields after it count from 3 in proc_pid_stat(5).
    fn parse(text: &str) -> Option<Stat> {
        let (front, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at - 3)?.parse::<u64>().ok();
        Some(Stat {
            name: front.split_once('(')?.1.to_owned(),
            parent: fields.get(4 - 3)?.parse().ok()?,
            started: number(22)?,
            reaped: Reaped {
                cpu: Nanos((number(16)? + number(17)?).saturating_mul(TICK.0)),
                faults: number(11)?,
            },
        })
    }
}

/// The roots and their descendants without process `own` and its descendants; and whether each counts alone, because it
/// is an ancestor of `own`.
fn members(roots: &[i32], stats: &BTreeMap<i32, Stat>, own: i32) -> BTreeMap<i32, bool> {
    let mut ancestors = BTreeSet::new();
    let mut above = own;
    while let Some(stat) = stats.get(&above)
        && ancestors.insert(above)
    {
        above = stat.parent;
    }
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (&pid, stat) in stats {
        children.entry(stat.parent).or_default().push(pid);
    }
    let mut members = BTreeMap::new();
    let mut next: Vec<i32> = roots.iter().copied().filter(|pid| stats.contains_key(pid)).collect();
    while let Some(pid) = next.pop() {
        let alone = ancestors.contains(&pid);
        if members.insert(pid, alone).is_none() && !alone {
            next.extend(children.get(&pid).into_iter().flatten());
        }
    }
    members
}

/// True if the mask of ignored signals (hexadecimal) has SIGCHLD.
fn ignores_children(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (libc::SIGCHLD - 1) & 1 == 1)
}

/// In bytes: each page divided by the number of processes that have it.
fn proportional_set_size(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    Some(field(&rollup, "Pss")? * 1024)
}

#[cfg(test)]
mod tests;
