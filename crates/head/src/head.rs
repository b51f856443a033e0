//! The head: one reader at the newest data, from chunks of files to entries of the verdict log.
//!
//! ```text
//! Event::Chunk ─▶ Framer (one a container) ─▶ Decoder ─▶ facts ─▶ Ledger ─┐
//!                                                └▶ OrderQueue ◀── verdict ┘ ─▶ VerdictLog
//! ```
//! Everything here is synchronous; the program calls it when something came in or is due.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;

use correlate::{Ledger, RequestEnded, Ticket as LedgerTicket};
use decode::{Decoder, Format, Framed, Framer, FramerSettings};
use in_tail::{Chunk, ContainerIndex, ContainerInfo, EndReason, Event, FileEnded, FileOpened};
use model::ids::FileKey;
use model::line::Stream;
use model::record::Record;
use model::time::UnixNanos;
use model::verdict::Verdict;
use pipeline::head::{Container, Ticket};
use pipeline::{FileEntry, FileIndex, OrderQueue, Recent, VerdictLog};
use telemetry::health::Health;

mod lines;

use crate::counting::Counting;
use crate::documents::PLAIN;
use crate::flaws::Flaws;
use crate::ledger::SharedLedger;
use crate::origin::Origins;
use crate::readable::Readable;

/// The state of the head.
pub struct Head {
    ledger: SharedLedger,
    log: VerdictLog,
    order: OrderQueue,
    origins: Origins,
    recent: Recent,
    service: String,
    proxy_container: String,
    zone_offset_seconds: i32,
    containers: HashMap<ContainerIndex, Follow>,
    files: BTreeMap<u32, FileIndex>,
    /// Lines the ledger has, in its order; those that are only evidence have no ticket.
    asked: VecDeque<Option<Ticket>>,
    next_ticket: u64,
    first_asked: u64,
    decoder: Decoder,
    record: Record,
    counting: Counting,
    flaws: Flaws,
    /// Files that are read now.
    open: HashMap<u32, FileKey>,
    readable: Readable,
    health: Health,
    /// When to try again to write the log, if that failed.
    write_again: Option<UnixNanos>,
    /// Whether lines that need no verdict were taken and not written yet.
    shipped: bool,
    first_line: Option<UnixNanos>,
}

/// A container that is followed.
struct Follow {
    framer: Framer,
    role: Role,
    number: Container,
    name: String,
    plain: bool,
    /// Whether the next line is the first of a run of the container.
    starting: bool,
}

/// What the lines of a container are to the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The service itself.
    Service,
    /// Its proxy: access records.
    Proxy,
    /// Somebody else in the pod: shipped, not attributed.
    Other,
}

/// The part of our health that stands for the state directory.
const STATE: &str = "state";
/// Pause before the log is written again after that failed, in nanoseconds.
const WRITE_PAUSE: u64 = 1_000_000_000;
/// Most lines that wait for a verdict at a time.
pub const WAITING_MAX: usize = 32_768 + CHUNK_LINES;
/// A chunk may bring so many lines.
const CHUNK_LINES: usize = in_tail::CHUNK_BYTES_MAX + 64;

/// What a head is made of.
#[expect(missing_docs, reason = "named as what they are")]
pub struct Parts {
    pub ledger: SharedLedger,
    pub log: VerdictLog,
    pub counting: Counting,
    pub flaws: Flaws,
    pub order: OrderQueue,
    pub origins: Origins,
    pub recent: Recent,
    pub service: String,
    pub proxy_container: String,
    pub zone_offset_seconds: i32,
    pub health: Health,
}

