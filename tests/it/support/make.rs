//! The two makes of clients that the same scenarios are run with: the npm client and a Landfall shell.
//!
//! Owns starting one of either against a server, and the macro that makes two tests of a scenario.

use std::path::{Path, PathBuf};

use super::line_client::LineClient;
use super::npm;
use super::serve::API_KEY;

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    /// The published npm client, behind its driver.
    Npm,
    /// `landfall shell --json`.
    Landfall,
}

impl Make {
    /// A client of this make that has not been started yet, with its files in `folder`; `None` if the calling test is to
    /// be skipped because this machine cannot run it.
    pub(crate) fn open(self, schema: &Path, folder: &Path, url: &str) -> Option<LineClient> {
        let to_server = ["--endpoint", url, "--api-key", API_KEY];
        match self {
            Self::Npm => {
                let driver = npm::driver()?;
                let introspection = npm::write_introspection_of(schema, folder);
                Some(LineClient::npm(
                    "the npm client",
                    driver,
                    &introspection,
                    &to_server,
                ))
            }
            Self::Landfall => {
                let data: PathBuf = folder.join("data");
                let data = data.to_str().expect("temporary folders have plain names");
                let args = [&["--data", data][..], &to_server].concat();
                Some(LineClient::landfall("the Landfall shell", schema, &args))
            }
        }
    }
}

/// Two tests of each scenario, a function of the [`Make`]: `with_npm` and `with_landfall`, in a module of its name.
macro_rules! side_by_side {
    ($($scenario:ident)*) => {
        $(
            mod $scenario {
                use $crate::support::make::Make;

                #[test]
                fn with_npm() {
                    super::$scenario(Make::Npm);
                }

                #[test]
                fn with_landfall() {
                    super::$scenario(Make::Landfall);
                }
            }
        )*
    };
}

pub(crate) use side_by_side;
