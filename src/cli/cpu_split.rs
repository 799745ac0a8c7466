//! Which CPUs serve and which generate, for the commands that start servers.

/// The CPUs of both roles; empty: not pinned.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CpuSplit {
    pub(super) server: Vec<usize>,
    pub(super) generator: Vec<usize>,
}

/// What a split is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuRequest<'a> {
    /// CPUs that this process may use.
    pub(super) allowed: &'a [usize],
    /// Threads of the generator.
    pub(super) threads: usize,
    /// CPUs requested for the generator; empty: no request.
    pub(super) generator: &'a [usize],
    /// CPUs requested for a server; empty: no request.
    pub(super) server: &'a [usize],
}

impl CpuRequest<'_> {
    /// Gives the generator the last CPUs, one per thread, and the server all others. Requests are granted as they are.
    /// With a single CPU neither is pinned.
    pub(super) fn split(self) -> CpuSplit {
        let without = |taken: &[usize]| -> Vec<usize> {
            let free = self.allowed.iter().filter(|cpu| !taken.contains(cpu));
            free.copied().collect()
        };
        let generator = match self.generator {
            [] if self.allowed.len() < 2 => Vec::new(),
            [] => {
                let free = without(self.server);
                let kept_for_server = usize::from(self.server.is_empty());
                let count = self.threads.min(free.len().saturating_sub(kept_for_server));
                free[free.len() - count..].to_vec()
            }
            requested => requested.to_vec(),
        };
        let server = match self.server {
            [] if generator.is_empty() => Vec::new(),
            [] => without(&generator),
            requested => requested.to_vec(),
        };
        CpuSplit { server, generator }
    }

    /// As [`split`](CpuRequest::split), but the server gets a single CPU unless more are requested: one worker needs no
    /// more, and one thread of the generator saturates no more.
    pub(super) fn split_for_one_cpu(self) -> CpuSplit {
        let mut split = self.split();
        if self.server.is_empty() {
            split.server.truncate(1);
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(
        allowed: &'a [usize],
        threads: usize,
        generator: &'a [usize],
        server: &'a [usize],
    ) -> CpuRequest<'a> {
        CpuRequest {
            allowed,
            threads,
            generator,
            server,
        }
    }

    #[track_caller]
    fn assert_split(split: CpuSplit, server: &[usize], generator: &[usize]) {
        assert_eq!((&split.server[..], &split.generator[..]), (server, generator));
    }

    #[test]
    fn the_generator_has_the_last_cpus_and_the_server_the_others() {
        assert_split(request(&[0, 1], 1, &[], &[]).split(), &[0], &[1]);
        assert_split(request(&[0, 1, 2, 3], 2, &[], &[]).split(), &[0, 1], &[2, 3]);
        assert_split(request(&[0, 1, 2, 3], 2, &[], &[]).split_for_one_cpu(), &[0], &[2, 3]);
    }

    #[test]
    fn the_server_keeps_a_cpu_however_many_threads_generate() {
        assert_split(request(&[0, 1], 8, &[], &[]).split(), &[0], &[1]);
    }

    #[test]
    fn a_single_cpu_is_shared_without_pinning() {
        assert_split(request(&[3], 1, &[], &[]).split(), &[], &[]);
    }

    #[test]
    fn requests_are_granted_and_the_other_role_gets_the_rest() {
        assert_split(request(&[0, 1, 2, 3], 1, &[0], &[]).split(), &[1, 2, 3], &[0]);
        assert_split(request(&[0, 1], 1, &[0], &[]).split_for_one_cpu(), &[1], &[0]);
        assert_split(request(&[0, 1, 2], 1, &[], &[1, 2]).split_for_one_cpu(), &[1, 2], &[0]);
        assert_split(request(&[0, 1], 1, &[], &[0, 1]).split(), &[0, 1], &[]);
        assert_split(request(&[0, 1], 1, &[1], &[1]).split(), &[1], &[1]);
    }
}
