//! Which kinds of faults a run may have.
//!
//! Owns [`Profile`].

use serde::{Deserialize, Serialize};

use crate::knobs::{KNOBS, Knobs};

/// A family of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Profile {
    /// Nothing fails.
    Calm,
    /// The network fails.
    Net,
    /// The server fails.
    Server,
    /// The network and the server fail.
    Remote,
    /// Clients crash and their disks fail.
    Disk,
    /// Sync is stopped and started, data is cleared, the app is closed.
    Life,
    /// Everything fails, half of it in each seed.
    #[default]
    Chaos,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 7] = [
        Self::Calm,
        Self::Net,
        Self::Server,
        Self::Remote,
        Self::Disk,
        Self::Life,
        Self::Chaos,
    ];

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Net => "net",
            Self::Server => "server",
            Self::Remote => "remote",
            Self::Disk => "disk",
            Self::Life => "life",
            Self::Chaos => "chaos",
        }
    }

    /// The profile of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The knobs that it allows, before the seed turns half of them off.
    pub fn knobs(self) -> Knobs {
        let (prefixes, times): (&[char], u32) = match self {
            Self::Calm => return Knobs::default(),
            Self::Chaos => return Knobs::chaos(),
            Self::Net => (&['N'], 2),
            Self::Server => (&['S'], 2),
            Self::Remote => (&['N', 'S'], 1),
            Self::Disk => (&['C'], 2),
            Self::Life => (&['U'], 8),
        };
        let mut knobs = Knobs::default();
        for knob in KNOBS.iter().filter(|knob| knob.id.starts_with(prefixes)) {
            // With fewer kinds of faults each may happen more often.
            knobs.set(knob.name, knob.chaos * times);
        }
        knobs
    }
}
