//! A terminal for commands that behave otherwise on one.
//!
//! Owns [`Terminal`]: keys go in, what is on the screen comes out.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::LocalModes;

/// How long something may take to appear: machines that test are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other end of a terminal that a command runs on: 79 columns and 24 lines, as far as it can tell.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    _home: tempfile::TempDir,
}

impl Terminal {
    pub(crate) fn open(mut command: Command) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&keys).expect("it is ours");
        unlockpt(&keys).expect("it can be used");
        let name = ptsname(&keys, Vec::new()).expect("it has a name");
        let path = name.to_str().expect("the name is text");
        let end = || {
            let file = File::options().read(true).write(true).open(path);
            Stdio::from(file.expect("it can be opened"))
        };
        let home = tempfile::tempdir().expect("a temporary folder can be made");
        command
            .env("HOME", home.path())
            .env("TERM", "xterm")
            .env("NO_COLOR", "1");
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("the shell starts");
        let keys = File::from(keys);
        let (sender, screen) = channel();
        let mut output = keys.try_clone().expect("it can be read as well");
        let read = move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody has open any more cannot be read.
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 || sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a terminal can be read with a deadline only from a thread of its own"
        )]
        std::thread::spawn(read);
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
            _home: home,
        }
    }

    pub(crate) fn types(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Whether what is typed is echoed and comes in lines, as a shell leaves it.
    pub(crate) fn takes_lines(&self) -> bool {
        let way = rustix::termios::tcgetattr(&self.keys).expect("it is a terminal");
        let lines = LocalModes::ICANON | LocalModes::ECHO;
        way.local_modes.contains(lines)
    }

    /// Asks the command to end, as a service manager does.
    pub(crate) fn terminates(&self) {
        let id = i32::try_from(self.child.id()).expect("it has a number");
        let id = Pid::from_raw(id).expect("it is not zero");
        kill_process(id, Signal::TERM).expect("it runs");
    }

    /// Waits until the command has ended.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// Waits until this is on the screen; answers with what came before it since the last time.
    pub(crate) fn shows(&mut self, text: &str) -> String {
        loop {
            if let Some((before, after)) = self.seen.split_once(text) {
                let before = before.to_owned();
                self.seen = after.to_owned();
                return before;
            }
            match self.screen.recv_timeout(PATIENCE) {
                Ok(bytes) => self.seen += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("no `{text}`: {error}; seen was {:?}", self.seen),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or(());
        self.child.wait().map(drop).unwrap_or(());
    }
}
