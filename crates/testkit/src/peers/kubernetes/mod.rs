//! The API server of Kubernetes over its etcd: objects are validated, admitted and stored as in any
//! cluster, and kubectl and Helm work with them. There are no nodes: pods wait. Controllers run when
//! they are started ([`Kubernetes::start_controllers`]); without them Deployments make no pods, and
//! namespaces that are deleted stay.
//!
//! Addresses of Services lie on the loopback interface, in a range that this cluster has for itself.
//! Whoever listens on a Service's address and its *port* serves it: a webhook that names a Service
//! is called there, as in a real cluster, with the certificate checked for `<name>.<namespace>.svc`.
//!
//! ```no_run
//! use testkit::peers::Kubernetes;
//!
//! let folder = std::path::Path::new("run");
//! let Some(cluster) = Kubernetes::start(folder) else { return };
//! cluster.namespace("emco", &[("pod-security.kubernetes.io/enforce", "baseline")]);
//! let pods = cluster.ask("/api/v1/namespaces/emco/pods").object();
//! assert_eq!(pods["items"], serde_json::json!([]));
//! let listed = cluster.helm4(&["list", "--all-namespaces", "--short"]);
//! assert_eq!(listed.text(), "");
//! ```

mod api;
mod authority;
mod place;
mod tools;

use std::fs::{self, File};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

pub use self::api::Answer;
use self::api::{Api, Body};
pub use self::authority::{Authority, Identity};
pub(super) use self::place::Place;
pub use self::tools::Said;
use super::{Process, free_ports, installed_in};

/// A running cluster without nodes.
#[derive(Debug)]
pub struct Kubernetes {
    /// Where the API is served, with TLS.
    pub address: SocketAddr,
    token: String,
    api: Arc<Api>,
    folder: PathBuf,
    tools: PathBuf,
    // Ended in this order.
    controllers: Option<Process>,
    server: Process,
    etcd: Process,
}

/// Asks the API server.
#[derive(Debug)]
pub(super) struct Reader {
    api: Arc<Api>,
    token: String,
}

impl Reader {
    /// What `path` answers.
    pub(super) fn ask(&self, path: &str) -> Answer {
        self.api.send(&self.token, "GET", path, &Body::NONE)
    }
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Kubernetes {
    /// Whom tokens are for that the API itself takes; who issues tokens is called so, too.
    pub const AUDIENCE: &str = "https://kubernetes.default.svc";

    /// Starts one with all it keeps in a new folder inside `folder`; `None` if it, Helm or kubectl
    /// are not installed.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(folder: &Path) -> Option<Self> {
        Self::start_at(folder, Place::without_nodes)
    }

    /// Starts one where `place` says, which is asked once it is known that there will be one.
    pub(super) fn start_at(folder: &Path, place: impl FnOnce() -> Place) -> Option<Self> {
        let server = installed_in("kubernetes", "kube-apiserver")?;
        let etcd = installed_in("kubernetes", "etcd")?;
        let tools = installed_in("helm", "kubectl")?.parent()?.to_path_buf();
        let place = place();
        let address = place.address;
        let [client, peer] = free_ports();
        let folder = folder.join(format!("kubernetes-{}", address.port()));
        fs::create_dir_all(&folder).expect("make the cluster's folder");
        let authority = Authority::generate("kubernetes");
        let api = Arc::new(Api::new(address, authority.der()));
        let token = format!("{:032x}", fastrand::u128(..));
        prepare(&folder, &authority, &token, &place);
        let etcd = start_etcd(&etcd, &folder, client, peer);
        let server = start_server(&server, &folder, &place, client, || {
            let ready = api.send(&token, "GET", "/readyz", &Body::NONE);
            ready.is_success()
        });
        Some(Self {
            address,
            token,
            api,
            folder,
            tools,
            controllers: None,
            server,
            etcd,
        })
    }

    /// Starts the controllers: Deployments make pods, deleted namespaces and what belongs to deleted
    /// objects go away, namespaces get their service account. Takes 140 MB.
    ///
    /// # Panics
    /// If they do not start.
    pub fn start_controllers(&mut self) {
        let program = installed_in("kubernetes", "kube-controller-manager");
        let program = program.expect("installed with the API server");
        let [address] = free_ports();
        let file =
            |option: &str, name: &str| format!("--{option}={}", self.folder.join(name).display());
        let mut command = Command::new(program);
        command
            .arg(format!("--secure-port={}", address.port()))
            .arg(format!("--bind-address={}", address.ip()))
            .arg(file("kubeconfig", "kubeconfig"))
            .arg(file("root-ca-file", "ca.crt"))
            .arg(file("service-account-private-key-file", "accounts.key"))
            .arg("--leader-elect=false");
        let log = self.folder.join("kube-controller-manager.log");
        let own_account = "/api/v1/namespaces/default/serviceaccounts/default";
        let process = Process::start(&mut command, &log, || self.ask(own_account).is_success());
        self.controllers = Some(process);
    }

