//! Which machine this is, and which boot of it, without naming it.
//!
//! Each identity of the machine is hashed with a salt that belongs to one file: the hashes of one file can be compared
//! with each other, and with nothing else. machine-id(5) demands that an identity leaves the machine only through a
//! keyed cryptographic hash: this is HMAC-SHA256, and the salt is the key.
//!
//! *Limits.* Clones of a running machine (snapshots that are resumed several times) are equal in every identity.

use std::fs;

use hmac_sha256::HMAC;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Random bytes that the hashes of one file share, as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Salt(String);

/// Hashes of what identifies a machine. None: not readable here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MachineIdentity {
    /// Of the installation: /etc/machine-id. Minimal containers have none.
    installation: Option<String>,
    /// Of the board or virtual machine: the UUID of DMI. Readable by root only.
    board: Option<String>,
    /// Of the boot: a UUID that the kernel draws when it starts, the same in all containers.
    boot: Option<String>,
}

/// How two identities with the same salt are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same machine, and it was not restarted in between.
    SameBoot,
    /// The same machine, but restarted.
    OtherBoot,
    /// Another machine.
    OtherMachine,
    /// There is no identity that both have, apart from different boots.
    Unknown,
}

impl Salt {
    /// 16 random bytes of the kernel. Errors: [`Error::Machine`] if it has none.
    pub fn random() -> Result<Salt> {
        let mut bytes = [0; 16];
        let read = fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
        read.map_err(|cause| Error::Machine(format!("cannot read /dev/urandom: {cause}")))?;
        Ok(Salt(hexadecimal(&bytes)))
    }

    /// The hash of an identity; of none, none.
    fn hash(&self, kind: &str, identity: Option<String>) -> Option<String> {
        // The kind keeps equal text in two places from having equal hashes.
        let hash = HMAC::mac(format!("{kind}: {}", identity?), self.0.as_bytes());
        Some(hexadecimal(&hash))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl MachineIdentity {
    /// Of this machine.
    pub fn read(salt: &Salt) -> MachineIdentity {
        MachineIdentity::of(
            salt,
            [
                "/etc/machine-id",
                "/sys/class/dmi/id/product_uuid",
                "/proc/sys/kernel/random/boot_id",
            ]
            .map(|path| fs::read_to_string(path).ok()),
        )
    }

    /// Of the texts of the three files.
    fn of(salt: &Salt, texts: [Option<String>; 3]) -> MachineIdentity {
        // A machine-id is "uninitialized" in an image that was never booted: the same in all copies.
        let is_identity = |text: &String| !text.is_empty() && text != "uninitialized";
        let [installation, board, boot] =
            texts.map(|text| text.map(|text| text.trim().to_lowercase()).filter(is_identity));
        MachineIdentity {
            installation: salt.hash("installation", installation),
            board: salt.hash("board", board),
            boot: salt.hash("boot", boot),
        }
    }

    /// How the other is related to this one.
    ///
    /// A boot belongs to one machine, so equal boots decide, whatever the container calls its installation. Otherwise
    /// nothing may differ that both have, and one part must be equal: images are copied with their machine-id,
    /// boards are not.
    pub fn relation(&self, other: &MachineIdentity) -> Relation {
        let equal = |ours: &Option<String>, theirs: &Option<String>| Some(ours.as_ref()? == theirs.as_ref()?);
        let parts = [
            equal(&self.installation, &other.installation),
            equal(&self.board, &other.board),
        ];
        if equal(&self.boot, &other.boot) == Some(true) {
            Relation::SameBoot
        } else if parts.contains(&Some(false)) {
            Relation::OtherMachine
        } else if parts.contains(&Some(true)) {
            Relation::OtherBoot
        } else {
            Relation::Unknown
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine with these identities; an empty one is not readable.
    pub(crate) fn machine(salt: &Salt, texts: [&str; 3]) -> MachineIdentity {
        MachineIdentity::of(salt, texts.map(|text| (!text.is_empty()).then(|| format!("{text}\n"))))
    }

    pub(crate) fn salt() -> Salt {
        Salt("0123".into())
    }

    fn relation(ours: [&str; 3], theirs: [&str; 3]) -> Relation {
        machine(&salt(), ours).relation(&machine(&salt(), theirs))
    }

    #[test]
    fn two_machines_of_one_type_differ_and_another_boot_is_recognised() {
        let here = ["a", "b", "c"];
        assert_eq!(relation(here, here), Relation::SameBoot);
        assert_eq!(relation(here, ["a", "b", "d"]), Relation::OtherBoot);
        assert_eq!(relation(here, ["x", "y", "z"]), Relation::OtherMachine);
        assert_eq!(
            relation(here, ["a", "y", "z"]),
            Relation::OtherMachine,
            "from one image"
        );
        assert_eq!(relation(here, ["x", "b", "c"]), Relation::SameBoot, "another container");
    }

    #[test]
    fn a_part_that_one_user_cannot_read_does_not_make_another_machine() {
        assert_eq!(relation(["a", "b", "c"], ["a", "", "d"]), Relation::OtherBoot);
        assert_eq!(relation(["", "b", "c"], ["a", "b", "d"]), Relation::OtherBoot);
        assert_eq!(relation(["", "", "c"], ["", "", "c"]), Relation::SameBoot);
        assert_eq!(relation(["", "", "c"], ["", "", "d"]), Relation::Unknown);
        assert_eq!(relation(["", "", ""], ["", "", ""]), Relation::Unknown);
        assert_eq!(
            relation(["uninitialized", "", "c"], ["uninitialized", "", "d"]),
            Relation::Unknown
        );
    }

    #[test]
    fn hashes_do_not_contain_the_identity_and_depend_on_the_salt() {
        let texts = ["3d1219c7c4c5404aaa1f6d2a48adfda4"; 3];
        let [one, other] = [(); 2].map(|()| Salt::random().unwrap());
        let json = serde_json::to_string(&machine(&one, texts)).unwrap();
        assert!(!json.contains(texts[0]), "{json}");
        assert_eq!(
            machine(&one, texts).relation(&machine(&other, texts)),
            Relation::OtherMachine
        );
        let MachineIdentity {
            installation, board, ..
        } = machine(&one, texts);
        assert_ne!(installation, board);
    }

    #[test]
    fn this_machine_is_the_same_as_itself() {
        let salt = Salt::random().unwrap();
        assert_eq!(
            MachineIdentity::read(&salt).relation(&MachineIdentity::read(&salt)),
            Relation::SameBoot
        );
    }

    #[test]
    fn the_hash_is_hmac_sha256() {
        // RFC 4231, test case 2.
        let mac = HMAC::mac("what do ya want for nothing?", "Jefe");
        assert_eq!(hexadecimal(&mac[..4]), "5bdcc146");
    }
}
