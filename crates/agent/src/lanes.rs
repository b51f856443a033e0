//! The destinations that the settings name.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use head::{FileDocuments, Origins};
use in_tail::FileSet;
use net::Endpoint;
use out_elastic::{BulkEncoder, Elastic, ElasticSettings};
use out_forward::{Forward, ForwardEncoder, ForwardSettings};
use out_otlp::{Exporter, NoiseSettings, OtlpSettings, Rate};
use pipeline::output::{Encoder, Output};
use pipeline::{DeadLetters, Lane, LaneHandle, LaneSettings, Limits, LogHandle, Metrics, Recent};
use prometheus::Registry;
use telemetry::cpu::Meter;

use crate::renewal::{Renewal, renewing};
use crate::settings::{self, Compression};

/// What every lane needs.
pub(crate) struct Shared<'a> {
    pub(crate) log: LogHandle,
    pub(crate) files: Arc<FileSet>,
    pub(crate) origins: Origins,
    pub(crate) recent: Recent,
    pub(crate) zone_offset_seconds: i32,
    pub(crate) state_dir: &'a Path,
    pub(crate) metrics: &'a Metrics,
    pub(crate) meter: &'a Meter,
    pub(crate) queues: &'a spool::Metrics,
    pub(crate) registry: &'a Registry,
}

/// The names of the lanes that are configured.
pub(crate) fn names(lanes: &settings::Lanes) -> Vec<&'static str> {
    let forward = lanes.forward.is_some().then_some("forward");
    let elastic = lanes.elastic.is_some().then_some("elastic");
    forward.into_iter().chain(elastic).collect()
}

/// What keeps lanes that are configured from being set up, by the key of the lane.
pub(crate) fn problems(lanes: &settings::Lanes) -> Vec<(&'static str, anyhow::Error)> {
    let mut problems = Vec::new();
    if let Some(forward) = &lanes.forward
        && let Err(error) = check_forward(forward)
    {
        problems.push(("lanes.forward", error));
    }
    if let Some(elastic) = &lanes.elastic
        && let Err(error) = check_elastic(elastic)
    {
        problems.push(("lanes.elastic", error));
    }
    if let Some(otlp) = &lanes.otlp
        && let Err(error) = check_otlp(otlp)
    {
        problems.push(("lanes.otlp", error));
    }
    problems
}

fn check_otlp(otlp: &settings::Otlp) -> Result<()> {
    let metrics = out_otlp::Metrics::new(&Registry::new())?;
    Exporter::new(otlp_settings(otlp)?, Vec::new(), metrics)
        .map(drop)
        .context("cannot set up the OTLP destination")
}

fn check_forward(forward: &settings::Forward) -> Result<()> {
    let metrics = out_forward::Metrics::new(&Registry::new())?;
    set_up_forward(forward, metrics).map(drop)
}

fn check_elastic(elastic: &settings::Elastic) -> Result<()> {
    let metrics = out_elastic::Metrics::new(&Registry::new())?;
    set_up_elastic(elastic, metrics).map(drop)
}

fn set_up_forward(
    forward: &settings::Forward,
    metrics: out_forward::Metrics,
) -> Result<(ForwardSettings, Forward)> {
    let settings = forward_settings(forward)?;
    let output =
        Forward::new(settings.clone(), metrics).context("cannot set up the forward destination")?;
    Ok((settings, output))
}

fn set_up_elastic(
    elastic: &settings::Elastic,
    metrics: out_elastic::Metrics,
) -> Result<(ElasticSettings, Elastic)> {
    let settings = elastic_settings(elastic)?;
    let output = Elastic::new(settings.clone(), metrics)
        .context("cannot set up the Elasticsearch destination")?;
    Ok((settings, output))
}

/// Gives running lanes a destination with other settings.
#[derive(Default)]
pub(crate) struct Renewals {
    forward: Option<(Renewal<Forward>, out_forward::Metrics)>,
    elastic: Option<(Renewal<Elastic>, out_elastic::Metrics)>,
}

impl Renewals {
    /// The forward lane goes on as `lanes` say, if it runs.
    pub(crate) fn renew_forward(&self, lanes: &settings::Lanes) -> Result<()> {
        if let (Some((renewal, metrics)), Some(forward)) = (&self.forward, &lanes.forward) {
            let (_, output) = set_up_forward(forward, metrics.clone())?;
            renewal.renew(output);
        }
        Ok(())
    }

    /// The Elasticsearch lane goes on as `lanes` say, if it runs.
    pub(crate) fn renew_elastic(&self, lanes: &settings::Lanes) -> Result<()> {
        if let (Some((renewal, metrics)), Some(elastic)) = (&self.elastic, &lanes.elastic) {
            let (_, output) = set_up_elastic(elastic, metrics.clone())?;
            renewal.renew(output);
        }
        Ok(())
    }
}

