//! Giving up the privileges of root for those of a user: setuid(2), setgroups(2), credentials(7).

use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

use crate::error::{Error, Result};

/// Becomes this user, given by name or number, with its primary group and no other. Nothing happens if this process
/// runs as that user already. Errors: [`Error::Usage`] if there is no such user, [`Error::Machine`] if this process may
/// not.
pub fn become_user(name: &str) -> Result<()> {
    let (user, group) = find(name)?;
    if Uid::current() == user && Uid::effective() == user {
        return Ok(());
    }
    let refused = |errno| {
        Error::Machine(format!(
            "cannot become user {name}: {errno}. Only root can change the user"
        ))
    };
    setgroups(&[group]).map_err(refused)?;
    setgid(group).map_err(refused)?;
    setuid(user).map_err(refused)?;
    if setuid(Uid::from_raw(0)).is_ok() && !user.is_root() {
        return Err(Error::Bug(format!("user {name} could become root again")));
    }
    Ok(())
}

fn find(name: &str) -> Result<(Uid, Gid)> {
    let unknown = || Error::Usage(format!("--user {name}: there is no such user"));
    let by_name =
        User::from_name(name).map_err(|errno| Error::Machine(format!("cannot look up user {name}: {errno}")))?;
    if let Some(user) = by_name {
        return Ok((user.uid, user.gid));
    }
    let number: u32 = name.parse().map_err(|_| unknown())?;
    let known = User::from_uid(Uid::from_raw(number)).ok().flatten();
    // A number without an entry is common in containers. Its group has the same number.
    Ok(known.map_or((Uid::from_raw(number), Gid::from_raw(number)), |user| {
        (user.uid, user.gid)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        assert_eq!(find("root").unwrap(), (Uid::from_raw(0), Gid::from_raw(0)));
        assert_eq!(find("0").unwrap().0, Uid::from_raw(0));
        assert_eq!(
            find("4000000").unwrap(),
            (Uid::from_raw(4_000_000), Gid::from_raw(4_000_000))
        );
        assert_eq!(find("no-such-user").unwrap_err().exit_code(), 2);
    }
}
