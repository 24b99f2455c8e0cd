//! Behaviour that no single crate owns, as one test binary: the line protocol, interop with the
//! npm client, and rules of the source tree.

mod browser;
mod command_line;
mod crash_sweep;
mod determinism;
mod hosting;
mod interop;
mod kill;
mod protocol;
mod support;
mod tidy;
