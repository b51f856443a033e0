//! The programs that operators use: kubectl and Helm.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long one call may take. The programs are told, and end by themselves.
const CALL_BOUND: Duration = Duration::from_secs(40);

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it ended well.
    pub success: bool,
    /// On its standard output.
    pub output: String,
    /// On its standard error.
    pub errors: String,
}

impl Said {
    /// What it said on its standard output.
    ///
    /// # Panics
    /// If it did not end well; says what it said.
    #[track_caller]
    pub fn text(self) -> String {
        assert!(self.success, "{}{}", self.output, self.errors);
        self.output
    }
}

/// Calls `program` in `home`, where it keeps what it remembers, with `input`; the same bound as for
/// answers of servers holds.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
pub(super) fn call(
    program: &Path,
    arguments: &[&str],
    input: &str,
    home: &Path,
    kubeconfig: &Path,
) -> Said {
    // A file and no pipe: it is read whenever the program likes to.
    let mut given = tempfile(home);
    given.write_all(input.as_bytes()).expect("write the input");
    given.rewind().expect("begin with the input");
    let output = at_home(Command::new("timeout"), home, kubeconfig)
        .arg(CALL_BOUND.as_secs().to_string())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::from(given))
        .output()
        .expect("call a program");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said {
        success: output.status.success(),
        output: text(output.stdout),
        errors: text(output.stderr),
    }
}

/// Where a program finds the cluster and keeps what it remembers.
pub(super) fn at_home(mut command: Command, home: &Path, kubeconfig: &Path) -> Command {
    command
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", home)
        .env("HELM_CACHE_HOME", home.join("helm/cache"))
        .env("HELM_CONFIG_HOME", home.join("helm/config"))
        .env("HELM_DATA_HOME", home.join("helm/data"));
    command
}

/// A file without a name.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn tempfile(home: &Path) -> File {
    let path = home.join(format!("input-{:016x}", fastrand::u64(..)));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("make a file for the input");
    std::fs::remove_file(&path).expect("take its name away");
    file
}
