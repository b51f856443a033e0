//! One running peer.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a peer may take to answer after its start.
pub const START_BOUND: Duration = Duration::from_secs(50);
const PAUSE: Duration = Duration::from_millis(20);
/// What is shown of a log.
const TAIL_BYTES: u64 = 4096;

/// A program that runs until this value goes away.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, which writes into `log`, and waits until `is_up`.
    ///
    /// # Panics
    /// If it cannot be started, ends, or is not up within [`START_BOUND`].
    #[expect(
        clippy::expect_used,
        clippy::panic,
        reason = "a test whose peer does not start has nothing to say"
    )]
    pub fn start(command: &mut Command, log: &Path, is_up: impl Fn() -> bool) -> Self {
        let file = File::create(log).expect("create the log of a peer");
        let errors = file.try_clone().expect("share the log of a peer");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .expect("start a peer");
        let mut process = Self {
            child,
            log: log.to_path_buf(),
        };
        let end = Instant::now() + START_BOUND;
        while !is_up() {
            if let Ok(Some(status)) = process.child.try_wait() {
                panic!("a peer ended with {status}: {}", process.tail());
            }
            assert!(Instant::now() < end, "a peer is not up: {}", process.tail());
            std::thread::park_timeout(PAUSE);
        }
        process
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as whoever stops a service does, and waits until it has.
    ///
    /// # Panics
    /// If it has not ended within [`START_BOUND`].
    #[expect(clippy::expect_used, reason = "a test panics where it fails")]
    pub fn stop(&mut self) {
        let id = self.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        assert!(asked.expect("ask a peer to end").success(), "it runs");
        let end = Instant::now() + START_BOUND;
        while self.child.try_wait().expect("wait for a peer").is_none() {
            assert!(Instant::now() < end, "a peer goes on: {}", self.tail());
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Ends it at once, as a crash does; its files stay.
    pub fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    fn tail(&self) -> String {
        let read = || {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut text = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut text)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&text).into_owned())
        };
        read().unwrap_or_else(|error| format!("its log cannot be read: {error}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