impl Head {
    /// One that has read nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            ledger: parts.ledger,
            log: parts.log,
            order: parts.order,
            origins: parts.origins,
            recent: parts.recent,
            service: parts.service,
            proxy_container: parts.proxy_container,
            zone_offset_seconds: parts.zone_offset_seconds,
            containers: HashMap::new(),
            files: BTreeMap::new(),
            asked: VecDeque::new(),
            next_ticket: 0,
            first_asked: 0,
            decoder: Decoder::default(),
            record: Record::default(),
            counting: parts.counting,
            flaws: parts.flaws,
            open: HashMap::new(),
            readable: Readable::new(parts.health.clone()),
            health: parts.health,
            write_again: None,
            shipped: false,
            first_line: None,
        }
    }

    /// Says that `path` is not there (yet), or cannot be read.
    pub fn unreadable(&mut self, path: &Path, why: &str) {
        self.readable.fails(path, why);
    }

    /// Says that `path`, which was not there, is.
    pub fn is_there(&mut self, path: &Path) {
        self.readable.works(path);
    }

    /// Time of the first line of the service that was read.
    pub const fn first_line(&self) -> Option<UnixNanos> {
        self.first_line
    }

    /// Whether another chunk may come.
    pub fn has_room(&self) -> bool {
        self.order.room() >= CHUNK_LINES
    }

    /// Whether a file is still read by the head.
    pub fn reads(&self, key: FileKey) -> bool {
        self.open.values().any(|open| *open == key)
    }

    /// Takes what the tailer says.
    pub fn event(&mut self, event: Event<'_>, now: UnixNanos) {
        match event {
            Event::ContainerFound { container, info } => self.found(container, &info),
            Event::RestartSeen { container, .. } => self.restarted(container, now),
            Event::FileOpened(opened) => self.opened(&opened),
            Event::Chunk(chunk) => self.chunk(&chunk, now),
            Event::FileEnded(ended) => self.ended(ended, now),
            Event::ContainerEnded { container } => self.flush_container(container, now),
            Event::Trouble(trouble) => {
                let error = net::chain(&trouble.error);
                tracing::warn!(path = %trouble.path.display(), %error, "log cannot be read; trying again");
                self.unreadable(&trouble.path, &error);
            }
            Event::Idle => {}
        }
    }

    fn found(&mut self, container: ContainerIndex, info: &ContainerInfo) {
        self.origins.met(info);
        let plain = !info.is_cri();
        let role = match info.name.as_str() {
            name if name == self.proxy_container => Role::Proxy,
            name if plain || name == self.service => Role::Service,
            _ => Role::Other,
        };
        let format = if plain {
            Format::Plain(Stream::Stderr)
        } else {
            Format::Cri
        };
        let number = u16::try_from(self.containers.len()).unwrap_or(u16::MAX);
        tracing::info!(container = %info.name, path = %info.path.display(), "following a container's log");
        self.containers.insert(
            container,
            Follow {
                framer: Framer::new(FramerSettings {
                    format,
                    ..FramerSettings::default()
                }),
                role,
                number: Container(number),
                name: info.name.clone(),
                plain,
                starting: false,
            },
        );
    }

    fn restarted(&mut self, container: ContainerIndex, now: UnixNanos) {
        self.flush_container(container, now);
        if let Some(follow) = self.containers.get_mut(&container) {
            follow.starting = true;
        }
    }

    fn opened(&mut self, opened: &FileOpened) {
        self.readable.works(&opened.path);
        let Some(follow) = self.containers.get(&opened.container) else {
            return;
        };
        let path = opened.path.to_string_lossy();
        let index = self.log.register_file(FileEntry {
            key: opened.file.key,
            container: follow.name.clone(),
            restart: opened.restart,
            path: if follow.plain {
                format!("{PLAIN}{path}")
            } else {
                path.into_owned()
            },
            first_seen_day: opened.first_seen.day(),
        });
        self.files.insert(opened.file.index.0, index);
        self.open.insert(opened.file.index.0, opened.file.key);
    }

    fn ended(&mut self, ended: FileEnded, now: UnixNanos) {
        let file = ended.file.index.0;
        self.open.remove(&file);
        if ended.reason == EndReason::Rotated {
            // a record may go on in the next file
            return;
        }
        self.with_framer(ended.container, now, |framer, now, mut sink| {
            framer.end_of_file(file, now, &mut sink);
        });
        if ended.reason == EndReason::Deleted
            && let Some(index) = self.files.get(&file)
        {
            self.log.retire_file(*index);
        }
    }

    fn flush_container(&mut self, container: ContainerIndex, now: UnixNanos) {
        self.with_framer(container, now, |framer, now, mut sink| {
            framer.end_of_container(now, &mut sink);
        });
    }

    fn chunk(&mut self, chunk: &Chunk<'_>, now: UnixNanos) {
        let file = chunk.file.index.0;
        self.with_framer(chunk.container, now, |framer, now, mut sink| {
            framer.push(file, chunk.offset, chunk.bytes, now, &mut sink);
        });
    }

    /// Emits records that have waited long enough for their rest.
    pub fn flush_idle(&mut self, now: UnixNanos) {
        let due = |follow: &Follow| follow.framer.next_deadline().is_some_and(|due| due <= now);
        let containers: Vec<ContainerIndex> = self
            .containers
            .iter()
            .filter(|(_, follow)| due(follow))
            .map(|(index, _)| *index)
            .collect();
        for container in containers {
            self.with_framer(container, now, |framer, now, mut sink| {
                framer.flush_idle(now, &mut sink);
            });
        }
    }

    fn with_framer(
        &mut self,
        container: ContainerIndex,
        now: UnixNanos,
        run: impl FnOnce(&mut Framer, UnixNanos, &mut dyn FnMut(Framed<'_>)),
    ) {
        let Some(mut follow) = self.containers.remove(&container) else {
            return;
        };
        let Follow {
            framer,
            role,
            number,
            plain,
            starting,
            ..
        } = &mut follow;
        let origin = Origin {
            role: *role,
            number: *number,
            plain: *plain,
        };
        run(framer, now, &mut |framed| {
            if origin.role == Role::Service {
                self.first_line.get_or_insert(framed.time);
                if std::mem::take(starting) {
                    self.ledger.lock().process_started(framed.time);
                }
            }
            self.line(&framed, origin, now);
        });
        self.containers.insert(container, follow);
    }

    /// Takes the verdicts that are due and writes what is decided to the log.
    #[inline(never)]
    pub fn decide(&mut self, now: UnixNanos) {
        self.verdicts(now, |ledger, decided| ledger.poll(now, decided));
        self.drain(now);
    }

    /// Nothing more will be read: what waits for evidence or for lines waits no longer.
    pub fn release(&mut self, now: UnixNanos) {
        self.decide(now);
        self.verdicts(now, |ledger, decided| ledger.release(decided));
        self.counting.release(&mut self.log, &mut self.order, now);
        self.drain(now);
    }

    /// Lines and requests that came in and are not in the log: no lane has them.
    pub fn held(&self) -> u64 {
        let buffered = self.log.sequence() - self.log.handle().end().sequence;
        self.order.len() as u64 + buffered
    }

    fn verdicts(
        &mut self,
        now: UnixNanos,
        ask: impl FnOnce(&mut Ledger, &mut dyn FnMut(LedgerTicket, Verdict)),
    ) {
        let (asked, order, first) = (&mut self.asked, &mut self.order, &mut self.first_asked);
        let (counting, log) = (&mut self.counting, &mut self.log);
        let mut ended: Vec<RequestEnded> = Vec::new();
        {
            let mut ledger = self.ledger.lock();
            ask(&mut ledger, &mut |ticket, verdict| {
                // the ledger answers in the order it was asked
                debug_assert_eq!(ticket.0, *first);
                *first += 1;
                if let Some(ticket) = asked.pop_front().flatten() {
                    counting.verdict(log, order, ticket, &verdict, now);
                    order.decide(ticket, verdict);
                }
            });
            ledger.poll_requests(now, &mut |request| ended.push(request));
        }
        for request in ended {
            counting.ended(request, now);
        }
    }

    fn drain(&mut self, now: UnixNanos) {
        self.shipped = false;
        self.counting.drain(&mut self.log, &mut self.order, now);
        match self.order.write(&mut self.log) {
            Ok(()) => {
                if self.write_again.take().is_some() {
                    self.health.clear(STATE);
                }
            }
            // the log says so itself, and when there is room again
            Err(pipeline::Error::Full) => {}
            Err(error) => {
                let why = net::chain(&error);
                self.health.set(
                    STATE,
                    format!("verdict log cannot be written, lines wait: {why}"),
                );
                self.write_again = Some(now.plus(WRITE_PAUSE));
            }
        }
    }

    /// The earliest moment at which something is due.
    pub fn deadline(&self) -> Option<UnixNanos> {
        let framers = self
            .containers
            .values()
            .filter_map(|follow| follow.framer.next_deadline());
        // nothing else may ever be due: the service may be silent
        let shipped = self.shipped.then_some(UnixNanos(0));
        let others = [
            self.ledger.lock().next_deadline(),
            self.counting.deadline(),
            shipped,
            self.write_again,
        ];
        framers.chain(others.into_iter().flatten()).min()
    }

    /// Whether lines wait for their rest, for verdicts, or to be written.
    pub fn is_busy(&self) -> bool {
        let mut framers = self.containers.values().map(|follow| &follow.framer);
        self.held() > 0 || framers.any(|framer| framer.next_deadline().is_some())
    }
}

#[derive(Clone, Copy)]
struct Origin {
    role: Role,
    number: Container,
    plain: bool,
}
