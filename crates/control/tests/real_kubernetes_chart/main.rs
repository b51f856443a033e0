//! The chart: what it renders, and what a real API server makes of it, with Helm 3 and Helm 4.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test panics where it fails"
)]

mod installs;
mod renders;
mod serves;
mod upgrades;

use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::peers::{Kubernetes, Said};

/// Calls one of both Helms.
type Helm = fn(&Kubernetes, &[&str]) -> Said;

const HELMS: [Helm; 2] = [Kubernetes::helm3, Kubernetes::helm4];

/// What says where lines go, without which nothing is rendered.
const DESTINATION: &str = "sidecar.config.lanes.elastic.url=https://elastic.logging.svc:9200";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/emco-observer")
}

fn read(file: &str) -> String {
    let bytes = std::fs::read(chart().join(file)).expect("the chart has it");
    String::from_utf8(bytes).expect("text")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}
