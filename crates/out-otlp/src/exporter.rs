//! One exporter of the library a service: a resource is set for good when an exporter is made.

use model::ids::TraceId;
use opentelemetry::KeyValue;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use crate::batch::Batch;
use crate::client::Courier;
use crate::error::Error;
use crate::metrics::{Dropped, Metrics};
use crate::settings::OtlpSettings;
use crate::wire::{self, Judgement};

/// A pod has one service; its proxy may call itself otherwise.
const EXPORTERS_MAX: usize = 8;

/// Sends batches to one receiver.
#[derive(Debug)]
pub struct Exporter {
    courier: Courier,
    settings: OtlpSettings,
    constants: Vec<KeyValue>,
    metrics: Metrics,
    /// By service, the one used last in front.
    exporters: Vec<(String, SpanExporter)>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done with, and counted.
    Done,
    /// It is larger than the receiver takes: nothing of it was taken or counted; smaller ones may be.
    TooLarge,
}

impl Exporter {
    /// Checks the settings; opens nothing yet. `constants` are attributes of every resource.
    ///
    /// # Errors
    /// [`Error::Settings`] if they contradict themselves.
    pub fn new(
        settings: OtlpSettings,
        constants: Vec<(&'static str, String)>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        settings.check()?;
        let constant = |(key, value)| KeyValue::new::<&'static str, String>(key, value);
        Ok(Self {
            courier: Courier::new(&settings, metrics.clone()),
            settings,
            constants: constants.into_iter().map(constant).collect(),
            metrics,
            exporters: Vec::new(),
        })
    }

    /// Most spans of one batch.
    pub const fn batch_spans(&self) -> usize {
        self.settings.batch_spans
    }

    #[cfg(test)]
    pub(crate) fn set_backoff(&mut self, backoff: net::Backoff) {
        self.courier.set_backoff(backoff);
    }

    #[cfg(test)]
    pub(crate) const fn known(&self) -> usize {
        self.exporters.len()
    }

    /// Its figures.
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends the batch until there is an answer that is final; ends early only by being dropped.
    ///
    /// # Errors
    /// If the library's exporter cannot be made, or does not send. Nothing was counted then.
    pub async fn export(&mut self, batch: Batch) -> Result<Outcome, Error> {
        let spans = batch.len() as u64;
        let Batch {
            service,
            spans: data,
            counts,
            ..
        } = batch;
        let mut lost = None;
        if spans > 0 {
            let first = data
                .first()
                .map(|span| TraceId(span.span_context.trace_id().to_bytes()));
            let sent = self.exporter(&service)?.export(data).await;
            match self.courier.take_outcome() {
                Some(Judgement::TooLarge) if spans > 1 => return Ok(Outcome::TooLarge),
                Some(judgement) => lost = self.lost(&judgement, spans, first),
                None => {
                    let error = sent.err().map(|error| error.to_string());
                    tracing::error!(spans, error, "spans could not be encoded");
                    lost = Some((Dropped::Refused, spans));
                }
            }
        }
        let (reason, rejected) = lost.unwrap_or((Dropped::PartialSuccess, 0));
        if rejected > 0 {
            self.metrics.drop(reason, rejected);
        }
        self.metrics.exported.inc_by(spans.saturating_sub(rejected));
        counts.add_to(&self.metrics);
        Ok(Outcome::Done)
    }

    /// How many of the spans the receiver did not take, and why.
    fn lost(
        &self,
        judgement: &Judgement,
        spans: u64,
        first: Option<TraceId>,
    ) -> Option<(Dropped, u64)> {
        let (reason, lost, said) = match judgement {
            Judgement::Taken { rejected: 0, said } => {
                if !said.is_empty() {
                    tracing::info!(said, "the receiver took all spans and remarks");
                }
                return None;
            }
            Judgement::Taken { rejected, said } => {
                (Dropped::PartialSuccess, spans.min(*rejected), said.as_str())
            }
            Judgement::TooLarge => (Dropped::TooLarge, spans, ""),
            Judgement::Refused { said, .. } => (Dropped::Refused, spans, said.as_str()),
        };
        tracing::error!(
            endpoint = %self.settings.endpoint,
            reason = reason.name(),
            spans = lost,
            first_trace = first.map(|trace| trace.to_string()),
            said,
            "the receiver will never take these spans"
        );
        Some((reason, lost))
    }

    fn exporter(&mut self, service: &str) -> Result<&SpanExporter, Error> {
        let known = self.exporters.iter().position(|(name, _)| name == service);
        if let Some(place) = known {
            if let Some(known) = self.exporters.get_mut(..=place) {
                known.rotate_right(1);
            }
        } else {
            let exporter = self.build(service)?;
            self.exporters.truncate(EXPORTERS_MAX - 1);
            self.exporters.insert(0, (service.to_owned(), exporter));
        }
        let front = self.exporters.first();
        front
            .map(|(_, exporter)| exporter)
            .ok_or(Error::Settings("no exporter was made"))
    }

    /// Everything that the environment could say is said here.
    fn build(&self, service: &str) -> Result<SpanExporter, Error> {
        let url = self.settings.endpoint.url(wire::TRACES);
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(self.courier.clone())
            .with_endpoint(url.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.settings.request_timeout())
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|source| Error::Build { url, source })?;
        let resource = Resource::builder_empty()
            .with_service_name(service.to_owned())
            .with_attributes(self.constants.iter().cloned())
            .build();
        exporter.set_resource(&resource);
        Ok(exporter)
    }
}
