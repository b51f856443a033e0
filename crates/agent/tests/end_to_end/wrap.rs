//! A command under `wrap`: what it is promised, and that a sidecar delivers what it says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::bulk::Server;
use crate::common::sidecar::Setup;
use crate::common::store::text;
use crate::common::until;
use crate::common::wrapped::{Wrapped, copy, kill, lines};

/// A folder with a directory for the copy.
struct Scene {
    folder: tempfile::TempDir,
    directory: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("output/clm");
        Self { folder, directory }
    }

    fn start(&self, command: &[&str]) -> Wrapped {
        Wrapped::start(self.folder.path(), &self.directory, command)
    }

    /// Runs a script to its end; its exit code.
    async fn run(&self, script: &str) -> (Wrapped, Option<i32>) {
        let mut wrapped = self.start(&["sh", "-c", script]);
        let code = wrapped.ended().await.code();
        (wrapped, code)
    }

    fn copied(&self, stream: &str) -> Vec<String> {
        lines(&copy(&self.directory), stream)
    }
}

#[tokio::test]
async fn both_streams_go_on_and_are_copied() {
    let scene = Scene::new();
    let long = "y".repeat(40_000);
    let script =
        format!("echo one; echo two >&2; echo {long}; echo; printf 'no newline' >&2; exit 7");
    let (wrapped, code) = scene.run(&script).await;
    assert_eq!(code, Some(7));
    assert_eq!(wrapped.out(), format!("one\n{long}\n\n"));
    assert_eq!(wrapped.err(), "two\nno newline");
    assert_eq!(scene.copied("stdout"), ["one", &long, ""]);
    assert_eq!(scene.copied("stderr"), ["two", "no newline"]);
    // the next run has the next number
    scene.run("echo three").await;
    assert!(
        fs::read(scene.directory.join("1.log"))
            .unwrap()
            .ends_with(b" stdout F three\n")
    );
}

#[tokio::test]
async fn arguments_reach_the_command_as_they_are() {
    let scene = Scene::new();
    let arguments = [
        "printf", "[%s]\n", "", "a  b", "--", "--output", "$HOME", "ü", "*",
    ];
    let mut wrapped = scene.start(&arguments);
    assert!(wrapped.ended().await.success());
    assert_eq!(
        wrapped.out(),
        "[]\n[a  b]\n[--]\n[--output]\n[$HOME]\n[ü]\n[*]\n"
    );
}

#[tokio::test]
async fn a_command_inherits_its_streams_and_nothing_of_ours() {
    let scene = Scene::new();
    // whatever the test's own parent left open is there with us and without us
    let own: BTreeSet<String> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let (wrapped, _) = scene
        .run("for fd in /proc/$$/fd/*; do readlink $fd; done")
        .await;
    let out = wrapped.out();
    assert!(
        !out.contains("eventpoll") && !out.contains("0.log") && !out.contains("socket"),
        "{out}"
    );
    assert!(out.lines().count() <= own.len().max(4), "{out}");
}

#[tokio::test]
async fn what_cannot_be_run_is_said_as_a_shell_says_it() {
    let scene = Scene::new();
    let file = scene.folder.path().join("data");
    fs::write(&file, "no program").unwrap();
    for (command, code) in [
        ("./nothing-there", 127),
        ("nothing-there-either", 127),
        (file.to_str().unwrap(), 126),
    ] {
        let mut wrapped = scene.start(&[command, "argument"]);
        assert_eq!(wrapped.ended().await.code(), Some(code));
        let said = wrapped.err();
        let line = format!("emco-observer wrap: cannot run {command}: ");
        assert!(
            said.starts_with(&line) && said.lines().count() == 1,
            "{said}"
        );
    }
}

