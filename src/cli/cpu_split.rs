//! Which CPUs serve and which generate, where servers are started for a comparison.

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct CpuSplitFlags {
    /// Threads that generate load, each with its own ring
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = super::threads)]
    pub(super) threads: u32,
    /// CPUs of the generator [default: the last, one for each thread]
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    pin: Vec<usize>,
    /// CPUs of each server [default: the first that the generator leaves]
    #[arg(long, value_name = "CPU,...", value_delimiter = ',')]
    server_pin: Vec<usize>,
}

/// The CPUs of each; empty where there are not enough to part.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CpuSplit {
    pub(super) server: Vec<usize>,
    pub(super) generator: Vec<usize>,
}

impl CpuSplitFlags {
    /// One CPU for the servers, unless more were asked for: that is what one worker needs, and what a generator of one
    /// thread can saturate.
    pub(super) fn of(&self, allowed: &[usize]) -> CpuSplit {
        let threads = self.threads as usize;
        let but = |taken: &[usize]| -> Vec<usize> {
            let free = allowed.iter().filter(|cpu| !taken.contains(cpu));
            free.copied().collect()
        };
        let generator = match &self.pin[..] {
            [] if allowed.len() < 2 => Vec::new(),
            [] => {
                let free = but(&self.server_pin);
                let keep = usize::from(self.server_pin.is_empty());
                free[free.len() - threads.min(free.len().saturating_sub(keep))..].to_vec()
            }
            asked => asked.to_vec(),
        };
        let server = match &self.server_pin[..] {
            [] if generator.is_empty() => Vec::new(),
            [] => but(&generator).into_iter().take(1).collect(),
            asked => asked.to_vec(),
        };
        CpuSplit { server, generator }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sides(allowed: &[usize], threads: u32, pin: &[usize], server: &[usize]) -> [Vec<usize>; 2] {
        let flags = CpuSplitFlags {
            threads,
            pin: pin.to_vec(),
            server_pin: server.to_vec(),
        };
        let CpuSplit { server, generator } = flags.of(allowed);
        [server, generator]
    }

    #[test]
    fn servers_have_the_first_cpu_and_the_generator_the_last_ones() {
        assert_eq!(sides(&[0, 1], 1, &[], &[]), [[0], [1]]);
        assert_eq!(sides(&[0, 1, 2, 3], 2, &[], &[]), [vec![0], vec![2, 3]]);
        assert_eq!(sides(&[0, 1], 8, &[], &[]), [[0], [1]], "one is kept");
        let none = [vec![0; 0], vec![]];
        assert_eq!(sides(&[3], 1, &[], &[]), none, "shared, and not pinned");
    }

    #[test]
    fn what_one_side_asks_for_the_other_one_leaves() {
        assert_eq!(sides(&[0, 1], 1, &[0], &[]), [[1], [0]]);
        assert_eq!(sides(&[0, 1, 2], 1, &[], &[1, 2]), [vec![1, 2], vec![0]]);
        assert_eq!(sides(&[0, 1], 1, &[], &[0, 1]), [vec![0, 1], vec![]]);
        assert_eq!(sides(&[0, 1], 1, &[1], &[1]), [[1], [1]], "as asked");
    }
}
