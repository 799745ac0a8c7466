//! What a terminal sends for the keys that change a run. Pure. console_codes(4), xterm's ctlseqs.

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Faster,
    Slower,
    MuchFaster,
    MuchSlower,
    Quit,
}

/// The most parameters of a sequence that are waited for. Nothing that asks for something is longer.
const LONGEST: usize = 8;

const ESCAPE: u8 = 0x1b;

/// Takes the keys out of what was typed; leaves the beginning of a sequence that is not complete.
pub(super) fn take(typed: &mut Vec<u8>) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut rest = &typed[..];
    while let Some(length) = length(rest) {
        let (sequence, after) = rest.split_at(length);
        keys.extend(meaning(sequence));
        rest = after;
    }
    let left = rest.len();
    typed.drain(..typed.len() - left);
    keys
}

/// The length of the first key; none if it is not complete.
fn length(typed: &[u8]) -> Option<usize> {
    match typed {
        [] => None,
        [ESCAPE, b'[' | b'O', parameters @ ..] => {
            let is_last = |byte: &u8| (0x40..0x7f).contains(byte);
            match parameters.iter().take(LONGEST).position(is_last) {
                Some(last) => Some(2 + last + 1),
                None if parameters.len() < LONGEST => None,
                None => Some(1),
            }
        }
        [ESCAPE] => None,
        _ => Some(1),
    }
}

fn meaning(sequence: &[u8]) -> Option<Key> {
    match sequence {
        b"\x1b[A" | b"\x1bOA" => Some(Key::Faster),
        b"\x1b[B" | b"\x1bOB" => Some(Key::Slower),
        b"\x1b[5~" => Some(Key::MuchFaster),
        b"\x1b[6~" => Some(Key::MuchSlower),
        b"q" => Some(Key::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_among_others_and_however_they_are_cut() {
        let all = b"x\x1b[Ay\x1bOB\x1b[1;5A\x1b[5~\xe4\x1b[6~q";
        let expected = [Key::Faster, Key::Slower, Key::MuchFaster, Key::MuchSlower, Key::Quit];
        for cut in 0..all.len() {
            let mut typed = all[..cut].to_vec();
            let mut found = take(&mut typed);
            typed.extend_from_slice(&all[cut..]);
            found.extend(take(&mut typed));
            assert_eq!((found.as_slice(), typed.len()), (&expected[..], 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_sequence_that_never_ends_is_given_up() {
        let mut typed = b"\x1b[1;2;3;4;5;6;7".to_vec();
        take(&mut typed);
        assert_eq!(typed, b"");
        typed.extend_from_slice(b"q");
        assert_eq!(take(&mut typed).last(), Some(&Key::Quit));
    }
}
