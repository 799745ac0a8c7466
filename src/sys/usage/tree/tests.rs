//! Trees of invented processes, and of real ones that fork, end, and wait for each other.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::*;

const SECOND: u64 = 1_000_000_000;

/// A tree of (pid, parent, CPU seconds, reaped CPU seconds, faults of reaped children), started at tick 5, sampled at
/// 10.
fn tree(processes: &[(i32, i32, u64, u64, u64)]) -> ProcessTree {
    let process = |&(pid, parent, cpu, reaped, faults): &(i32, i32, u64, u64, u64)| {
        let process = Process {
            parent,
            name: format!("p{pid}"),
            cpu: Nanos(cpu * SECOND),
            reaped: Reaped {
                cpu: Nanos(reaped * SECOND),
                faults,
            },
            ..Process::default()
        };
        ((pid, 5), process)
    };
    ProcessTree {
        taken: 10,
        processes: processes.iter().map(process).collect(),
    }
}

fn cpu_seconds(before: &ProcessTree, after: &ProcessTree) -> Result<u64, String> {
    Ok(after.since(before)?.cpu.0 / SECOND)
}

#[test]
fn all_processes_count_together() {
    let before = tree(&[(1, 0, 1, 0, 0), (2, 1, 10, 0, 0)]);
    let after = tree(&[(1, 0, 2, 0, 0), (2, 1, 13, 0, 0)]);
    assert_eq!(cpu_seconds(&before, &after), Ok(4));
    assert_eq!(after.since(&before).unwrap().switches, Some(Switches::default()));
}

#[test]
fn processes_that_were_waited_for_count_with_what_they_used_while_measuring() {
    // 2 had used 10 s and ended with 12 s; 3 came and went with 5 s.
    let before = tree(&[(1, 0, 1, 0, 0), (2, 1, 10, 0, 0)]);
    let after = tree(&[(1, 0, 1, 17, 200)]);
    assert_eq!(cpu_seconds(&before, &after), Ok(7));
    let switches = after.since(&before).unwrap().switches;
    assert_eq!(switches, None, "the kernel does not keep those of processes that ended");
}

#[test]
fn a_grandchild_that_ended_with_its_parent_is_in_the_figure() {
    let before = tree(&[(1, 0, 0, 0, 0), (2, 1, 1, 0, 0), (3, 2, 2, 0, 0)]);
    assert_eq!(cpu_seconds(&before, &tree(&[(1, 0, 0, 4, 9)])), Ok(1));
}

#[test]
fn a_process_that_ended_without_being_waited_for_leaves_no_figure() {
    let before = tree(&[(1, 0, 1, 0, 0), (2, 1, 10, 0, 0)]);
    let orphaned = cpu_seconds(&before, &tree(&[(2, 1, 11, 0, 0)]));
    assert_eq!(
        orphaned,
        Err("p1 ended while measuring, and its CPU time is lost".into())
    );
    let discarded = cpu_seconds(&before, &tree(&[(1, 0, 1, 0, 0)]));
    assert!(discarded.is_err(), "{discarded:?}");
}

#[test]
fn a_tree_that_ended_has_no_figure() {
    let gone = cpu_seconds(&tree(&[(1, 0, 1, 0, 0)]), &tree(&[]));
    assert!(gone.unwrap_err().contains("had ended"));
}

#[test]
fn a_process_that_existed_before_and_joined_the_tree_leaves_no_figure() {
    let before = tree(&[(1, 0, 1, 0, 0)]);
    let mut after = tree(&[(1, 0, 1, 0, 0), (2, 0, 9, 0, 0)]);
    assert!(cpu_seconds(&before, &after).unwrap_err().contains("p2 began to listen"));
    let newcomer = after.processes.remove(&(2, 5)).unwrap();
    after.processes.insert((2, 11), newcomer);
    assert_eq!(cpu_seconds(&before, &after), Ok(9), "it was started while measuring");
}

#[test]
fn children_of_a_process_that_ignores_their_end_leave_no_figure() {
    let before = tree(&[(1, 0, 1, 0, 0), (2, 1, 10, 0, 0)]);
    let mut after = before.clone();
    after.processes.get_mut(&(1, 5)).unwrap().ignores_children = true;
    assert!(cpu_seconds(&before, &after).unwrap_err().contains("ignores SIGCHLD"));
}

#[test]
fn members_are_descendants_without_the_generator_and_without_other_children_of_its_ancestors() {
    let stat = |parent| Stat {
        name: String::new(),
        parent,
        started: 0,
        reaped: Reaped::default(),
    };
    // 1 -> 2 -> 3 (the generator) -> 4; 1 -> 5 -> 6; 2 -> 7.
    let stats = BTreeMap::from(
        [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 2)].map(|(pid, parent)| (pid, stat(parent))),
    );
    let of = |roots: &[i32]| members(roots, &stats, 3);
    assert_eq!(of(&[5]), BTreeMap::from([(5, false), (6, false)]));
    assert_eq!(of(&[2]), BTreeMap::from([(2, true)]), "an ancestor of the generator");
    assert_eq!(of(&[5, 6, 99]).len(), 2, "each once, and only those that exist");
}

#[test]
fn a_line_of_stat_is_parsed_whatever_the_name_is() {
    let line = "42 (a) b (c) S 7 42 42 0 -1 4194304 100 200 0 0 1 2 30 40 20 0 1 0 555 1000 50 18446744073709551615 0";
    let stat = Stat::parse(line).unwrap();
    assert_eq!((stat.name.as_str(), stat.parent, stat.started), ("a) b (c", 7, 555));
    let reaped = Reaped {
        cpu: Nanos(700_000_000),
        faults: 200,
    };
    assert_eq!(stat.reaped, reaped);
    assert_eq!(Stat::parse("42 (a) S"), None);
}

#[test]
fn sigchld_is_found_in_the_mask_of_ignored_signals() {
    assert!(ignores_children("Name:\tx\nSigIgn:\t0000000000010000\n"));
    assert!(!ignores_children("SigIgn:\t0000000000001000\n"));
    assert!(!ignores_children(""));
}

/// A shell that runs a command for each line of its input and prints a line once it has ended.
struct Shell(Child);

impl Shell {
    fn start() -> Shell {
        let mut command = Command::new("sh");
        command.args(["-c", "while read line; do sh -c \"$line\"; echo done; done"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Shell(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    fn run(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut answer)
            .unwrap();
        assert_eq!(answer, "done\n");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn the_cpu_time_of_children_that_came_and_went_is_counted() {
    let mut shell = Shell::start();
    let before = ProcessTree::read(&[shell.pid()]);
    assert_eq!(before.pids(), [shell.pid()]);
    shell.run("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 0");
    let after = ProcessTree::read(&[shell.pid()]);
    let usage = after.since(&before).unwrap();
    assert!(usage.cpu >= TICK, "{usage:?}");
    assert_eq!(usage.switches, None);
    assert_eq!(after.names(&[shell.pid()]), ["sh"]);
}

#[test]
fn a_living_child_is_part_of_the_tree() {
    let shell = Shell::start();
    let mut stdin = shell.0.stdin.as_ref().unwrap();
    writeln!(stdin, "exec cat").unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while ProcessTree::read(&[shell.pid()]).pids().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "the child did not start");
        std::thread::yield_now();
    }
    let tree = ProcessTree::read(&[shell.pid()]);
    let sum: u64 = tree.pids().iter().filter_map(|&pid| resident(pid)).sum();
    let shared_once = tree.resident().unwrap();
    assert!(shared_once > 0 && shared_once < sum, "{shared_once} of {sum}");
}
