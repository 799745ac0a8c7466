//! Seccomp filters: what they are, for a reader who has never heard of them, and the options of each container
//! runtime for another one. The options are those of docker-run(1), podman-run(1) and the seccomp tutorial of
//! Kubernetes.

use super::Remedy;
use crate::sys::restrictions::Container;

/// Why a filter blocks io_uring here.
pub(super) fn explanation(container: Option<Container>) -> Vec<String> {
    container.map_or_else(outside_container, in_container)
}

fn in_container(container: Container) -> Vec<String> {
    let runtime = match container {
        Container::Docker => "Docker's own list has left out io_uring since version 25",
        Container::Podman => "Podman's own list may leave out io_uring",
        Container::Kubernetes => {
            "The list that pods get by default (RuntimeDefault of containerd 2 and CRI-O) leaves out io_uring"
        }
        Container::Other => "The lists of Docker, containerd and Podman leave out io_uring",
    };
    vec![
        "A program asks the kernel for everything it cannot do itself (open a file, send data, start io_uring) by a \
         system call. A container is started with a list of the system calls that its programs may make: its seccomp \
         profile. The kernel refuses a call that is not on the list, to every user in the container, root included."
            .into(),
        format!(
            "{runtime}, because flaws in io_uring can be used to break out of a container, and because the list does not \
             see what a program does through io_uring. So nothing is wrong with this kernel or with urecho, and nothing \
             inside the container can change it: start the container with another list."
        ),
    ]
}

fn outside_container() -> Vec<String> {
    vec![
        "A program asks the kernel for everything it cannot do itself (open a file, send data, start io_uring) by a \
         system call. What started this process has given it a list of the system calls that it may make: a seccomp \
         filter. The kernel refuses a call that is not on the list, to every user, root included."
            .into(),
        "Container runtimes do that (Docker, Podman, Kubernetes), sandboxes (Flatpak, snap, bubblewrap), and systemd \
         for units with SystemCallFilter=. A process cannot get rid of its filter: start urecho outside of it, or with \
         another list."
            .into(),
    ]
}

/// For jq(1): adds the three calls to a profile.
const CALLS: &str = concat!(
    r#"'.syscalls += [{"names": ["io_uring_setup", "io_uring_enter", "io_uring_register"], "#,
    r#""action": "SCMP_ACT_ALLOW"}]'"#
);

/// Docker's profile, which is documented to be the one that its daemon has built in.
const DOCKER_PROFILE: &str = "https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json";

const UNCONFINED: &str = "allows all system calls, also those that help to break out: for images that you trust";

const NARROW: &str = "the usual list and the three calls of io_uring, which is safer; needs jq";

fn docker() -> [Remedy; 2] {
    [
        Remedy::new(
            "docker run --security-opt seccomp=unconfined IMAGE",
            format!("{UNCONFINED}. In a compose file: security_opt: [\"seccomp=unconfined\"]"),
        ),
        Remedy::new(
            format!(
                "curl -fsS {DOCKER_PROFILE} | jq {CALLS} > io_uring.json && docker run --security-opt \
                 seccomp=io_uring.json IMAGE"
            ),
            NARROW,
        ),
    ]
}

fn podman() -> [Remedy; 2] {
    [
        Remedy::new("podman run --security-opt seccomp=unconfined IMAGE", UNCONFINED),
        Remedy::new(
            format!(
                "jq {CALLS} /usr/share/containers/seccomp.json > io_uring.json && podman run --security-opt \
                 seccomp=io_uring.json IMAGE"
            ),
            NARROW,
        ),
    ]
}

fn kubernetes() -> [Remedy; 2] {
    let patch = |profile: &str| {
        let patch =
            format!(r#"{{"spec":{{"template":{{"spec":{{"securityContext":{{"seccompProfile":{profile}}}}}}}}}}}"#);
        format!("kubectl patch deployment NAME --type=merge -p '{patch}'")
    };
    [
        Remedy::new(
            patch(r#"{"type":"Unconfined"}"#),
            format!("{UNCONFINED}. A seccompProfile of the container itself comes before this one of the pod"),
        ),
        Remedy::new(
            patch(r#"{"type":"Localhost","localhostProfile":"io_uring.json"}"#),
            format!(
                "only the three calls of io_uring in addition, which is safer: first, on every node, `curl -fsS \
                 {DOCKER_PROFILE} | jq {CALLS} > /var/lib/kubelet/seccomp/io_uring.json`"
            ),
        ),
    ]
}

/// What to do about a filter, the shortest first.
pub(super) fn remedies(container: Option<Container>) -> Vec<Remedy> {
    let mut remedies = match container {
        Some(Container::Docker) => docker().to_vec(),
        Some(Container::Podman) => podman().to_vec(),
        Some(Container::Kubernetes) => kubernetes().to_vec(),
        Some(Container::Other) | None => {
            let [docker, _] = docker();
            let [podman, _] = podman();
            let [kubernetes, _] = kubernetes();
            vec![docker, podman, kubernetes]
        }
    };
    if container.is_none() {
        remedies.push(Remedy::new(
            "systemd-run --pty -p SystemCallFilter= urecho serve",
            "if a unit with SystemCallFilter= started it; or add the three calls of io_uring to that line of the unit",
        ));
    }
    remedies
}
