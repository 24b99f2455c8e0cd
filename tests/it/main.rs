//! Behaviour that no single crate owns, as one test binary: the line protocol, interop with the
//! npm client, and rules of the source tree.

mod authorization;
mod bad_surroundings;
mod bench;
mod browser;
mod command_line;
mod crash_sweep;
mod crowded;
mod damage;
mod determinism;
mod guides;
mod hosting;
mod inspect;
mod interop;
mod kill;
mod leaks;
mod live_log;
mod log_command;
mod logs;
mod migration_crash;
mod migration_unsent;
mod plans_for_real;
mod protocol;
mod readme;
mod replay;
mod same_identifier;
mod shell;
mod side_by_side;
mod simulator;
mod socket_faults;
mod stores;
mod support;
mod tidy;
mod undo;
