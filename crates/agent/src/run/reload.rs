//! New settings for a sidecar that runs.

use anyhow::Result;
use head::SharedLedger;
use hub::HubHandle;
use telemetry::health::Health;
use telemetry::logs::Logs;

use crate::adoption::{self, Adopted};
use crate::configuration::Change;
use crate::lanes::Renewals;
use crate::settings::Settings;
use crate::span_lane::SpanLaneHandle;

/// The part of our health that stands for the settings.
const SETTINGS: &str = "settings";

/// What holds now, and how to change it.
pub(super) struct Current {
    pub(super) settings: Settings,
    logs: Logs,
    health: Health,
    renewals: Renewals,
    hub: HubHandle,
    ledger: SharedLedger,
}

impl Current {
    /// What a sidecar was started with.
    pub(super) fn new(
        settings: &Settings,
        (logs, health): (&Logs, &Health),
        renewals: Renewals,
        (hub, ledger): (&HubHandle, &SharedLedger),
    ) -> Self {
        Self {
            settings: settings.clone(),
            logs: logs.clone(),
            health: health.clone(),
            renewals,
            hub: hub.clone(),
            ledger: ledger.clone(),
        }
    }

    /// Takes what can be taken at once and says by name what cannot. Settings that cannot be used
    /// change nothing.
    pub(super) fn change(&mut self, change: Change, traces: Option<&SpanLaneHandle>) {
        let new = match change.loaded {
            Ok(new) => new,
            Err(mistakes) => {
                let why = mistakes.brief();
                tracing::error!(
                    why,
                    "new settings cannot be used, those before them stay in use"
                );
                let reason = format!("{why}; the settings before it stay in use");
                return self.health.set(SETTINGS, reason);
            }
        };
        let adopted = adoption::adopt(&mut self.settings, new);
        let failed = self.apply(&adopted, change.asked, traces);
        let Adopted { taken, restart } = adopted;
        tracing::info!(taken = ?taken, needs_restart = ?restart, "settings were read again");
        let mut reasons = Vec::new();
        if !restart.is_empty() {
            let keys = restart.join(", ");
            reasons.push(format!("these changes need a restart: {keys}"));
        }
        if let Err(error) = failed {
            reasons.push(format!("{error:#}"));
        }
        if reasons.is_empty() {
            self.health.clear(SETTINGS);
        } else {
            self.health.set(SETTINGS, reasons.join("; "));
        }
    }

    /// `all` makes connections anew even if nothing about them is new.
    fn apply(
        &mut self,
        adopted: &Adopted,
        all: bool,
        traces: Option<&SpanLaneHandle>,
    ) -> Result<()> {
        let settings = &self.settings;
        let is_new = |key: &str| adopted.taken.iter().any(|taken| taken.starts_with(key));
        if is_new("log_level") {
            self.logs.set_filter(&settings.log_level)?;
        }
        if is_new("attribution.wait") {
            self.ledger
                .lock()
                .set_wait(super::nanos(*settings.attribution.wait));
        }
        if is_new("lanes.forward") || all {
            self.renewals.renew_forward(&settings.lanes)?;
        }
        if is_new("lanes.elastic") || all {
            self.renewals.renew_elastic(&settings.lanes)?;
        }
        if let Some(traces) = traces
            && (is_new("lanes.otlp") || is_new("attribution.wait") || all)
        {
            traces.renew(settings)?;
        }
        if is_new("hub") || all {
            let hub = settings.hub.clone();
            let tls = hub.tls.into();
            self.hub.point_to(hub.addresses, hub.token_file, tls)?;
        }
        Ok(())
    }
}
