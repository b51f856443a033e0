//! What the head does with one record: whom the ledger is asked about, what is counted, where it waits.

use correlate::Ticket as LedgerTicket;
use decode::{FactBuf, Framed};
use model::evidence::{AccessFacts, ProxySide};
use model::line::{Dialect, Extent};
use model::time::UnixNanos;
use model::verdict::Verdict;
use pipeline::head::{Container, Ticket};
use pipeline::{FileIndex, LineEntry, Part};

use super::{Head, Origin, Role};

impl Head {
    pub(super) fn line(&mut self, framed: &Framed<'_>, origin: Origin, now: UnixNanos) {
        let mut parts = framed
            .extents
            .iter()
            .filter_map(|(file, extent)| self.part(*file, *extent));
        let Some(first) = parts.next() else { return };
        let rest: Vec<Part> = parts.collect();
        // logged before the last restart: evidence only
        let known = self
            .log
            .coverage(first.file)
            .is_some_and(|coverage| coverage.contains(first.extent.offset));
        let entry = LineEntry {
            first,
            rest,
            time: framed.time,
            home: self.home(first.file, framed.time, origin.plain),
            stream: framed.stream,
            partial: framed.partial,
            split: framed.split,
            verdict: Verdict::default(),
        };
        self.decoder.decode(
            framed.text,
            framed.time,
            framed.stream,
            self.zone_offset_seconds,
            &mut self.record,
        );
        match origin.role {
            Role::Service => {
                let ticket = if known {
                    None
                } else {
                    self.offer(origin.number, entry, now)
                };
                let ask = self.ask(ticket);
                let mut names = FactBuf::default();
                let facts = decode::facts(&self.record, framed.text, framed.time, &mut names);
                let (log, order) = (&mut self.log, &mut self.order);
                self.counting.line(log, order, ticket, &facts, now);
                self.ledger.lock().line(ask, &facts, now);
            }
            Role::Proxy => self.proxy_line(framed, entry, known, origin, now),
            Role::Other if !known => self.ship(origin.number, entry, now),
            Role::Other => {}
        }
        if !known {
            self.flaws.look(framed, &self.record, now);
            let (file, offset) = (first.file, first.extent.offset);
            self.recent
                .keep(file, offset, framed.text, &mut self.record);
        }
    }

    fn proxy_line(
        &mut self,
        framed: &Framed<'_>,
        entry: LineEntry,
        known: bool,
        origin: Origin,
        now: UnixNanos,
    ) {
        let access = match self.record.dialect {
            Dialect::EnvoyAccess => decode::envoy::access(framed.text),
            _ => None,
        };
        let request = access.as_ref().and_then(|own| Some((own.trace?, own)));
        if let Some(access) = &access {
            self.ledger.lock().access(&inbound(access), now);
        }
        match request {
            _ if known => {}
            Some(request) => {
                let ticket = self.offer(origin.number, entry, now);
                let ask = self.ask(ticket);
                self.ledger.lock().own_line(ask, request, framed.time, now);
            }
            None => {
                let Some(access) = access.filter(|_| self.order.room() > 0) else {
                    return self.ship(origin.number, entry, now);
                };
                let ticket = self.offer(origin.number, entry, now);
                let (log, order) = (&mut self.log, &mut self.order);
                if let Some(ticket) = ticket {
                    let access = inbound(&access);
                    self.counting.untraced(log, order, ticket, &access, now);
                    self.shipped = true;
                }
            }
        }
    }

    fn part(&self, file: u32, extent: Extent) -> Option<Part> {
        Some(Part {
            file: *self.files.get(&file)?,
            extent,
        })
    }

    fn home(&self, file: FileIndex, time: UnixNanos, plain: bool) -> model::time::Day {
        if plain {
            self.log
                .handle()
                .file(file)
                .map_or_else(|| time.day(), |file| file.first_seen_day)
        } else {
            time.day()
        }
    }

    fn offer(&mut self, container: Container, entry: LineEntry, now: UnixNanos) -> Option<Ticket> {
        match self.order.offer(container, entry) {
            Ok(ticket) => Some(ticket),
            Err(full) => {
                // a chunk with more lines than were expected: make room, then it fits
                self.drain(now);
                self.order.offer(container, *full.line).ok()
            }
        }
    }

    fn ship(&mut self, container: Container, entry: LineEntry, now: UnixNanos) {
        self.shipped = true;
        if let Err(full) = self.order.offer_decided(container, entry) {
            self.drain(now);
            if self.order.offer_decided(container, *full.line).is_err() {
                tracing::error!("order queue is full; a line is read again after the next restart");
            }
        }
    }

    fn ask(&mut self, ticket: Option<Ticket>) -> LedgerTicket {
        self.asked.push_back(ticket);
        let number = self.next_ticket;
        self.next_ticket += 1;
        LedgerTicket(number)
    }
}

/// The proxy beside the service: what does not say on which side it was is inbound.
fn inbound<'a>(access: &AccessFacts<'a>) -> AccessFacts<'a> {
    AccessFacts {
        side: match access.side {
            ProxySide::Outbound => ProxySide::Outbound,
            _ => ProxySide::Inbound,
        },
        ..*access
    }
}
