//! The bug base: plans that failed once, each with the reason why.
//!
//! Owns [`Bug`] and its form as a file. The files are in `sim/bugs`; a test runs them all.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, PlanError};

/// A plan that failed once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bug {
    /// What was wrong, and what mended it.
    pub reason: String,
    /// The invariant that was violated.
    pub invariant: String,
    /// The plan that showed it.
    pub plan: Plan,
}

/// Why the bug base cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BugBaseError {
    /// The folder or a file in it.
    #[error("the bug base {path} cannot be read: {cause}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file that is none of ours.
    #[error("{path}: {cause}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: PlanError,
    },
}

impl Bug {
    /// The file's text.
    pub fn to_json(&self) -> String {
        let plan = self.plan.to_json();
        format!(
            "{{\n\"reason\": {},\n\"invariant\": {},\n\"plan\": {}}}\n",
            serde_json::Value::from(self.reason.as_str()),
            serde_json::Value::from(self.invariant.as_str()),
            plan
        )
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`PlanError`] if it is no bug, or its plan is beyond a bound.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let bug: Self = serde_json::from_str(text)?;
        bug.plan.check()?;
        Ok(bug)
    }
}

/// Every bug of a folder, in order of file name.
///
/// # Errors
/// [`BugBaseError`] if the folder or one of its files cannot be read.
pub fn bugs_of(folder: &Path) -> Result<Vec<(String, Bug)>, BugBaseError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |cause| BugBaseError::Unreadable { path, cause }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut bugs = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let bug = Bug::from_json(&text).map_err(|cause| BugBaseError::Malformed {
            path: path.clone(),
            cause,
        })?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned());
        bugs.push((name.unwrap_or_default(), bug));
    }
    Ok(bugs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{RunOptions, run};

    #[test]
    fn no_mended_bug_has_come_back() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs");
        let bugs = bugs_of(&folder).unwrap_or_else(|error| panic!("{error}"));
        assert!(!bugs.is_empty(), "the bug base is empty: it was not found");
        for (name, bug) in bugs {
            assert_eq!(
                Bug::from_json(&bug.to_json()).expect("written by us"),
                bug,
                "{name}"
            );
            let outcome = run(&bug.plan, RunOptions::default());
            assert!(
                outcome.is_well(),
                "{name} ({}): {:#?}",
                bug.reason,
                outcome.violations
            );
        }
    }
}
