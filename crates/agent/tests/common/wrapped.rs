//! A command under `emco-observer wrap`, as the first process of a container runs it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::{PATIENCE, until};

const BINARY: &str = env!("CARGO_BIN_EXE_emco-observer");
const BYTES_MAX: u64 = 64 << 20;

/// What is run, and where everything of it lies.
pub(crate) struct Wrapped {
    child: Child,
    input: Option<ChildStdin>,
    out: PathBuf,
    err: PathBuf,
}

impl Wrapped {
    /// Runs `command` with its copy in `directory`; what it passes on is kept in `folder`.
    pub(crate) fn start(folder: &Path, directory: &Path, command: &[&str]) -> Self {
        Self::start_with(folder, directory, &[], command)
    }

    /// The same with further options.
    pub(crate) fn start_with(
        folder: &Path,
        directory: &Path,
        options: &[&str],
        command: &[&str],
    ) -> Self {
        let directory = directory.to_str().unwrap();
        let wrap = [BINARY, "wrap", "--output", directory];
        Self::spawn(folder, &[&wrap, options, &["--"], command].concat())
    }

    /// The same where the copy's directory is a disk with room for so many bytes.
    pub(crate) fn start_on_a_small_disk(
        folder: &Path,
        disk: &Path,
        bytes: u32,
        command: &[&str],
    ) -> Self {
        fs::create_dir_all(disk).unwrap();
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let namespaces: &[&str] = if is_root {
            &["--mount"]
        } else {
            &["--mount", "--user", "--map-root-user"]
        };
        let disk = disk.to_str().unwrap();
        let mount = format!("mount -t tmpfs -o size={bytes} none '{disk}' && exec \"$@\"");
        let directory = format!("{disk}/clm");
        let wrap = [
            "/bin/sh", "-c", &mount, "sh", BINARY, "wrap", "--output", &directory, "--",
        ];
        Self::spawn(folder, &[&["unshare"], namespaces, &wrap, command].concat())
    }

    /// The same as the first process of a container.
    pub(crate) fn start_as_first_process(
        folder: &Path,
        directory: &Path,
        command: &[&str],
    ) -> Self {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let unshare: &[&str] = if is_root {
            &["unshare", "--pid", "--fork", "--kill-child"]
        } else {
            &[
                "unshare",
                "--user",
                "--map-root-user",
                "--pid",
                "--fork",
                "--kill-child",
            ]
        };
        let wrap = [
            BINARY,
            "wrap",
            "--output",
            directory.to_str().unwrap(),
            "--",
        ];
        Self::spawn(folder, &[unshare, &wrap, command].concat())
    }

    /// The process that it is the parent of.
    pub(crate) fn only_child(&self) -> u32 {
        let path = format!("/proc/{id}/task/{id}/children", id = self.id());
        read(Path::new(&path)).trim().parse().expect("one child")
    }

    fn spawn(folder: &Path, arguments: &[&str]) -> Self {
        let (out, err) = (folder.join("wrapped.out"), folder.join("wrapped.err"));
        let mut child = Command::new(arguments[0])
            .args(&arguments[1..])
            .stdin(Stdio::piped())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        Self {
            input: child.stdin.take(),
            child,
            out,
            err,
        }
    }

    /// Writes to its standard input.
    pub(crate) async fn feed(&mut self, text: &str) {
        let input = self.input.as_mut().expect("its input is open");
        input.write_all(text.as_bytes()).await.unwrap();
    }

    /// Closes its standard input.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// What it passed on as standard output.
    pub(crate) fn out(&self) -> String {
        read(&self.out)
    }

    /// What it passed on, and said itself, as standard error.
    pub(crate) fn err(&self) -> String {
        read(&self.err)
    }

    /// Waits until that holds this text.
    pub(crate) async fn says(&self, text: &str) {
        until(&format!("{text:?} is said"), async || {
            (self.err().contains(text) || self.out().contains(text)).then_some(())
        })
        .await;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Sends it a signal.
    pub(crate) async fn signal(&self, signal: &str) {
        kill(signal, self.id()).await;
    }

    /// A folder as it sees it.
    pub(crate) fn inside(&self, folder: &Path) -> PathBuf {
        let inside = folder.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.id())).join(inside)
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await;
        status.expect("it ends").unwrap()
    }
}

/// Sends a signal to a process.
pub(crate) async fn kill(signal: &str, id: u32) {
    let id = id.to_string();
    let status = Command::new("kill").args([signal, &id]).status().await;
    assert!(status.unwrap().success());
}

/// The copy in `directory`, all its files in the order in which they were written.
pub(crate) fn copy(directory: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_by_key(|name| {
        let (run, stamp) = name.split_once(".log").expect("a name of kubelet's");
        let live = stamp.is_empty();
        (run.parse::<u32>().unwrap(), live, stamp.to_owned())
    });
    names
        .iter()
        .map(|name| read(&directory.join(name)))
        .collect()
}

/// The lines of one stream in a copy: time stamps away, pieces joined.
pub(crate) fn lines(copy: &str, stream: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for line in copy.split_inclusive('\n') {
        let mut parts = line.strip_suffix('\n').expect("whole lines").splitn(4, ' ');
        let time = parts.next().unwrap();
        assert!(time.len() == 30 && time.ends_with('Z'), "{line}");
        let (name, tag) = (parts.next().unwrap(), parts.next().unwrap());
        assert!(["stdout", "stderr"].contains(&name), "{line}");
        if name == stream {
            *lines.last_mut().unwrap() += parts.next().expect("a text");
            if tag == "F" {
                lines.push(String::new());
            }
        }
    }
    // what had no newline is the last
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

fn read(path: &Path) -> String {
    let mut text = String::new();
    let file = File::open(path).unwrap();
    file.take(BYTES_MAX).read_to_string(&mut text).unwrap();
    text
}
