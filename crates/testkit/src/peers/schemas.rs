//! What versions of Kubernetes say about objects that no server has to be started for.

use std::io::Write;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

use super::installed_in;

/// The versions whose schemas there are.
const VERSIONS: [&str; 10] = [
    "1.28", "1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37",
];

/// What is wrong with an object in one version of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Mistake {
    /// Which of the objects.
    pub object: usize,
    /// `1.28`, for example.
    pub version: String,
    /// Where in the object: `spec/containers/0`, for example.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// What the schemas of Kubernetes 1.28 to 1.37 find wrong in `objects`, each with its `apiVersion` and
/// `kind`: fields that are not known, missing, or of the wrong type, and kinds that a version does not
/// have. Which values of a text are allowed is not in the schemas. Empty if nothing is wrong, `None`
/// if the schemas are not installed.
///
/// # Panics
/// If not every object is checked against every version.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
pub fn check_schemas(objects: &[Value]) -> Option<Vec<Mistake>> {
    let program = installed_in("schemas", "check.py")?;
    let mut child = Command::new("python3")
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start python3");
    let lines: Vec<String> = objects.iter().map(Value::to_string).collect();
    let mut pipe = child.stdin.take().expect("a pipe");
    // All of it is read before anything is said.
    pipe.write_all(lines.join("\n").as_bytes())
        .expect("give the objects");
    drop(pipe);
    let output = child.wait_with_output().expect("wait for python3");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the check ends: {errors}");
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop().expect("what was checked");
    let checked: Checked = serde_json::from_str(last).expect("what was checked");
    assert_eq!(checked.objects, objects.len(), "each is checked");
    assert_eq!(checked.versions, VERSIONS, "against each");
    let mistakes = lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("a mistake"));
    Some(mistakes.collect())
}

#[derive(Deserialize)]
struct Checked {
    objects: usize,
    versions: Vec<String>,
}
