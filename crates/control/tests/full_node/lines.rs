//! What containers write arrives, once, whatever kubelet does with its files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::peers::{Node, get, until};

use super::trial::{LONG, OWN, Trial, status};

const LINES: usize = 100_000;
const RATE: usize = 2500;
/// Lines while there is no backend.
const AWAY: usize = 30_000;

#[test]
fn every_line_arrives_once_over_rotations_ends_and_restarts() {
    let Some(trial) = Trial::start() else { return };
    trial.namespace("emco", true);
    let label = [
        ("emco-observer.io/inject", "true"),
        ("pod-security.kubernetes.io/enforce", "restricted"),
    ];
    trial.node.namespace("strict", &label);
    trial.install(&["namespaces={emco,strict}"]);
    is_wrapped(&trial);
    is_rotated(&trial);
    ends_behind_the_service(&trial);
    dies_and_starts_again(&trial);
    backend_is_away(&trial);
}

/// Kubelet renames, packs and deletes what nobody takes; the sidecar keeps it.
fn backend_is_away(trial: &Trial) {
    // before anything is written: what it has goes with its pod
    trial.scale("emco-observer-lab", 0);
    let (lines, rate) = (AWAY.to_string(), RATE.to_string());
    let arguments = ["-lines", &lines, "-rate", &rate, "-last", "5"];
    let pod = trial.pod("gac", "Always", &arguments);
    assert!(!pod["spec"]["initContainers"].is_null(), "{pod}");
    let logs = Node::logs(&pod).join("gac");
    let last = message("step", AWAY - 1, "gac");
    until("the last line is written", LONG, || {
        let files = fs::read_dir(&logs).ok()?.flatten();
        let mut texts = files.map(|file| fs::read(file.path()).unwrap_or_default());
        let is_written = texts.any(|text| String::from_utf8_lossy(&text).contains(&last));
        is_written.then_some(())
    });
    trial.scale("emco-observer-lab", 1);
    until("all lines are stored", LONG, || {
        (trial.count("gac") >= AWAY as u64).then_some(())
    });
    let delete = ["delete", "pod", "gac", "--namespace=emco", "--wait"];
    trial.node.kubectl(&delete).text();
    all_are_there_once(trial, "gac", AWAY);
}

/// Where nobody may see the node's files, they come from a program in front of the service's own; and
/// the runtime has them still.
fn is_wrapped(trial: &Trial) {
    let arguments = ["-lines", "20000", "-rate", "4000", "-last", "5"];
    let pod = trial.strict_pod("strict", "ncm", &arguments);
    let command = &pod["spec"]["containers"][0]["command"];
    assert!(command.to_string().contains("wrap"), "{command}");
    until("all lines are stored", LONG, || {
        (trial.count("ncm") >= 20_000).then_some(())
    });
    // Of what was rotated, kubectl shows nothing.
    let files = fs::read_dir(Node::logs(&pod).join("ncm")).unwrap();
    let texts = files.map(|file| fs::read(file.unwrap().path()).unwrap_or_default());
    let last = message("step", 19_999, "ncm");
    let is_last = |text: &Vec<u8>| String::from_utf8_lossy(text).contains(&last);
    let seen = texts.filter(is_last).count();
    assert_eq!(seen, 1, "the runtime has the last line, too");
    let delete = ["delete", "pod", "ncm", "--namespace=strict", "--wait"];
    trial.node.kubectl(&delete).text();
    all_are_there_once(trial, "ncm", 20_000);
}

/// Files are renamed, packed and deleted while they are read.
fn is_rotated(trial: &Trial) {
    let (lines, rate) = (LINES.to_string(), RATE.to_string());
    let arguments = ["-lines", &lines, "-rate", &rate, "-last", "5"];
    let pod = trial.pod("orchestrator", "Always", &arguments);
    let logs = Node::logs(&pod).join("orchestrator");
    let start = Instant::now();
    let mut packed = BTreeSet::new();
    let is_whole = by(LONG, || {
        let files = fs::read_dir(&logs).into_iter().flatten().flatten();
        let is_packed = |path: &PathBuf| path.extension().is_some_and(|end| end == "gz");
        packed.extend(files.map(|file| file.path()).filter(is_packed));
        trial.count("orchestrator") >= LINES as u64
    });
    let took = start.elapsed();
    assert!(is_whole, "{}", what_is_missing(trial));
    assert!(packed.len() >= 3, "kubelet packed {packed:?}");
    let delete = [
        "delete",
        "pod",
        "orchestrator",
        "--namespace=emco",
        "--wait",
    ];
    trial.node.kubectl(&delete).text();
    all_are_there_once(trial, "orchestrator", LINES);
    println!("{LINES} lines in {took:.1?}, {} packed files", packed.len());
}

