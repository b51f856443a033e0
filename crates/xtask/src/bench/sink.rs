//! A forward receiver that counts and acknowledges, and does nothing else.
//!
//! It understands only what a `PackedForward` sender without authentication writes:
//! `[tag, entries as bin or str, {"chunk": …, "size": …}]`.

use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

/// Longest text of a frame that is kept, in bytes; entries are skipped, not kept.
const TEXT_BYTES_MAX: usize = 4096;

/// A running sink; it ends with the program.
#[derive(Debug)]
pub(super) struct Sink {
    address: SocketAddr,
    entries: Arc<AtomicU64>,
}

impl Sink {
    /// Listens on a free port.
    pub(super) fn start() -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for the sidecar")?;
        let address = listener.local_addr().context("listen for the sidecar")?;
        let entries = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&entries);
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let counter = Arc::clone(&counter);
                // A connection that breaks is the sidecar's to open again.
                std::thread::spawn(move || drop(serve(stream, &counter)));
            }
        });
        Ok(Self { address, entries })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many entries have come.
    pub(super) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, counter: &AtomicU64) -> Result<()> {
    let mut answers = stream.try_clone().context("share the connection")?;
    let mut reader = Frames {
        source: BufReader::with_capacity(1 << 18, stream),
    };
    while let Some(frame) = reader.next()? {
        counter.fetch_add(frame.size, Ordering::Relaxed);
        if let Some(chunk) = frame.chunk {
            answers.write_all(&ack(&chunk)?).context("acknowledge")?;
        }
    }
    Ok(())
}

/// `{"ack": chunk}`.
fn ack(chunk: &str) -> Result<Vec<u8>> {
    let length = u8::try_from(chunk.len()).context("the chunk's id is too long")?;
    let mut answer = b"\x81\xa3ack\xd9".to_vec();
    answer.push(length);
    answer.extend_from_slice(chunk.as_bytes());
    Ok(answer)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    size: u64,
    chunk: Option<String>,
}

/// Reads one frame after another.
struct Frames<R> {
    source: R,
}

impl<R: Read> Frames<R> {
    fn next(&mut self) -> Result<Option<Frame>> {
        let Some(0x93) = self.first()? else {
            return Ok(None);
        };
        let tag = self.byte()?;
        self.skip_bytes(tag)?;
        let entries = self.byte()?;
        self.skip_bytes(entries)?;
        let mut frame = Frame::default();
        let options = self.byte()?;
        for _ in 0..fields(options)? {
            match self.text()?.as_str() {
                "size" => frame.size = self.number()?,
                "chunk" => frame.chunk = Some(self.text()?),
                other => {
                    self.text()
                        .with_context(|| format!("skip option {other}"))?;
                }
            }
        }
        Ok(Some(frame))
    }

    /// The first byte of a frame; nothing at the end.
    fn first(&mut self) -> Result<Option<u8>> {
        let mut byte = [0];
        match self.source.read(&mut byte).context("read a frame")? {
            0 => Ok(None),
            _ => match byte {
                [0x93] => Ok(Some(0x93)),
                [other] => bail!("a frame begins with {other:#x}"),
            },
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(u8::try_from(self.big_endian(1)?)?)
    }

    fn big_endian(&mut self, width: usize) -> Result<u64> {
        let mut bytes = [0; 8];
        let place = bytes.get_mut(8 - width..).context("a wide number")?;
        self.source.read_exact(place).context("read a frame")?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn length(&mut self, kind: u8) -> Result<u64> {
        match kind {
            0xa0..=0xbf => Ok(u64::from(kind & 0x1f)),
            0xc4 | 0xd9 => self.big_endian(1),
            0xc5 | 0xda => self.big_endian(2),
            0xc6 | 0xdb => self.big_endian(4),
            _ => bail!("{kind:#x} is neither text nor bytes"),
        }
    }

    fn skip_bytes(&mut self, kind: u8) -> Result<()> {
        let length = self.length(kind)?;
        let copied = std::io::copy(&mut (&mut self.source).take(length), &mut std::io::sink())
            .context("read entries")?;
        anyhow::ensure!(copied == length, "the entries are cut");
        Ok(())
    }

    fn text(&mut self) -> Result<String> {
        let kind = self.byte()?;
        let length = usize::try_from(self.length(kind)?)?;
        anyhow::ensure!(length <= TEXT_BYTES_MAX, "a text of {length} bytes");
        let mut text = vec![0; length];
        self.source.read_exact(&mut text).context("read a text")?;
        String::from_utf8(text).context("read a text")
    }

    fn number(&mut self) -> Result<u64> {
        match self.byte()? {
            kind @ 0..=0x7f => Ok(u64::from(kind)),
            0xcc => self.big_endian(1),
            0xcd => self.big_endian(2),
            0xce => self.big_endian(4),
            0xcf => self.big_endian(8),
            kind => bail!("{kind:#x} is no count"),
        }
    }
}

/// How many fields a small map has.
fn fields(kind: u8) -> Result<u8> {
    match kind {
        0x80..=0x8f => Ok(kind & 0x0f),
        _ => bail!("{kind:#x} is no small map"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: &[u8] = b"\x93\xa4emco\xc4\x05abcde\x82\xa4size\xcd\x01\x00\xa5chunk\xa3xyz";

    #[test]
    fn frames_are_counted_and_acknowledged() {
        let sink = Sink::start().unwrap();
        let mut stream = TcpStream::connect(sink.address()).unwrap();
        stream.write_all(FRAME).unwrap();
        stream.write_all(FRAME).unwrap();
        let mut answers = [0; 20];
        stream.read_exact(&mut answers).unwrap();
        assert_eq!(&answers, b"\x81\xa3ack\xd9\x03xyz\x81\xa3ack\xd9\x03xyz");
        assert_eq!(sink.entries(), 512);
    }

    #[test]
    fn what_is_no_frame_ends_the_connection() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &FRAME[..9], b"\x93\x01"] {
            let mut frames = Frames { source: bytes };
            assert!(frames.next().is_err(), "{bytes:?}");
        }
        assert_eq!(Frames { source: &b""[..] }.next().unwrap(), None);
    }
}
