//! Which versions may run beside each other. Controller first: agents and ztunnels may be one minor version behind their
//! controller, never ahead of it.

use std::fmt;
use std::str::FromStr;

/// MAJOR.MINOR.PATCH; what follows a dash or plus is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// What stands against a version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Skew {
    #[error(
        "the controller is {installed}, and this is {target}: a mesh does not go back. Use culvert {installed} or newer"
    )]
    Back { installed: Version, target: Version },
    #[error(
        "{who} is {installed}, ahead of {target}: agents and ztunnels may not be ahead of their controller. Use culvert {installed} or newer"
    )]
    Ahead {
        who: String,
        installed: Version,
        target: Version,
    },
    #[error(
        "{who} is {installed}, more than one minor version behind {target}. Upgrade to {next} first, all of it, then to {target}"
    )]
    Behind {
        who: String,
        installed: Version,
        target: Version,
        next: String,
    },
}

/// Whether a controller of version `target` may take over from `controller` before these agents and ztunnels.
pub(crate) fn check(
    target: Version,
    controller: Option<Version>,
    data_plane: &[(String, Version)],
) -> Result<(), Skew> {
    let feature = |version: Version| (version.major, version.minor);
    if let Some(installed) = controller.filter(|it| feature(*it) > feature(target)) {
        return Err(Skew::Back { installed, target });
    }
    for (who, installed) in data_plane {
        let (who, installed) = (who.clone(), *installed);
        if feature(installed) > feature(target) {
            return Err(Skew::Ahead {
                who,
                installed,
                target,
            });
        }
        if installed.major != target.major || target.minor - installed.minor > 1 {
            let next = format!("{}.{}", installed.major, installed.minor + 1);
            return Err(Skew::Behind {
                who,
                installed,
                target,
                next,
            });
        }
    }
    Ok(())
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a version like 1.2.3");
        let plain = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = plain.split('.').map(str::parse::<u32>);
        let mut number = || numbers.next().and_then(Result::ok).ok_or_else(wrong);
        let version = Self {
            major: number()?,
            minor: number()?,
            patch: number()?,
        };
        numbers.next().map_or(Ok(version), |_| Err(wrong()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn verdict(target: &str, controller: &str, data_plane: &str) -> Result<(), Skew> {
        let pods = [("pod".to_owned(), data_plane.parse().unwrap())];
        check(
            target.parse().unwrap(),
            Some(controller.parse().unwrap()),
            &pods,
        )
    }

    #[test]
    fn one_minor_version_behind_is_what_may_be() {
        for data_plane in ["1.4.9", "1.5.0", "1.5.7"] {
            assert_eq!(
                verdict("1.5.3", "1.4.0", data_plane),
                Ok(()),
                "{data_plane}"
            );
        }
        let error = verdict("1.5.3", "1.4.0", "1.3.9").unwrap_err().to_string();
        assert!(error.contains("Upgrade to 1.4 first"), "{error}");
        let error = verdict("1.5.3", "1.5.0", "1.6.0").unwrap_err().to_string();
        assert!(error.contains("ahead"), "{error}");
        assert!(matches!(
            verdict("2.0.0", "1.9.0", "1.9.0"),
            Err(Skew::Behind { .. })
        ));
        assert!(matches!(
            verdict("1.5.3", "1.6.0", "1.5.0"),
            Err(Skew::Back { .. })
        ));
    }

    #[test]
    fn versions() {
        assert_eq!(
            "1.2.3-rc.1".parse::<Version>().unwrap().to_string(),
            "1.2.3"
        );
        for wrong in ["", "1", "1.2", "1.2.x", "1.2.3.4", "v1.2.3"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }
}
