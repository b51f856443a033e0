//! A pod's log directory, written as container runtime and kubelet write it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::time::UnixNanos;
use serde_json::Value;
use twox_hash::XxHash3_128;

const UID: &str = "0e5a7c1e-6a58-4f6e-9d0b-6f1f3a1c2d3e";
/// Texts longer than this are split by the runtime.
const PART_BYTES: usize = 16 * 1024;

/// A record that was written: the id its document has to have, and what it has to say.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) says: String,
}

/// A pod whose directory may not exist yet.
pub(crate) struct Pod {
    pub(crate) directory: PathBuf,
}

/// One container's log.
pub(crate) struct Container {
    folder: PathBuf,
    name: String,
    restart: u32,
    rotations: u32,
    file: Option<File>,
    key: Option<u128>,
    offset: u64,
    /// The time of the next line.
    clock: u64,
    /// Everything that has to be delivered.
    pub(crate) written: Vec<Written>,
}

/// Where a physical line begins.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(crate) String);

impl Pod {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            directory: root.join(format!("emco_orchestrator-0_{UID}")),
        }
    }

    /// The container called `name`; nothing is made yet.
    pub(crate) fn container(&self, name: &str) -> Container {
        Container {
            folder: self.directory.join(name),
            name: name.to_owned(),
            restart: 0,
            rotations: 0,
            file: None,
            key: None,
            offset: 0,
            clock: now(),
            written: Vec::new(),
        }
    }
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

impl Container {
    /// Sets the time of the next line; each line after it is a microsecond later.
    pub(crate) fn at(&mut self, nanos: u64) -> &mut Self {
        self.clock = nanos;
        self
    }

    /// The next line is written so long before now.
    pub(crate) fn ago(&mut self, time: Duration) -> &mut Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.at(now() - nanos)
    }

    /// Writes one physical line and says where it begins.
    pub(crate) fn physical(&mut self, stream: &str, tag: char, text: &[u8]) -> Place {
        let stamp = UnixNanos(self.clock).to_string();
        self.clock += 1_000;
        let mut line = format!("{stamp} {stream} {tag} ").into_bytes();
        line.extend_from_slice(text);
        self.raw(&line)
    }

    /// Writes a line that has its framing and says where it begins.
    pub(crate) fn raw(&mut self, line: &[u8]) -> Place {
        let mut line = line.to_vec();
        line.push(b'\n');
        let key = *self.key.get_or_insert_with(|| {
            let counted = &line[..line.len().min(64 * 1024)];
            key(&self.name, self.restart, counted)
        });
        let place = Place(format!("{key:032x}-{:x}", self.offset));
        let path = self.live();
        let file = self.file.get_or_insert_with(|| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut options = OpenOptions::new();
            options.append(true).create(true).open(path).unwrap()
        });
        file.write_all(&line).unwrap();
        self.offset += line.len() as u64;
        place
    }

    /// A record that begins at `place` and says this is to be delivered.
    pub(crate) fn expect(&mut self, place: &Place, says: impl Into<String>) {
        self.written.push(Written {
            id: place.0.clone(),
            says: says.into(),
        });
    }

    /// Writes a record of EMCO that is shipped as the text it is.
    pub(crate) fn text(&mut self, text: &str) -> String {
        self.says(text, text)
    }

    /// Writes a record whose document says something else than its text.
    pub(crate) fn says(&mut self, text: &str, says: &str) -> String {
        let place = self.record(text.as_bytes());
        self.expect(&place, says);
        place.0
    }

    /// Writes a record, split where the runtime splits it.
    pub(crate) fn record(&mut self, text: &[u8]) -> Place {
        let mut parts = text.chunks(PART_BYTES).peekable();
        let mut first = None;
        while let Some(part) = parts.next() {
            let tag = if parts.peek().is_some() { 'P' } else { 'F' };
            let place = self.physical("stderr", tag, part);
            first.get_or_insert(place);
        }
        first.expect("a record has text")
    }

    /// Writes a line of EMCO's logger.
    pub(crate) fn logrus(&mut self, message: &str) -> String {
        self.logrus_with(message, "project", "p1".into())
    }

    /// Writes a line of EMCO's logger with this member.
    pub(crate) fn logrus_with(&mut self, message: &str, key: &str, value: Value) -> String {
        let line = self.logrus_line(message, key, value);
        self.says(&line, message)
    }

    /// A line of EMCO's logger as it would be printed now.
    pub(crate) fn logrus_line(&self, message: &str, key: &str, value: Value) -> String {
        let mut line = serde_json::json!({
            "SOURCE": "file[instantiation.go:392] func[module.InstantiationClient.Instantiate]",
            "level": "info", "msg": message, "time": UnixNanos(self.clock).to_string(),
        });
        line[key] = value;
        line.to_string()
    }

    /// Renames the live file as kubelet does; the next line begins another.
    pub(crate) fn rotate(&mut self) {
        self.rotations += 1;
        let stamp = format!("20261123-{:06}", self.rotations);
        let rotated = self.folder.join(format!("{}.log.{stamp}", self.restart));
        fs::rename(self.live(), rotated).unwrap();
        self.begin();
    }

    /// The container starts again: the next line goes to the next number.
    pub(crate) fn restart(&mut self) {
        self.restart += 1;
        self.begin();
    }

    fn begin(&mut self) {
        self.file = None;
        self.key = None;
        self.offset = 0;
    }

    /// The file that is written now.
    pub(crate) fn live(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.restart))
    }
}

/// The file's identity, computed as the documentation says it, without the product's code.
fn key(container: &str, restart: u32, first_line: &[u8]) -> u128 {
    let mut text = format!("{UID}\0{container}\0{restart}\0").into_bytes();
    text.extend_from_slice(first_line);
    XxHash3_128::oneshot(&text)
}