/// Starts every lane that is configured.
pub(crate) fn spawn(
    lanes: &settings::Lanes,
    shared: &Shared<'_>,
) -> Result<(Vec<LaneHandle>, Renewals)> {
    let mut handles = Vec::new();
    let mut renewals = Renewals::default();
    if let Some(forward) = &lanes.forward {
        let metrics = out_forward::Metrics::new(shared.registry)?;
        let (settings, output) = set_up_forward(forward, metrics.clone())?;
        let (output, renewal) = renewing(output);
        let lane = LaneSettings {
            in_flight_max: settings.in_flight_max,
            ..LaneSettings::default()
        };
        handles.push(start(
            "forward",
            lane,
            ForwardEncoder::new(),
            output,
            shared,
        )?);
        renewals.forward = Some((renewal, metrics));
    }
    if let Some(elastic) = &lanes.elastic {
        let metrics = out_elastic::Metrics::new(shared.registry)?;
        let (settings, output) = set_up_elastic(elastic, metrics.clone())?;
        let (output, renewal) = renewing(output);
        let lane = LaneSettings {
            in_flight_max: settings.in_flight_max,
            ..LaneSettings::default()
        };
        let encoder = BulkEncoder::new(&settings);
        handles.push(start("elastic", lane, encoder, output, shared)?);
        renewals.elastic = Some((renewal, metrics));
    }
    Ok((handles, renewals))
}

fn start(
    name: &'static str,
    settings: LaneSettings,
    encoder: impl Encoder + 'static,
    output: impl Output,
    shared: &Shared<'_>,
) -> Result<LaneHandle> {
    let letters = shared.state_dir.join("dead-letters").join(name);
    let queue = shared.queues.queue(name);
    let letters = DeadLetters::open(&letters, Limits::default(), queue)
        .with_context(|| format!("cannot open dead letters in {}", letters.display()))?;
    let lane = Lane {
        name: name.to_owned(),
        settings,
        log: shared.log.clone(),
        documents: Box::new(FileDocuments::new(
            shared.log.clone(),
            Arc::clone(&shared.files),
            shared.origins.clone(),
            shared.recent.clone(),
            shared.zone_offset_seconds,
        )),
        encoder: Box::new(encoder),
        letters: Some(letters),
        metrics: shared.metrics.lane(name),
        meter: shared.meter.clone(),
    };
    lane.spawn(output)
        .with_context(|| format!("cannot start lane {name}"))
}

fn endpoint(text: &str) -> Result<Endpoint> {
    text.parse()
        .with_context(|| format!("{text:?} is no address of a destination"))
}

fn forward_settings(forward: &settings::Forward) -> Result<ForwardSettings> {
    let mut settings = ForwardSettings::new(endpoint(&forward.address)?);
    if let Some(tag) = &forward.tag {
        settings.tag.clone_from(tag);
    }
    settings.compression = match forward.compression {
        Compression::None => out_forward::Compression::None,
        Compression::Gzip => out_forward::Compression::Gzip,
    };
    settings.tls = forward.tls.clone().map(Into::into);
    settings
        .shared_key_file
        .clone_from(&forward.shared_key_file);
    settings.username.clone_from(&forward.username);
    settings.password_file.clone_from(&forward.password_file);
    if let Some(limit) = forward.ack_timeout {
        settings.ack_timeout_seconds = limit.as_secs();
    }
    Ok(settings)
}

fn elastic_settings(elastic: &settings::Elastic) -> Result<ElasticSettings> {
    let mut settings = ElasticSettings::new(endpoint(&elastic.url)?);
    if let Some(prefix) = &elastic.index_prefix {
        settings.index_prefix.clone_from(prefix);
    }
    settings.compression = match elastic.compression {
        Compression::None => out_elastic::Compression::None,
        Compression::Gzip => out_elastic::Compression::Gzip,
    };
    settings.tls = elastic.tls.clone().into();
    settings.username.clone_from(&elastic.username);
    settings.password_file.clone_from(&elastic.password_file);
    settings.api_key_file.clone_from(&elastic.api_key_file);
    settings.token_file.clone_from(&elastic.token_file);
    if let Some(limit) = elastic.request_timeout {
        settings.request_timeout_seconds = limit.as_secs();
    }
    Ok(settings)
}

/// What the exporter of spans is told.
pub(crate) fn otlp_settings(otlp: &settings::Otlp) -> Result<OtlpSettings> {
    let mut settings = OtlpSettings::new(endpoint(&otlp.url)?);
    if let Some(spans) = otlp.batch_spans {
        settings.batch_spans = spans;
    }
    if let Some(limit) = otlp.request_timeout {
        settings.request_timeout_seconds = limit.as_secs();
    }
    settings.tls = otlp.tls.clone().into();
    settings.token_file.clone_from(&otlp.token_file);
    settings.compression = match otlp.compression {
        Compression::None => out_otlp::Compression::None,
        Compression::Gzip => out_otlp::Compression::Gzip,
    };
    let rate = |share: f64| Rate::try_from(share).map_err(anyhow::Error::msg);
    settings.noise = NoiseSettings {
        metrics_polls: rate(otlp.noise.metrics_polls)?,
        scrapes: rate(otlp.noise.scrapes)?,
        etcd_polls: rate(otlp.noise.etcd_polls)?,
        etcd_reads: rate(otlp.noise.etcd_reads)?,
    };
    Ok(settings)
}
