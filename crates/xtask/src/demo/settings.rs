//! The settings file of one sidecar.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::args::LaneName;

/// What a sidecar of the demo is told.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The service beside which it stands.
    pub(crate) service: String,
    /// Where it keeps its state.
    pub(crate) state_dir: PathBuf,
    /// The pod's log directory.
    pub(crate) pod_dir: PathBuf,
    /// Where it takes spans.
    pub(crate) spans: SocketAddr,
    /// Where it shows metrics and health.
    pub(crate) admin: SocketAddr,
    /// How long a line waits for evidence.
    pub(crate) wait: String,
    /// The lab's HTTP address: hub and bulk API.
    pub(crate) lab_http: SocketAddr,
    /// The lab's forward receiver.
    pub(crate) lab_forward: SocketAddr,
    /// The destinations.
    pub(crate) lanes: Vec<LaneName>,
}

impl Settings {
    /// The file.
    pub(crate) fn to_yaml(&self) -> String {
        let mut yaml = format!(
            "service: {}\nstate_dir: {}\nlogs:\n  pod_dir: {}\nspans:\n  listen: {}\n\
             admin:\n  listen: {}\nattribution:\n  wait: {}\nhub:\n  addresses: [{}]\nlanes:\n",
            quoted(&self.service),
            quoted(&self.state_dir.to_string_lossy()),
            quoted(&self.pod_dir.to_string_lossy()),
            quoted(&self.spans.to_string()),
            quoted(&self.admin.to_string()),
            quoted(&self.wait),
            quoted(&format!("http://{}", self.lab_http)),
        );
        for lane in &self.lanes {
            let (key, value) = match lane {
                LaneName::Forward => ("address", self.lab_forward.to_string()),
                LaneName::Elastic => ("url", format!("http://{}", self.lab_http)),
            };
            // Writing to a string does not fail.
            let _infallible = writeln!(yaml, "  {}:\n    {key}: {}", lane.name(), quoted(&value));
        }
        yaml
    }
}

/// A YAML string in double quotes: JSON's strings are a part of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_the_keys_the_sidecar_reads() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let settings = Settings {
            service: "clm".to_owned(),
            state_dir: "run/state".into(),
            pod_dir: "run/pods/emco_clm-1_u".into(),
            spans: address(1),
            admin: address(2),
            wait: "2s".to_owned(),
            lab_http: address(3),
            lab_forward: address(4),
            lanes: vec![LaneName::Forward, LaneName::Elastic],
        };
        assert_eq!(
            settings.to_yaml(),
            r#"service: "clm"
state_dir: "run/state"
logs:
  pod_dir: "run/pods/emco_clm-1_u"
spans:
  listen: "127.0.0.1:1"
admin:
  listen: "127.0.0.1:2"
attribution:
  wait: "2s"
hub:
  addresses: ["http://127.0.0.1:3"]
lanes:
  forward:
    address: "127.0.0.1:4"
  elastic:
    url: "http://127.0.0.1:3"
"#
        );
    }
}
