//! Every error number, in every kind of place.

use super::*;
use crate::sys::restrictions::{Container, Restrictions};

/// A process that nothing confines, on a kernel with io_uring.
fn free() -> Evidence {
    Evidence {
        disabled: Some(0),
        entering: libc::EBADF,
        is_in_kernel: true,
        release: Some("6.18.1".into()),
        ..Evidence::default()
    }
}

fn filtered_in(container: Option<Container>, errno: i32) -> Evidence {
    Evidence {
        entering: errno,
        restrictions: Restrictions {
            seccomp_filter: Some(true),
            container,
            label: None,
        },
        ..free()
    }
}

fn commands(diagnosis: &Diagnosis) -> String {
    let commands = diagnosis.remedies.iter().map(|remedy| remedy.command.clone());
    commands.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_error_number_has_a_diagnosis_of_its_own_with_a_command() {
    let errnos = [
        libc::EPERM,
        libc::ENOSYS,
        libc::EOPNOTSUPP,
        libc::EINVAL,
        libc::EMFILE,
        libc::ENFILE,
        libc::ETIMEDOUT,
        libc::EIO,
    ];
    let diagnoses = errnos.map(|errno| of(errno, &free()));
    for (index, diagnosis) in diagnoses.iter().enumerate() {
        assert!(!diagnosis.remedies.is_empty(), "{diagnosis:?}");
        assert!(
            diagnoses[..index].iter().all(|other| other.cause != diagnosis.cause),
            "{diagnosis:?}"
        );
    }
    for errno in 0..134 {
        assert!(!of(errno, &free()).cause.is_empty(), "{errno}");
    }
}

#[test]
fn a_container_is_named_with_the_option_of_its_runtime() {
    for (container, words) in [
        (
            Container::Docker,
            ["Docker container", "docker run --security-opt seccomp=unconfined"],
        ),
        (
            Container::Podman,
            ["Podman container", "podman run --security-opt seccomp=unconfined"],
        ),
        (
            Container::Kubernetes,
            ["Kubernetes pod", "\"seccompProfile\":{\"type\":\"Unconfined\"}"],
        ),
    ] {
        let diagnosis = of(libc::EPERM, &filtered_in(Some(container), libc::EPERM));
        let text = format!("{}\n{}", diagnosis.cause, commands(&diagnosis));
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
        assert!(
            diagnosis.message().contains("`urecho doctor`"),
            "{}",
            diagnosis.message()
        );
    }
}

#[test]
fn the_explanation_says_what_a_profile_is_before_it_uses_the_word() {
    let diagnosis = of(libc::EPERM, &filtered_in(Some(Container::Docker), libc::EPERM));
    let text = diagnosis.explanation.join(" ");
    let (before, _) = text.split_once("seccomp").unwrap();
    assert!(before.contains("system call") && before.contains("list"), "{before}");
    let notes: Vec<&str> = diagnosis.remedies.iter().map(|remedy| remedy.note.as_str()).collect();
    assert!(
        notes[0].contains("images that you trust") && notes[1].contains("safer"),
        "{notes:?}"
    );
}

#[test]
fn the_json_in_the_commands_is_json() {
    for container in [Container::Docker, Container::Podman, Container::Kubernetes] {
        let diagnosis = of(libc::EPERM, &filtered_in(Some(container), libc::EPERM));
        for Remedy { command, .. } in &diagnosis.remedies {
            let quoted = command.split('\'').nth(1).unwrap_or("{}");
            let json = quoted.split_once("+= ").map_or(quoted, |(_, json)| json);
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(json);
            assert!(parsed.is_ok(), "{command}");
        }
    }
}

#[test]
fn the_sysctl_comes_before_what_else_may_refuse() {
    let disabled = |value, is_administrator| Evidence {
        disabled: Some(value),
        is_administrator,
        ..free()
    };
    let all = of(libc::EPERM, &disabled(2, true));
    assert!(
        all.message().contains("`sysctl -w kernel.io_uring_disabled=0`"),
        "{}",
        all.message()
    );
    let group = of(libc::EPERM, &disabled(1, false));
    assert!(
        group.cause.contains("io_uring_group") && commands(&group).contains("usermod"),
        "{group:?}"
    );
    let administrator = of(libc::EPERM, &disabled(1, true));
    assert!(administrator.cause.contains("security module"), "{administrator:?}");
}

#[test]
fn a_filter_that_cannot_be_seen_is_known_by_its_answer() {
    let hidden = Evidence {
        entering: libc::EPERM,
        ..free()
    };
    assert!(of(libc::EPERM, &hidden).cause.contains("seccomp filter"));
    assert!(of(libc::EPERM, &free()).cause.contains("security module"));
}

#[test]
fn a_kernel_without_io_uring_is_distinguished_from_one_that_hides_it() {
    let without = Evidence {
        disabled: None,
        entering: libc::ENOSYS,
        is_in_kernel: false,
        ..free()
    };
    assert!(of(libc::ENOSYS, &without).cause.contains("CONFIG_IO_URING"));
    assert!(of(libc::ENOSYS, &free()).cause.contains("hides it"));
    let filter = of(libc::ENOSYS, &filtered_in(Some(Container::Podman), libc::ENOSYS));
    assert!(
        filter.cause.contains("a seccomp filter of a Podman container hides"),
        "{filter:?}"
    );
}

#[test]
fn a_label_of_a_security_module_is_quoted() {
    let mut evidence = free();
    evidence.restrictions.label = Some("snap.urecho (enforce)".into());
    assert!(of(libc::EACCES, &evidence).cause.contains("`snap.urecho (enforce)`"));
}

#[test]
fn the_message_is_one_line_that_ends_with_where_to_read_more() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::EMFILE, libc::EIO] {
        let message = of(errno, &free()).message();
        assert!(
            message.ends_with(". `urecho doctor` explains it") && !message.contains('\n'),
            "{message}"
        );
        assert!(message.starts_with(|first: char| !first.is_lowercase()), "{message}");
    }
}

#[test]
fn a_shortage_has_its_command_once() {
    let diagnosis = Diagnosis::of_shortage("locked memory: raise it with `ulimit -l unlimited`".into());
    assert_eq!(diagnosis.remedies.len(), 1);
    assert_eq!(diagnosis.message().matches("ulimit").count(), 1);
}
