//! The settings file of one sidecar.

use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The hub.
    pub(crate) hub: Option<SocketAddr>,
    /// A forward receiver to deliver to.
    pub(crate) forward: Option<SocketAddr>,
    /// An Elasticsearch to deliver to.
    pub(crate) elastic: Option<SocketAddr>,
    /// A receiver of OTLP over HTTP to send traces to.
    pub(crate) otlp: Option<SocketAddr>,
    /// What it is told about noise, as a YAML mapping.
    pub(crate) otlp_noise: Option<&'static str>,
}

impl Settings {
    /// The file.
    pub(crate) fn to_yaml(&self) -> String {
        let pairs = |pairs: &[(&str, &str)]| -> String {
            let line = |(key, value): &(&str, &str)| format!("{key}: {}\n", quoted(value));
            pairs.iter().map(line).collect()
        };
        let mut yaml = pairs(&[
            ("service", &self.service),
            ("state_dir", &self.state_dir.to_string_lossy()),
        ]);
        let text = |address: SocketAddr| address.to_string();
        let url = |address: SocketAddr| format!("http://{address}");
        yaml += "logs:\n";
        yaml += &pairs(&[("  pod_dir", &self.pod_dir.to_string_lossy())]);
        yaml += "spans:\n";
        yaml += &pairs(&[("  listen", &text(self.spans))]);
        yaml += "admin:\n";
        yaml += &pairs(&[("  listen", &text(self.admin))]);
        yaml += "attribution:\n";
        yaml += &pairs(&[("  wait", &self.wait)]);
        if let Some(hub) = self.hub {
            yaml += "hub:\n  addresses:\n";
            yaml += &["    - ", &quoted(&url(hub)), "\n"].concat();
        }
        yaml += "lanes:\n";
        if let Some(address) = self.forward {
            yaml += "  forward:\n";
            yaml += &pairs(&[("    address", &text(address))]);
        }
        if let Some(address) = self.elastic {
            yaml += "  elastic:\n";
            yaml += &pairs(&[("    url", &url(address))]);
        }
        if let Some(address) = self.otlp {
            yaml += "  otlp:\n";
            yaml += &pairs(&[("    url", &url(address))]);
            if let Some(noise) = self.otlp_noise {
                yaml += &["    noise: ", noise, "\n"].concat();
            }
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
            hub: Some(address(3)),
            forward: Some(address(4)),
            elastic: Some(address(3)),
            otlp: Some(address(5)),
            otlp_noise: Some("{scrapes: 0}"),
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
  addresses:
    - "http://127.0.0.1:3"
lanes:
  forward:
    address: "127.0.0.1:4"
  elastic:
    url: "http://127.0.0.1:3"
  otlp:
    url: "http://127.0.0.1:5"
    noise: {scrapes: 0}
"#
        );
    }
}