/// So many steps, and what it says when it is told to end.
fn all_are_there_once(trial: &Trial, service: &str, count: usize) {
    let steps = (0..count).map(|number| message("step", number, service));
    let last = (0..5).map(|number| message("farewell", number, service));
    let expected: BTreeMap<String, usize> = steps.chain(last).map(|line| (line, 1)).collect();
    let found = until("the last lines are stored", Duration::from_secs(20), || {
        let found = trial.messages(service);
        (found.len() >= expected.len()).then_some(found)
    });
    let (lost, twice) = compare(&found, &expected);
    println!("{service}: {lost} lost, {twice} stored twice");
    assert_eq!((lost, twice), (0, 0));
}

/// Whether something is so in time.
fn by(bound: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + bound;
    std::iter::repeat_with(|| {
        std::thread::park_timeout(Duration::from_millis(100));
        is_so()
    })
    .take_while(|_| Instant::now() < end)
    .any(|is_so| is_so)
}

/// Which lines are not there, and what the sidecar says of itself.
fn what_is_missing(trial: &Trial) -> String {
    let found = trial.messages("orchestrator");
    let is_missing =
        |number: &usize| !found.contains_key(&message("step", *number, "orchestrator"));
    let missing: Vec<usize> = (0..LINES).filter(is_missing).collect();
    let pod = trial
        .node
        .ask("/api/v1/namespaces/emco/pods/orchestrator")
        .object();
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    let address = SocketAddr::new(address.parse().unwrap(), 9464);
    let page = get(address, "/metrics").unwrap_or_default();
    let page = String::from_utf8_lossy(&page).into_owned();
    let counted = page.lines().filter(|line| {
        let is_zero = line.ends_with(" 0");
        !line.starts_with('#') && !line.contains("_bucket{") && !is_zero
    });
    let counted: Vec<&str> = counted.collect();
    let logs = [
        "logs",
        "--namespace=emco",
        "orchestrator",
        "--container",
        OWN,
    ];
    format!(
        "{} of {LINES} lines are missing, from {:?} to {:?}\n{}\n{}\n{}",
        missing.len(),
        missing.first(),
        missing.last(),
        pod["status"],
        counted.join("\n"),
        trial.node.kubectl(&logs).text()
    )
}

fn message(what: &str, number: usize, pod: &str) -> String {
    format!("{what} {number} of {pod}, which is as long as lines of this kind are")
}

/// How many of `expected` are not there, and how many are more often than that.
fn compare(found: &BTreeMap<String, usize>, expected: &BTreeMap<String, usize>) -> (usize, usize) {
    let count = |line: &String| found.get(line).copied().unwrap_or_default();
    let lost = expected
        .iter()
        .filter(|&(line, &times)| count(line) < times);
    let twice = expected
        .iter()
        .filter(|&(line, &times)| count(line) > times);
    (lost.count(), twice.count())
}

/// The sidecar is there before the service writes and until all it wrote is delivered.
fn ends_behind_the_service(trial: &Trial) {
    trial.pod(
        "clm",
        "Never",
        &["-lines", "200", "-rate", "1000", "-exit", "0"],
    );
    let pod = until("the pod has ended", LONG, || {
        let pod = trial.node.ask("/api/v1/namespaces/emco/pods/clm").object();
        (pod["status"]["phase"] == "Succeeded").then_some(pod)
    });
    let time = |name: &str, which: &str| {
        let state = &status(&pod, name)["state"]["terminated"];
        state[which].as_str().unwrap_or_default().to_owned()
    };
    assert!(time(OWN, "startedAt") <= time("clm", "startedAt"), "{pod}");
    assert!(
        time(OWN, "finishedAt") >= time("clm", "finishedAt"),
        "{pod}"
    );
    assert_eq!(
        status(&pod, OWN)["state"]["terminated"]["exitCode"],
        0,
        "{pod}"
    );
    let found = trial.messages("clm");
    assert!(
        found.contains_key(&message("farewell", 2, "clm")),
        "{found:?}"
    );
    assert_eq!(found.values().sum::<usize>(), 203, "{found:?}");
}

/// Each life of a container has its own file.
fn dies_and_starts_again(trial: &Trial) {
    trial.pod(
        "dcm",
        "Always",
        &["-lines", "50", "-rate", "1000", "-exit", "1"],
    );
    let lives = |pod: &Value| {
        status(pod, "dcm")["restartCount"]
            .as_u64()
            .map(|count| count + 1)
    };
    until("every life is stored", LONG, || {
        let pod = trial.node.ask("/api/v1/namespaces/emco/pods/dcm").object();
        let lives = lives(&pod)?;
        let is_between = status(&pod, "dcm")["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let found = trial.messages("dcm");
        let is_whole = found.len() == 53 && found.values().all(|&count| count as u64 == lives);
        (is_between && lives >= 3 && is_whole).then_some(())
    });
    trial
        .node
        .delete("/api/v1/namespaces/emco/pods/dcm")
        .object();
}
