//! Where a cgroup lies below the place where containers may live.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The longest file name that the kernel takes.
const LONGEST: usize = 255;

/// A checked parent and name: joined to any base, the result lies strictly beneath that base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    parent: Vec<String>,
    /// Whether the parent is somebody else's, and stays.
    keeps_parent: bool,
    name: String,
}

impl Name {
    /// Checks both; `parent` may be several directories deep (`a/b`), and stays if it begins with a slash; `name` is one directory.
    pub(crate) fn new(parent: &str, name: &str) -> Result<Name> {
        Ok(Name {
            parent: Name::parent(parent)?,
            keeps_parent: parent.starts_with('/'),
            name: component(name)?.to_owned(),
        })
    }

    /// Checks a parent and splits it at its slashes; the empty one is the base itself.
    pub(crate) fn parent(parent: &str) -> Result<Vec<String>> {
        let parent = parent.strip_prefix('/').unwrap_or(parent);
        if parent.is_empty() {
            return Ok(Vec::new());
        }
        parent
            .split('/')
            .map(|part| component(part).map(str::to_owned))
            .collect()
    }

    /// The directories from just below `base` down to the parent, outermost first.
    pub(crate) fn parents_below(&self, base: &Path) -> Vec<PathBuf> {
        let mut path = base.to_owned();
        self.parent
            .iter()
            .map(|part| {
                path.push(part);
                path.clone()
            })
            .collect()
    }

    /// Those of them that go with the last cgroup in them.
    pub(crate) fn parents_to_remove(&self, base: &Path) -> Vec<PathBuf> {
        match self.keeps_parent {
            true => Vec::new(),
            false => self.parents_below(base),
        }
    }

    /// The cgroup's own directory below `base`.
    pub(crate) fn below(&self, base: &Path) -> PathBuf {
        base.join(self.parent.join("/")).join(&self.name)
    }

    /// Parent and name, as one relative path.
    pub(crate) fn path(&self) -> PathBuf {
        self.below(Path::new(""))
    }
}

/// One directory's name: nothing that could leave its parent, hide, or be taken for one of the kernel's files.
fn component(name: &str) -> Result<&str> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > LONGEST {
        "it is longer than 255 bytes"
    } else if name.starts_with('.') {
        "it starts with a dot"
    } else if name.contains('/') {
        "it contains a slash"
    } else if name.contains(char::is_control) {
        "it contains a control character"
    } else if is_reserved(name) {
        "the kernel's own files are named so"
    } else {
        return Ok(name);
    };
    Err(Error::InvalidName {
        name: name.to_owned(),
        reason,
    })
}

/// Whether the kernel may make a file of this name in a cgroup: `tasks`, or a controller and a dot.
fn is_reserved(name: &str) -> bool {
    matches!(name, "tasks" | "notify_on_release" | "release_agent")
        || name.split_once('.').is_some_and(|(prefix, _)| {
            prefix == "cgroup" || crate::Controller::from_name(prefix).is_some()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_could_leave_the_parent_are_refused() {
        for name in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "/",
            "a\nb",
            "cgroup.procs",
            "tasks",
            "memory.max",
        ] {
            assert!(
                matches!(Name::new("rocker", name), Err(Error::InvalidName { .. })),
                "{name:?}"
            );
        }
        for parent in [
            "//rocker",
            "/..",
            "rocker/",
            "rocker/../..",
            "..",
            "a//b",
            "a/.b",
        ] {
            assert!(
                matches!(Name::new(parent, "x"), Err(Error::InvalidName { .. })),
                "{parent:?}"
            );
        }
    }

    #[test]
    fn a_deep_parent_lists_its_directories_from_the_outside_in() {
        let name = Name::new("a/b", "c.d").unwrap();
        let base = Path::new("/base");
        assert_eq!(
            name.parents_below(base),
            [Path::new("/base/a"), Path::new("/base/a/b")]
        );
        assert_eq!(name.below(base), Path::new("/base/a/b/c.d"));
        let name = Name::new("", "c.d").unwrap();
        assert!(name.parents_below(base).is_empty());
        assert_eq!(name.below(base), Path::new("/base/c.d"));
    }

    #[test]
    fn a_parent_behind_a_slash_lies_at_the_same_place_and_stays() {
        let (own, others) = (
            Name::new("a/b", "c").unwrap(),
            Name::new("/a/b", "c").unwrap(),
        );
        let base = Path::new("/base");
        assert_eq!(own.below(base), others.below(base));
        assert_eq!(own.parents_to_remove(base), others.parents_below(base));
        assert!(others.parents_to_remove(base).is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_beneath_the_base(parent in ".{0,12}", name in ".{0,12}") {
            if let Ok(checked) = Name::new(&parent, &name) {
                let path = checked.below(Path::new("/base"));
                prop_assert!(path.starts_with("/base"));
                prop_assert!(path.components().all(|part| part.as_os_str() != ".."));
                let parents = parent.split('/').filter(|part| !part.is_empty()).count();
                prop_assert_eq!(path.components().count(), 3 + parents);
            }
        }
    }
}