    /// Where the API is served, as an address with a scheme.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file with the certificate of the authority that signed the API server's.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// The token of someone who may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The file that tells clients all of this.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// What `path` answers.
    pub fn ask(&self, path: &str) -> Answer {
        self.ask_as(&self.token, path)
    }

    /// What `path` answers to whoever has `token`.
    pub fn ask_as(&self, token: &str, path: &str) -> Answer {
        self.api.send(token, "GET", path, &Body::NONE)
    }

    /// Makes `object` in the collection `path`: `/api/v1/namespaces/emco/pods`, for example, with
    /// `?dryRun=All` behind it if nothing shall be stored.
    pub fn create(&self, path: &str, object: &Value) -> Answer {
        self.create_as(&self.token, path, object)
    }

    /// Makes `object` as whoever has `token`.
    pub fn create_as(&self, token: &str, path: &str, object: &Value) -> Answer {
        let kind = "application/json";
        self.api.send(
            token,
            "POST",
            path,
            &Body {
                kind,
                text: &object.to_string(),
            },
        )
    }

    /// Puts `object` in the place of the one at `path`.
    pub fn replace(&self, path: &str, object: &Value) -> Answer {
        let kind = "application/json";
        self.api.send(
            &self.token,
            "PUT",
            path,
            &Body {
                kind,
                text: &object.to_string(),
            },
        )
    }

    /// Changes what `patch`, a merge patch, names in the object at `path`.
    pub fn patch(&self, path: &str, patch: &Value) -> Answer {
        let kind = "application/merge-patch+json";
        self.api.send(
            &self.token,
            "PATCH",
            path,
            &Body {
                kind,
                text: &patch.to_string(),
            },
        )
    }

    /// Deletes what is at `path`, at once.
    pub fn delete(&self, path: &str) -> Answer {
        let text = json!({"gracePeriodSeconds": 0}).to_string();
        let kind = "application/json";
        self.api
            .send(&self.token, "DELETE", path, &Body { kind, text: &text })
    }

    /// Makes a namespace with these labels, and in it the service account that each has.
    ///
    /// # Panics
    /// If it is refused.
    pub fn namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: Value = labels.iter().map(|&(name, value)| (name, value)).collect();
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        self.create("/api/v1/namespaces", &namespace).object();
        // The controllers may have been faster.
        let account = self.create_account(name, "default");
        assert!(account.is_success() || account.status == 409, "{account:?}");
    }

    /// Makes a service account.
    ///
    /// # Panics
    /// If it is refused.
    pub fn service_account(&self, namespace: &str, name: &str) {
        self.create_account(namespace, name).object();
    }

    fn create_account(&self, namespace: &str, name: &str) -> Answer {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        self.create(&path, &json!({"metadata": {"name": name}}))
    }

    /// A token of a service account for `audience`, as a kubelet asks for it on behalf of a stored
    /// `pod`, or for none.
    ///
    /// # Panics
    /// If it is refused.
    pub fn issue_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
        pod: Option<&Value>,
    ) -> String {
        let bound = pod.map(|pod| {
            let metadata = &pod["metadata"];
            json!({"kind": "Pod", "apiVersion": "v1", "name": metadata["name"],
                   "uid": metadata["uid"]})
        });
        let request = json!({"spec": {
            "audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound,
        }});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.create(&path, &request).object();
        let token = answer.pointer("/status/token").and_then(Value::as_str);
        token.expect("a token").to_owned()
    }

    /// The file that tells clients all they need to be a service account, with what it may do.
    ///
    /// # Panics
    /// If there is no such account.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.issue_token(namespace, account, Self::AUDIENCE, None);
        self.kubeconfig_with(&format!("{namespace}-{account}"), &token)
    }

    /// The file for whoever has `token`.
    pub(super) fn kubeconfig_with(&self, name: &str, token: &str) -> PathBuf {
        let name = format!("kubeconfig-{name}");
        let text = kubeconfig(&self.folder, self.address, token);
        write(&self.folder, &name, &text.to_string());
        self.folder.join(name)
    }

    /// Who asks for whoever may do everything, in any thread.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            api: Arc::clone(&self.api),
            token: self.token.clone(),
        }
    }

    /// Where all it keeps is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Calls kubectl, which ends after 40 s at the latest.
    ///
    /// # Panics
    /// If it cannot be called.
    pub fn kubectl(&self, arguments: &[&str]) -> Said {
        self.call("kubectl", arguments, "")
    }

    /// Calls kubectl with `input`: manifests for `apply -f -`, for example.
    ///
    /// # Panics
    /// If it cannot be called.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Said {
        self.call("kubectl", arguments, input)
    }

    /// kubectl with `arguments`, not started: for what runs until it is ended, such as `port-forward`.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let kubectl = Command::new(self.tools.join("kubectl"));
        let mut command = tools::at_home(kubectl, &self.folder, &self.kubeconfig());
        command.args(arguments);
        command
    }

    /// Calls Helm 3.
    ///
    /// # Panics
    /// If it cannot be called.
    pub fn helm3(&self, arguments: &[&str]) -> Said {
        self.call("helm3", arguments, "")
    }

    /// Calls Helm 4.
    ///
    /// # Panics
    /// If it cannot be called.
    pub fn helm4(&self, arguments: &[&str]) -> Said {
        self.call("helm4", arguments, "")
    }

    /// The API server's process.
    pub const fn server(&mut self) -> &mut Process {
        &mut self.server
    }

    /// The process of its etcd.
    pub const fn etcd(&mut self) -> &mut Process {
        &mut self.etcd
    }

    fn call(&self, program: &str, arguments: &[&str], input: &str) -> Said {
        let program = self.tools.join(program);
        tools::call(&program, arguments, input, &self.folder, &self.kubeconfig())
    }
}

