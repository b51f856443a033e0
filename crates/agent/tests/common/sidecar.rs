//! The binary as an operator runs it.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};

use tempfile::TempDir;
use testkit::peers::Target;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Addresses that nobody listens on now.
pub(crate) use testkit::peers::free_ports as free_addresses;

use super::pod::{Container, Pod};
use super::{PATIENCE, http, until};

const BINARY: &str = env!("CARGO_BIN_EXE_emco-observer");
const LOG_BYTES_MAX: u64 = 16 << 20;

/// What a sidecar is told, and where everything of the test lies.
pub(crate) struct Setup {
    pub(crate) folder: TempDir,
    pub(crate) pod: Pod,
    service: &'static str,
    pub(crate) spans: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Lines under `lanes`.
    lanes: String,
    /// Further lines of the settings.
    more: String,
    pub(crate) wait: &'static str,
    logs: Option<String>,
    spans_bytes_max: u64,
    variables: Vec<(String, String)>,
}

/// A running sidecar; killed when dropped.
pub(crate) struct Sidecar {
    child: Child,
    admin: SocketAddr,
    spans: SocketAddr,
    log: PathBuf,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pod = Pod::new(&folder.path().join("pods"));
        let [spans, admin] = free_addresses();
        Self {
            pod,
            service: "orchestrator",
            spans,
            admin,
            lanes: String::new(),
            more: String::new(),
            wait: "200ms",
            logs: None,
            spans_bytes_max: 16 << 20,
            variables: Vec::new(),
            folder,
        }
    }

    /// Stands beside another service.
    pub(crate) fn beside(self, service: &'static str) -> Self {
        Self { service, ..self }
    }

    /// Delivers to a forward receiver.
    pub(crate) fn forward(mut self, address: SocketAddr) -> Self {
        let lane = [
            "  forward:\n    address: \"",
            &address.to_string(),
            "\"\n    ack_timeout: 1s\n",
        ];
        self.lanes += &lane.concat();
        self
    }

    /// Delivers to a bulk server.
    pub(crate) fn elastic(mut self, address: SocketAddr) -> Self {
        self.lanes += &[
            "  elastic:\n    url: \"http://",
            &address.to_string(),
            "\"\n",
        ]
        .concat();
        self
    }

    /// Delivers spans to a receiver of traces, with this line more under `otlp`.
    pub(crate) fn otlp(mut self, address: SocketAddr, more: &str) -> Self {
        let url = format!("http://{address}");
        self.lanes += &["  otlp:\n    url: \"", &url, "\"\n    ", more, "\n"].concat();
        self
    }

    /// Asks a hub.
    pub(crate) fn hub(self, address: SocketAddr) -> Self {
        self.with(&format!("hub: {{addresses: [\"http://{address}\"]}}"))
    }

    /// Bounds the spool.
    pub(crate) fn spans_bytes_max(mut self, bytes: u64) -> Self {
        self.spans_bytes_max = bytes;
        self
    }

    /// Follows what this line of the settings says instead of the pod.
    pub(crate) fn instead_of_pod(self, line: &str) -> Self {
        let logs = Some(line.to_owned());
        Self { logs, ..self }
    }

    /// Adds a line to the settings.
    pub(crate) fn with(mut self, line: &str) -> Self {
        self.more += line;
        self.more.push('\n');
        self
    }

    /// Adds lines to the destination named last.
    pub(crate) fn with_lanes(mut self, lines: &str) -> Self {
        self.lanes += lines;
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the admin address in the environment, too: the file may be of no use.
    pub(crate) fn variable_admin(self) -> Self {
        let admin = self.admin.to_string();
        self.variable("EMCO_OBSERVER_ADMIN_LISTEN", &admin)
    }

    /// As in a pod.
    pub(crate) fn in_pod(self) -> Self {
        self.variable("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The service's own container.
    pub(crate) fn service(&self) -> Container {
        self.pod.container(self.service)
    }

    /// The settings file.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = String::new();
        let quoted = |path: PathBuf| serde_json::Value::from(path.to_string_lossy()).to_string();
        let pod_dir = quoted(self.pod.directory.clone());
        writeln!(yaml, "service: {}", self.service).unwrap();
        writeln!(yaml, "state_dir: {}", quoted(self.state_dir())).unwrap();
        let logs = self.logs.clone();
        let logs = logs.unwrap_or_else(|| format!("logs: {{pod_dir: {pod_dir}}}"));
        writeln!(yaml, "{logs}").unwrap();
        writeln!(yaml, "attribution: {{wait: {}}}", self.wait).unwrap();
        let spans = (self.spans, self.spans_bytes_max);
        writeln!(
            yaml,
            "spans: {{listen: \"{}\", disk_bytes_max: {}}}",
            spans.0, spans.1
        )
        .unwrap();
        writeln!(yaml, "admin: {{listen: \"{}\"}}", self.admin).unwrap();
        yaml += &self.more;
        yaml += "lanes:\n";
        yaml += &self.lanes;
        yaml
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&self) -> Sidecar {
        self.spawn().answering().await
    }

    /// Starts it as somebody whom permissions hold back, and waits until it answers.
    pub(crate) async fn start_without_privileges(&self) -> Sidecar {
        let config = self.write_settings();
        let run = ["run", "--config", &config];
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let sidecar = if is_root {
            // Root without the two capabilities that let it read everything is held back, too.
            let drop = ["--bounding-set=-dac_override,-dac_read_search", BINARY];
            self.spawn_as("setpriv", &[&drop[..], &run[..]].concat())
        } else {
            self.spawn_as(BINARY, &run)
        };
        sidecar.answering().await
    }

    /// Starts it with a state directory that has room for so many bytes, and waits until it answers.
    pub(crate) async fn start_on_a_small_disk(&self, bytes: u32) -> Sidecar {
        let (config, state) = (self.write_settings(), self.state_dir());
        std::fs::create_dir_all(&state).unwrap();
        let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
        let namespaces: &[&str] = if is_root {
            &["--mount"]
        } else {
            &["--mount", "--user", "--map-root-user"]
        };
        // mounted where only the sidecar sees it, and gone with it
        let mount = format!(
            "mount -t tmpfs -o size={bytes} none '{}' && exec \"$@\"",
            state.display()
        );
        let run = [
            "/bin/sh", "-c", &mount, "sh", BINARY, "run", "--config", &config,
        ];
        self.spawn_as("unshare", &[namespaces, &run].concat())
            .answering()
            .await
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&self) -> Sidecar {
        let config = self.write_settings();
        self.spawn_with(&["run", "--config", &config])
    }

    /// Starts it with these arguments.
    pub(crate) fn spawn_with(&self, arguments: &[&str]) -> Sidecar {
        self.spawn_as(BINARY, arguments)
    }

    fn spawn_as(&self, program: &str, arguments: &[&str]) -> Sidecar {
        let mut options = OpenOptions::new();
        let log = options.append(true).create(true).open(self.log_path());
        let child = self
            .command(program, arguments)
            .stderr(log.unwrap())
            .spawn()
            .expect("the binary starts");
        Sidecar {
            child,
            admin: self.admin,
            spans: self.spans,
            log: self.log_path(),
        }
    }

    fn write_settings(&self) -> String {
        let config = self.folder.path().join("settings.yaml");
        std::fs::write(&config, self.yaml()).unwrap();
        config.to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end, which has to come soon.
    pub(crate) async fn run_to_end(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(BINARY, arguments);
        let output = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output();
        timeout(PATIENCE, output).await.expect("it ends").unwrap()
    }
}

/// What Prometheus is to scrape: each sidecar under the name of its service.
pub(crate) fn targets(setups: &[Setup]) -> Vec<Target> {
    let target = |setup: &Setup| Target {
        job: setup.service.to_owned(),
        address: setup.admin,
    };
    setups.iter().map(target).collect()
}

impl Sidecar {
    /// Waits until it answers.
    async fn answering(mut self) -> Self {
        until("the sidecar answers", async || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("ended with {status}: {}", self.log());
            }
            http::get(self.admin, "/health").await
        })
        .await;
        self
    }

    /// Ends it at once, as a crash of the node would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        self.say_terminate().await;
        self.ended().await
    }

    /// Asks it to end.
    pub(crate) async fn say_terminate(&self) {
        self.say("-TERM").await;
    }

    /// Sends it a signal.
    pub(crate) async fn say(&self, signal: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &id]).status().await;
        assert!(status.unwrap().success());
    }

    /// A folder as it sees it.
    pub(crate) fn inside(&self, folder: &Path) -> PathBuf {
        let id = self.child.id().expect("it runs");
        let inside = folder.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{id}/root")).join(inside)
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait()).await;
        status.expect("it ends").unwrap()
    }

    /// Its metrics.
    pub(crate) async fn page(&self) -> String {
        let page = until("the metrics are shown", async || {
            http::get(self.admin, "/metrics").await
        });
        let (status, page) = page.await;
        assert_eq!(status, 200);
        page
    }

    /// The sum of the figures of this name whose line holds all `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let page = self.page().await;
        let values = page.lines().filter_map(|line| {
            let (found, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let is_name = found.is_empty() || found.starts_with('{');
            let all = labels.iter().all(|label| found.contains(label));
            (is_name && all).then(|| value.parse::<u64>().expect("a whole number"))
        });
        values.sum()
    }

    /// Waits until the figure is at least this.
    pub(crate) async fn counts(&self, name: &str, labels: &[&str], at_least: usize) {
        let what = format!("{name} {labels:?} is at least {at_least}");
        until(&what, async || {
            (self.metric(name, labels).await >= at_least as u64).then_some(())
        })
        .await;
    }

    /// Waits until no line waits for a verdict and all lanes are through with the verdict log.
    pub(crate) async fn is_level(&self) {
        until("nothing is in flight", async || {
            let waiting = self.metric("emco_observer_head_waiting_lines", &[]).await;
            let flight = self
                .metric("emco_observer_lane_in_flight_records", &[])
                .await;
            (waiting + flight == 0).then_some(())
        })
        .await;
    }

    /// What it says about its health.
    pub(crate) async fn health(&self) -> serde_json::Value {
        // nobody listens for a moment where mended settings take over
        let (status, body) = until("it answers", async || {
            http::get(self.admin, "/health").await
        })
        .await;
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// Posts a body of spans.
    pub(crate) async fn post_spans(&self, body: &[u8]) -> (u16, String) {
        until("the receiver of spans answers", async || {
            http::post(self.spans, "/api/v2/spans", body).await
        })
        .await
    }

    /// Its own log so far, that of its predecessors in the same folder included.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let file = File::open(&self.log).unwrap();
        file.take(LOG_BYTES_MAX).read_to_string(&mut text).unwrap();
        text
    }

    /// Waits until one line of its log holds all of these.
    pub(crate) async fn says(&self, parts: &[&str]) -> String {
        until(&format!("the log says {parts:?}"), async || {
            let log = self.log();
            let mut lines = log.lines();
            let line = lines.find(|line| parts.iter().all(|part| line.contains(part)));
            line.map(str::to_owned)
        })
        .await
    }
}
