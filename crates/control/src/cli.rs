//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::inject::{Evidence, Istio, KubernetesVersion, LogMode, PodSecurity, SidecarKind};
use crate::settings;

/// Puts the sidecar emco-observer into EMCO's pods, and takes it out again.
#[derive(Debug, Parser)]
#[command(name = "emco-observer-control", version, propagate_version = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Gives the pods in a file of manifests their sidecar, without a cluster.
    ///
    /// Reads YAML or JSON with any number of documents and lists; pods that are not EMCO's and
    /// everything that is no workload stay as they are. What was done with each workload is said on
    /// stderr.
    Inject(Box<Inject>),
    /// Takes the sidecar out of the pods in a file of manifests.
    Eject(Files),
    /// Runs the control plane in a cluster until SIGTERM: the webhook that gives new pods their sidecar,
    /// and its certificates.
    Serve(Serve),
    /// Says which pods have a sidecar, which one, and what to do next about each.
    ///
    /// Asks the API server that kubeconfig, or the pod this runs in, names; the right to list namespaces
    /// and pods is enough, and nothing is changed.
    #[command(after_help = STATUS_HELP)]
    Status(Status),
    /// Gives the sidecars of running pods the image of now, one pod after the other, without a restart
    /// of EMCO.
    ///
    /// Asks the API server that kubeconfig names, with the rights to list namespaces and nodes, and to
    /// list, get and patch pods. Waits until the new sidecar runs before the next pod has its turn; if
    /// it does not run, its old image is put back and that is the end. To be called again at any time.
    #[command(after_help = UPGRADE_HELP)]
    Upgrade(Upgrade),
    /// Proves that pods get their sidecar and that lines arrive: makes a pod that writes one line, waits
    /// until that has arrived, and deletes the pod.
    ///
    /// Asks the API server that kubeconfig, or the pod this runs in, names, with the rights to create,
    /// get and delete pods and to get pods/proxy in each namespace. `helm test` runs it.
    Verify(Verify),
    /// Writes one line as EMCO does and waits for SIGTERM: what the pod of `verify` runs.
    #[command(hide = true)]
    Say {
        /// What the line says.
        text: String,
    },
}

/// What `upgrade` can do, and what not.
const UPGRADE_HELP: &str = "\
Kubernetes lets nothing of a container in a running pod be changed but its image. Pods with a sidecar
of which other settings are old are named, and restarted with --restart; that needs the rights to
create pods (which is only tried), to create pods/eviction and to get pods/proxy, too. Pods without a
sidecar cannot say what they are doing: they are named with what to do.

With the control plane's own settings:
  kubectl get configmap --namespace NAMESPACE emco-observer-control \\
    --output 'jsonpath={.data.config\\.yaml}' | emco-observer-control upgrade --config -";

/// What the words of `status` mean.
const STATUS_HELP: &str = "\
STANDING is one of
  current    it has the sidecar that it should have
  outdated   it has another one: another image, or other settings than those of --config
  missing    it should have one and has none, as it is older than the webhook or the label
  stuck      a container of ours does not run, and EMCO's waits for it
  failing    the sidecar does not run, EMCO's container does
  refused    it should have one and cannot
  opted_out  it says emco-observer.io/inject: \"false\"
  not_ours   it is not EMCO's, or nobody asks for a sidecar

LOGS: hostpath (the node's files), wrap (written in front of EMCO's command), none
SPANS: overlay (a copy of EMCO's configuration leads them to the sidecar), config (EMCO's own does),
unknown (they come if it does, but it may not be read), elsewhere (to another Zipkin), none

With the control plane's own settings:
  kubectl exec --namespace NAMESPACE deploy/emco-observer-control -- \\
    /emco-observer-control status --config /etc/emco-observer-control/config.yaml";

/// What is asked of pods.
#[derive(Debug, Args)]
pub struct Status {
    /// Namespace to look at, again for each more; all that are labelled emco-observer.io/inject=true
    /// unless named.
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// Form of the answer.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: Output,
    /// YAML file with the settings of the control plane; they say which sidecar is wanted. Without it, and
    /// without --image, sidecars of another version than this program's are outdated.
    #[arg(long, value_name = "FILE", env = "EMCO_OBSERVER_CONTROL_CONFIG")]
    pub config: Option<PathBuf>,
    /// The image that sidecars should have.
    #[arg(long)]
    pub image: Option<String>,
}

