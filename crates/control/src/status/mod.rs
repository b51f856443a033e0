//! The command `status`: who has a sidecar and which, asked of the API server.
//!
//! | module | is |
//! |---|---|
//! | `ask` | namespaces, versions and pods, with the rights of a reader |
//! | `table` | what is said of them, for people |

mod ask;
mod table;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cluster::client;
use crate::inject::Settings;
use crate::process::block_on;
use crate::watchdog::{PodReport, Standing};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Question {
    /// Where; all injected namespaces if none is named.
    pub(crate) namespaces: Vec<String>,
    /// How pods should get their sidecar.
    pub(crate) settings: Settings,
    /// Whether these are the control plane's.
    pub(crate) settings_are_known: bool,
    /// The image that sidecars should have, if that is known.
    pub(crate) image: Option<String>,
}

/// Everything that is said.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    pods: Vec<PodReport>,
    counts: BTreeMap<Standing, usize>,
    /// Namespaces that could not be read, and why.
    #[serde(skip)]
    pub(crate) unread: Vec<String>,
}

impl Answer {
    fn new(pods: Vec<PodReport>, unread: Vec<String>) -> Self {
        let mut counts = BTreeMap::new();
        for pod in &pods {
            *counts.entry(pod.standing).or_default() += 1;
        }
        Self {
            pods,
            counts,
            unread,
        }
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        table::table(&self.pods, &self.counts)
    }

    /// For programs.
    pub(crate) fn to_json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("cannot write the answer")?;
        text.push('\n');
        Ok(text)
    }
}

/// Asks the API server that kubeconfig or the pod around us names.
///
/// # Errors
/// If it cannot be asked.
pub(crate) fn run(question: &Question) -> Result<Answer> {
    block_on(async {
        let client = client().await?;
        let (pods, unread) = ask::ask(&client, question).await?;
        Ok(Answer::new(pods, unread))
    })
}