#[tokio::test]
async fn signals_reach_the_command_and_its_end_is_passed_on() {
    let scene = Scene::new();
    for signal in [
        "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", "ALRM", "CONT", "ABRT",
    ] {
        let script = format!(
            "sleep 600 & trap \"kill $!; echo got {signal}; exit 3\" {signal}; echo ready; wait"
        );
        let mut wrapped = scene.start(&["sh", "-c", &script]);
        wrapped.says("ready").await;
        wrapped.signal(&format!("-{signal}")).await;
        assert_eq!(wrapped.ended().await.code(), Some(3), "{signal}");
        assert_eq!(wrapped.out(), format!("ready\ngot {signal}\n"));
    }
    for (signal, code) in [("TERM", 143), ("USR1", 138)] {
        let mut wrapped = scene.start(&["sh", "-c", "echo ready; exec sleep 600"]);
        wrapped.says("ready").await;
        wrapped.signal(&format!("-{signal}")).await;
        assert_eq!(wrapped.ended().await.code(), Some(code), "{signal}");
    }
    let (_, code) = scene.run("kill -9 $$").await;
    assert_eq!(code, Some(137));
}

/// What a process leaves behind when it ends is waited for by us; nothing stays a zombie.
#[tokio::test]
async fn orphans_are_reaped() {
    let scene = Scene::new();
    let script = "for i in 1 2 3; do (sh -c ': && :' & echo $! >&2); done; echo left; read line";
    let mut wrapped = scene.start(&["sh", "-c", script]);
    wrapped.says("left").await;
    let orphans: Vec<String> = wrapped.err().lines().map(str::to_owned).collect();
    assert_eq!(orphans.len(), 3);
    until("no orphan is there any more", async || {
        let gone = |id: &String| !Path::new("/proc").join(id).try_exists().unwrap();
        orphans.iter().all(gone).then_some(())
    })
    .await;
    wrapped.feed("\n").await;
    assert!(wrapped.ended().await.success());
}

/// What kubelet's TERM, an orphan and the command's end are to the first process of a container.
#[tokio::test]
async fn as_the_first_process_of_a_container() {
    let scene = Scene::new();
    let script = "(sleep 600 &); sleep 600 & trap \"echo got TERM; exit 9\" TERM; echo ready; wait";
    let folder = scene.folder.path();
    let command = ["sh", "-c", script];
    let mut wrapped = Wrapped::start_as_first_process(folder, &scene.directory, &command);
    wrapped.says("ready\n").await;
    let first = wrapped.only_child();
    kill("-TERM", first).await;
    assert_eq!(wrapped.ended().await.code(), Some(9));
    assert!(wrapped.out().ends_with("got TERM\n"), "{}", wrapped.out());
    assert_eq!(scene.copied("stdout").last().unwrap(), "got TERM");
    until("everybody has ended with it", async || {
        (!Path::new(&format!("/proc/{first}")).try_exists().unwrap()).then_some(())
    })
    .await;
}

/// In a container they end with its first process; elsewhere they lose their output.
#[tokio::test]
async fn descendants_that_hold_the_pipes_do_not_hold_the_end() {
    let scene = Scene::new();
    let script = "sleep 600 & echo $! >&2; (while :; do echo noise; done) & echo $! >&2; \
                  read line; echo last words; exit 5";
    let mut wrapped = scene.start(&["sh", "-c", script]);
    wrapped.says("noise").await;
    wrapped.feed("\n").await;
    assert_eq!(wrapped.ended().await.code(), Some(5));
    for id in wrapped.err().lines() {
        // the one that writes may have found out by itself
        let mut kill = tokio::process::Command::new("kill");
        kill.args(["-9", id]).output().await.unwrap();
    }
    assert!(wrapped.out().contains("last words\n"));
    let copied = scene.copied("stdout");
    assert!(copied.iter().any(|line| line == "last words"));
    // the last piece may have been cut by the end
    let passed: Vec<String> = wrapped.out().lines().map(str::to_owned).collect();
    assert_eq!(copied, passed);
}