/// Writes what the server and its clients read.
#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn prepare(folder: &Path, authority: &Authority, token: &str, place: &Place) {
    let (ip, own_service) = (
        place.address.ip().to_string(),
        place.own_service.to_string(),
    );
    let serving = authority.issue(&[&ip, &own_service, "localhost", "kubernetes.default.svc"]);
    let accounts = rcgen::KeyPair::generate().expect("make the key of service accounts");
    let users = format!("{token},admin,admin,\"system:masters\"\n{}", place.users);
    let kubeconfig = kubeconfig(folder, place.address, token).to_string();
    for (name, text) in [
        ("ca.crt", authority.pem()),
        ("apiserver.crt", serving.certificate),
        ("apiserver.key", serving.key),
        ("accounts.key", accounts.serialize_pem()),
        ("accounts.pub", accounts.public_key_pem()),
        ("tokens.csv", users),
        ("kubeconfig", kubeconfig),
    ] {
        write(folder, name, &text);
    }
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
fn write(folder: &Path, name: &str, text: &str) {
    File::create(folder.join(name))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("write what the API server or its clients read");
}

/// What clients are told who have `token`.
fn kubeconfig(folder: &Path, address: SocketAddr, token: &str) -> Value {
    let server = format!("https://{address}");
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {
            "server": server, "certificate-authority": folder.join("ca.crt"),
        }}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    })
}

fn start_etcd(program: &Path, folder: &Path, client: SocketAddr, peer: SocketAddr) -> Process {
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .arg("--unsafe-no-fsync")
        .args(["--log-level", "warn"])
        .arg(format!("--listen-client-urls=http://{client}"))
        .arg(format!("--advertise-client-urls=http://{client}"))
        .arg(format!("--listen-peer-urls=http://{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
        .arg(format!("--initial-cluster=default=http://{peer}"));
    Process::start(&mut command, &folder.join("etcd.log"), || {
        super::get(client, "/health").is_some()
    })
}

fn start_server(
    program: &Path,
    folder: &Path,
    place: &Place,
    etcd: SocketAddr,
    is_up: impl Fn() -> bool,
) -> Process {
    let file = |option: &str, name: &str| format!("--{option}={}", folder.join(name).display());
    let mut command = Command::new(program);
    command
        .arg(format!("--etcd-servers=http://{etcd}"))
        .arg(format!("--secure-port={}", place.address.port()))
        .arg(format!("--bind-address={}", place.address.ip()))
        .args(&place.options)
        .arg(file("tls-cert-file", "apiserver.crt"))
        .arg(file("tls-private-key-file", "apiserver.key"))
        .arg(file("client-ca-file", "ca.crt"))
        .arg(file("token-auth-file", "tokens.csv"))
        .arg("--authorization-mode=Node,RBAC")
        .arg(format!("--service-cluster-ip-range={}", place.services))
        .arg(format!("--service-account-issuer={}", Kubernetes::AUDIENCE))
        .arg(file("service-account-key-file", "accounts.pub"))
        .arg(file("service-account-signing-key-file", "accounts.key"))
        .arg("--enable-priority-and-fairness=false");
    Process::start(&mut command, &folder.join("kube-apiserver.log"), is_up)
}
