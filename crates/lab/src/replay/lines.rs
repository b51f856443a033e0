//! The lines of one service, written into its container's log at their times.

use std::collections::VecDeque;
use std::sync::Arc;

use model::ids::DocumentId;
use serde::Deserialize;

use super::Context;
use super::corpus::Lines;
use super::cri::Group;
use super::logs::ContainerLog;
use super::manifest::{Record, Truth};
use super::pace::now_ns;
use super::pods::Pod;

/// A line of `<service>.truth.jsonl.gz`.
#[derive(Debug, Deserialize)]
struct TruthLine {
    t_ns: u64,
    how: String,
    #[serde(rename = "_true_trace")]
    trace: Option<String>,
    #[serde(rename = "_true_user")]
    user: Option<String>,
    #[serde(rename = "_true_request_id")]
    request_id: Option<String>,
    #[serde(rename = "_true_op")]
    operation: Option<String>,
}

/// A record of which some parts may not be written yet.
struct Draft {
    record: Record,
    id: Option<DocumentId>,
    parts_left: usize,
}

struct Source {
    context: Arc<Context>,
    pod: Pod,
    truth: Option<Lines>,
    log: ContainerLog,
    restarts_ns: VecDeque<u64>,
}

/// Writes the lines of one service.
pub(super) async fn play(context: Arc<Context>, pod: Pod) -> anyhow::Result<()> {
    let service = &pod.service;
    let Some(mut lines) = context.corpus.lines(&format!("{service}.cri.log.gz"))? else {
        return Ok(());
    };
    let restarts = context.corpus.restarts()?.into_iter();
    let mut source = Source {
        truth: context.corpus.lines(&format!("{service}.truth.jsonl.gz"))?,
        log: ContainerLog::create(&pod, service, context.args.rotate_bytes)?,
        restarts_ns: restarts
            .filter(|restart| restart.service == *service)
            .map(|restart| restart.at_ns)
            .collect(),
        context: Arc::clone(&context),
        pod,
    };
    while let Some(group) = Group::next(&mut lines)? {
        if !source.write(group).await? {
            break;
        }
    }
    let rotations = source.log.finish().await?;
    context.manifest.count(|tally| tally.rotations += rotations);
    Ok(())
}

impl Source {
    /// Writes a group of physical lines; `false` if the replay is to end. Once begun, a group is
    /// written whole.
    async fn write(&mut self, mut group: Group) -> anyhow::Result<bool> {
        let records = group.records();
        let mut drafts = Vec::with_capacity(records.len());
        let mut owner = vec![0; group.lines.len()];
        for (number, parts) in records.iter().enumerate() {
            for part in parts {
                if let Some(owner) = owner.get_mut(*part) {
                    *owner = number;
                }
            }
            drafts.push(self.draft(&mut group, parts)?);
        }
        let mut is_begun = false;
        for (mut line, owner) in group.lines.into_iter().zip(owner) {
            let shift = self.context.pace.shift();
            let at_ns = shift.nanos(line.time_ns);
            if !self.context.pace.wait(at_ns).await && !is_begun {
                return Ok(false);
            }
            is_begun = true;
            self.restart_if_due(line.time_ns).await?;
            shift.prefix(&mut line.bytes);
            let id = self.log.append(&line.bytes).await?;
            if let Some(draft) = drafts.get_mut(owner) {
                draft.id.get_or_insert(id);
                draft.parts_left -= 1;
                if draft.parts_left == 0 {
                    draft.record.id = draft.id.map(|id| id.to_string()).unwrap_or_default();
                    draft.record.written_ns = now_ns();
                    let delay = self.context.pace.delay_ns(at_ns);
                    self.context.manifest.record(&draft.record, delay)?;
                }
            }
        }
        Ok(true)
    }

    /// Moves the stamps of a record and notes what is known of it.
    fn draft(&mut self, group: &mut Group, parts: &[usize]) -> anyhow::Result<Draft> {
        let first = parts.first().and_then(|part| group.lines.get(*part));
        let (recorded_ns, stream) = first.map_or((0, ""), |line| (line.time_ns, line.stream()));
        let shift = self.context.pace.shift();
        let mut text = group.text_of(parts);
        let mut record = Record {
            service: self.pod.service.clone(),
            container: self.pod.service.clone(),
            stream,
            physical_lines: parts.len(),
            cri_ns: shift.nanos(recorded_ns),
            truth: self.next_truth(recorded_ns)?,
            ..Record::default()
        };
        let own_ns = record.state_text(&text).unwrap_or(recorded_ns);
        let provenance = &self.context.provenance;
        record.open_requests = provenance.open_at(&self.pod.service, own_ns);
        shift.text(&mut text, recorded_ns);
        group.put_text(parts, &text);
        record.state_text(&text);
        Ok(Draft {
            record,
            id: None,
            parts_left: parts.len(),
        })
    }

    fn next_truth(&mut self, recorded_ns: u64) -> anyhow::Result<Option<Truth>> {
        let Some(lines) = &mut self.truth else {
            return Ok(None);
        };
        let Some(line) = lines.next_json::<TruthLine>(&mut Vec::new())? else {
            anyhow::bail!("the truth of {} ends before its lines", self.pod.service);
        };
        if line.t_ns != recorded_ns {
            anyhow::bail!(
                "the truth of {} is of another line: {} instead of {recorded_ns} ns",
                self.pod.service,
                line.t_ns
            );
        }
        let provenance = &self.context.provenance;
        let proven = line
            .request_id
            .as_deref()
            .is_some_and(|id| provenance.is_proven(id));
        Ok(Some(Truth {
            how: line.how,
            trace: line.trace,
            user: line.user,
            request_id: line.request_id,
            operation: line.operation,
            proven,
        }))
    }

    async fn restart_if_due(&mut self, recorded_ns: u64) -> anyhow::Result<()> {
        while self
            .restarts_ns
            .pop_front_if(|at_ns| *at_ns <= recorded_ns)
            .is_some()
        {
            self.log.restart().await?;
        }
        Ok(())
    }
}