/// Nobody reads standard output: the command waits there as it would without us, and is copied and
/// passed on elsewhere.
#[tokio::test]
async fn a_stream_that_is_held_up_does_not_hold_up_the_other() {
    let scene = Scene::new();
    let folder = scene.folder.path();
    let fifo = folder.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    // opened for both, so that nobody reads and nobody has gone
    let script = "exec \"$0\" wrap --output \"$1\" -- sh -c '(yes filler | head -c 4000000) & \
                  while read line; do echo \"heard $line\" >&2; done; wait' 1<>\"$2\"";
    let mut wrapped = Wrapped::start(
        folder,
        &folder.join("output/outer"),
        &[
            "sh",
            "-c",
            script,
            env!("CARGO_BIN_EXE_emco-observer"),
            scene.directory.to_str().unwrap(),
            fifo.to_str().unwrap(),
        ],
    );
    for line in 0..50 {
        wrapped.feed(&format!("{line}\n")).await;
        wrapped.says(&format!("heard {line}\n")).await;
    }
    let filled = scene.copied("stdout").len();
    assert!((1_000..200_000).contains(&filled), "{filled} lines");
    // now somebody reads
    let reader = tokio::fs::File::open(&fifo).await.unwrap();
    let read = tokio::spawn(async move {
        let mut reader = reader;
        let mut text = vec![0; 4_000_000];
        tokio::io::AsyncReadExt::read_exact(&mut reader, &mut text)
            .await
            .unwrap();
        text
    });
    wrapped.close_input();
    assert!(wrapped.ended().await.success());
    assert!(read.await.unwrap() == "filler\n".repeat(600_000).as_bytes()[..4_000_000]);
    let copied = scene.copied("stdout");
    assert_eq!(
        copied.join("\n").len() + 1,
        4_000_000 + usize::from(4_000_000 % 7 != 0)
    );
}

#[tokio::test]
async fn nobody_who_reads_is_no_reason_to_end() {
    let scene = Scene::new();
    let script = "\"$0\" wrap --output \"$1\" -- sh -c 'for i in 1 2 3; do echo line $i; done; exit 4' | true; \
                  echo ${PIPESTATUS[0]}";
    let output = tokio::process::Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_emco-observer")])
        .arg(&scene.directory)
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "4\n");
    assert_eq!(scene.copied("stdout"), ["line 1", "line 2", "line 3"]);
}

#[tokio::test]
async fn a_copy_that_cannot_be_made_is_told_of_and_the_command_runs() {
    let scene = Scene::new();
    fs::create_dir(scene.folder.path().join("output")).unwrap();
    fs::write(&scene.directory, "no directory").unwrap();
    let (wrapped, code) = scene.run("echo one; echo two; exit 6").await;
    assert_eq!((code, &*wrapped.out()), (Some(6), "one\ntwo\n"));
    let said = wrapped.err();
    assert!(
        said.contains("emco-observer wrap: output cannot be copied to "),
        "{said}"
    );
    assert!(
        said.contains("lines that are not in the copy: 2 "),
        "{said}"
    );
}

#[tokio::test]
async fn a_directory_that_is_removed_is_made_again() {
    let scene = Scene::new();
    let mut wrapped = scene.start(&["cat"]);
    wrapped.feed("one\n").await;
    wrapped.says("one\n").await;
    fs::remove_dir_all(&scene.directory).unwrap();
    let mut line = 0;
    until("there is a copy again", async || {
        line += 1;
        wrapped.feed(&format!("line {line}\n")).await;
        wrapped.says(&format!("line {line}\n")).await;
        scene.directory.try_exists().unwrap().then_some(())
    })
    .await;
    wrapped.close_input();
    assert!(wrapped.ended().await.success());
    assert_eq!(scene.copied("stdout"), [format!("line {line}")]);
}

/// No line is half in the copy, what is not in it is counted, and when there is room it goes on.
#[tokio::test]
async fn a_full_disk_costs_lines_of_the_copy_and_nothing_else() {
    let scene = Scene::new();
    let disk = scene.folder.path().join("disk");
    let mut wrapped = Wrapped::start_on_a_small_disk(scene.folder.path(), &disk, 1 << 20, &["cat"]);
    wrapped.feed("first\n").await;
    wrapped.says("first\n").await;
    let filler = wrapped.inside(&disk).join("filler");
    fs::write(&filler, vec![0; 900 << 10]).unwrap();
    let mut fed = vec!["first".to_owned()];
    let mut feed = async |wrapped: &mut Wrapped| {
        let line = format!("line {} {}", fed.len(), "x".repeat(3_000));
        wrapped.feed(&format!("{line}\n")).await;
        wrapped.says(&format!("line {} ", fed.len())).await;
        fed.push(line);
        fed.len()
    };
    while !wrapped.err().contains("output cannot be copied") {
        assert!(feed(&mut wrapped).await < 1_000, "the disk is never full");
    }
    for _ in 0..20 {
        feed(&mut wrapped).await;
    }
    fs::remove_file(filler).unwrap();
    until("it is copied again", async || {
        feed(&mut wrapped).await;
        wrapped
            .err()
            .contains("output is copied again")
            .then_some(())
    })
    .await;
    let kept = copy(&wrapped.inside(&disk).join("clm"));
    wrapped.close_input();
    assert!(wrapped.ended().await.success());
    assert_eq!(wrapped.out(), fed.join("\n") + "\n");
    let said = wrapped.err();
    assert_eq!(said.lines().count(), 2, "it is said once: {said}");
    let (_, missing) = said.split_once("not in the copy: ").unwrap();
    let missing: usize = missing.split(' ').next().unwrap().parse().unwrap();
    let kept = lines(&kept, "stdout");
    assert!(missing > 0 && kept.iter().all(|line| fed.contains(line)));
    assert_eq!(kept.len() + missing, fed.len());
}