/// What is upgraded.
#[derive(Debug, Args)]
pub struct Upgrade {
    /// YAML file with the settings of the control plane; they say which sidecar is wanted. `-` is stdin.
    #[arg(long, value_name = "FILE", env = "EMCO_OBSERVER_CONTROL_CONFIG")]
    pub config: PathBuf,
    /// Namespace to look at, again for each more; all that are labelled emco-observer.io/inject=true
    /// unless named.
    #[arg(short, long = "namespace", value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,
    /// Restarts pods that only get what they should have by that: one after the other, each by eviction
    /// once its sidecar says that no request is in flight, and only while new pods do get their sidecar.
    #[arg(long)]
    pub restart: bool,
    /// How long a new sidecar may need until it runs, its image's download included; with --restart also
    /// how long a pod may be busy, and its successor need until it is ready.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = settings::parse_duration)]
    pub timeout: Duration,
    /// Only says what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// What is verified.
#[derive(Debug, Args)]
pub struct Verify {
    /// Namespace whose pods should get a sidecar, again for each more.
    #[arg(short, long = "namespace", value_name = "NAMESPACE", required = true)]
    pub namespaces: Vec<String>,
    /// Image with this program, which the pod runs.
    #[arg(long)]
    pub image: String,
    /// Secret with which it is fetched, in those namespaces; again for each more.
    #[arg(long = "image-pull-secret", value_name = "SECRET")]
    pub image_pull_secrets: Vec<String>,
    /// How long each step may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = settings::parse_duration)]
    pub timeout: Duration,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table.
    Text,
    /// For programs.
    Json,
}

/// Where the settings of the control plane are.
#[derive(Debug, Args)]
pub struct Serve {
    /// YAML file with the settings; without one all are defaults.
    #[arg(long, value_name = "FILE", env = "EMCO_OBSERVER_CONTROL_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Where manifests come from and go to.
#[derive(Debug, Args)]
pub struct Files {
    /// File with manifests; `-` is stdin.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE",
        default_value = "-"
    )]
    pub filename: PathBuf,
    /// File for the result; stdout unless named.
    #[arg(short, long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

/// How the sidecar is put in, and what the cluster would say.
#[derive(Debug, Args)]
pub struct Inject {
    /// Files.
    #[command(flatten)]
    pub files: Files,
    /// YAML file with the settings of injection; flags win over it.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The sidecar's image.
    #[arg(long)]
    pub image: Option<String>,
    /// Where lines come from: auto, hostpath, wrap or none.
    #[arg(long, value_name = "MODE", value_parser = word::<LogMode>)]
    pub logs: Option<LogMode>,
    /// What kind of container the sidecar is: auto, native, plain or optional.
    #[arg(long, value_name = "KIND", value_parser = word::<SidecarKind>)]
    pub sidecar: Option<SidecarKind>,
    /// What EMCO is told to record: full, limited or as-sampled.
    #[arg(long, value_name = "HOW", value_parser = word::<Evidence>)]
    pub evidence: Option<Evidence>,
    /// Leaves EMCO's configuration alone.
    #[arg(long)]
    pub no_overlay: bool,
    /// Version of the oldest part of the cluster; without it the sidecar is a plain container.
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// Pod Security level that the namespace enforces: privileged, baseline or restricted.
    #[arg(long, value_name = "LEVEL", default_value = "privileged")]
    pub pod_security: PodSecurity,
    /// Whether Istio injects there.
    #[arg(long, value_name = "BOOL")]
    pub istio: Option<bool>,
}

impl Inject {
    /// What is known of Istio.
    pub fn istio(&self) -> Istio {
        match self.istio {
            None => Istio::Unknown,
            Some(true) => Istio::Injects,
            Some(false) => Istio::Absent,
        }
    }
}

/// One of the words that settings know.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::from(text))
}