/// The whole way: every line arrives once, over rotation, restarts and kills of everybody.
#[tokio::test]
async fn a_sidecar_delivers_what_a_wrapped_command_says() {
    let elastic = Server::start().await;
    let setup = Setup::new().elastic(elastic.address);
    let directory = setup.pod.directory.join("orchestrator");
    let folder = setup.folder.path();
    let start = || Wrapped::start_with(folder, &directory, &["--bytes-max", "1048576"], &["cat"]);
    let mut said: Vec<String> = Vec::new();
    let mut batch = |count: usize| {
        let first = said.len();
        let fill = "z".repeat(200);
        said.extend((first..first + count).map(|line| format!("line {line} {fill}")));
        let text = said[first..].join("\n") + "\n";
        (text, said.clone())
    };
    let arrived = async |said: &[String]| {
        elastic.store.arrived_lines(said.len()).await;
        let lines = elastic.store.lines();
        let texts: BTreeSet<String> = lines.iter().map(text).collect();
        assert_eq!(lines.len(), said.len(), "each has one id");
        assert!(said.iter().all(|line| texts.contains(line)));
    };
    // the volume has more in it than lines
    let (pod, from) = (&setup.pod.directory, folder.join("config.json"));
    fs::write(&from, "{}").unwrap();
    let to = pod.join("config.json");
    let overlay = format!("{}:{}", from.display(), to.display());
    let prepare = [
        "prepare",
        "--install",
        pod.to_str().unwrap(),
        "--overlay",
        &overlay,
    ];
    let prepared = setup.run_to_end(&prepare).await;
    assert!(prepared.status.success(), "{prepared:?}");
    let mut sidecar = setup.start().await;
    let mut wrapped = start();
    // more than is kept, a file's worth at a time
    for _ in 0..8 {
        let (text, said) = batch(1_000);
        wrapped.feed(&text).await;
        arrived(&said).await;
    }
    let names = fs::read_dir(&directory).unwrap().count();
    assert!((3..=6).contains(&names), "{names} files");
    // while the sidecar is away
    sidecar.kill().await;
    let (text, said) = batch(500);
    wrapped.feed(&text).await;
    wrapped.says(said.last().unwrap()).await;
    wrapped.signal("-TERM").await;
    assert_eq!(wrapped.ended().await.code(), Some(143));
    let mut wrapped = start();
    let (text, said) = batch(500);
    wrapped.feed(&text).await;
    sidecar = setup.start().await;
    arrived(&said).await;
    // what was seen outside is there, even if nobody could say good-bye
    let (text, said) = batch(300);
    wrapped.feed(&text).await;
    wrapped.says(said.last().unwrap()).await;
    wrapped.signal("-KILL").await;
    assert_eq!(wrapped.ended().await.code(), None);
    arrived(&said).await;
    // the last words of one that dies have no newline
    let mut wrapped = start();
    let (text, said) = batch(1);
    wrapped.feed(text.trim_end()).await;
    wrapped.close_input();
    assert!(wrapped.ended().await.success());
    arrived(&said).await;
    sidecar.is_level().await;
    assert_eq!(
        elastic.store.received(),
        said.len(),
        "nothing is sent twice"
    );
}
