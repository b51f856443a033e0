//! The protocol's messages as bytes, both ways. No socket, no clock, no randomness.
//!
//! ```text
//! message  93 str(tag) bin(entries) {chunk: str(24), size: n, compressed: "gzip"?}
//! ack      {ack: chunk}
//! HELO     ["HELO", {nonce, auth, keepalive?}]
//! PING     ["PING", hostname, salt, hex(SHA512(salt hostname nonce key)),
//!           username, hex(SHA512(auth username password))]
//! PONG     ["PONG", ok, reason, hostname, hex(SHA512(salt hostname nonce key))]
//! ```
//! A chunk id is the Base64 of 16 random bytes. Receivers write nonces as string or binary, and
//! strings need not be UTF-8.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};

use crate::Error;
use crate::msgpack::{self, Fault, Reader};

/// Longest message of a receiver in bytes; the longest that is legal is a PONG with a long reason.
pub(crate) const RECEIVED_BYTES_MAX: usize = 16 << 10;
/// How much of a receiver's own words is repeated.
const REASON_CHARS_MAX: usize = 200;

/// Names a message until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkId([u8; 24]);

impl ChunkId {
    /// From 16 random bytes.
    pub(crate) fn new(random: u128) -> Self {
        let mut text = [b'='; 24];
        // 16 bytes are always 24 characters, so the encoding fits and cannot fail.
        if STANDARD
            .encode_slice(random.to_be_bytes(), &mut text)
            .is_err()
        {
            text = [b'='; 24];
        }
        Self(text)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What stands before the entries of a message.
pub(crate) fn message_head(tag: &str, entries_bytes: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(tag.len() + 16);
    msgpack::push_array_header(&mut head, 3);
    msgpack::push_str(&mut head, tag.as_bytes());
    msgpack::push_bin_header(&mut head, entries_bytes);
    head
}

/// What stands behind the entries of a message.
pub(crate) fn message_tail(chunk: ChunkId, entries: usize, gzip: bool) -> Vec<u8> {
    let mut tail = Vec::with_capacity(64);
    tail.push(if gzip { 0x83 } else { 0x82 });
    msgpack::push_str(&mut tail, b"chunk");
    msgpack::push_str(&mut tail, chunk.as_bytes());
    msgpack::push_str(&mut tail, b"size");
    msgpack::push_unsigned(&mut tail, entries as u64);
    if gzip {
        msgpack::push_str(&mut tail, b"compressed");
        msgpack::push_str(&mut tail, b"gzip");
    }
    tail
}

/// A receiver's opening words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Helo {
    pub(crate) nonce: Vec<u8>,
    pub(crate) auth: Vec<u8>,
    /// Whether more than one message may be sent on a connection.
    pub(crate) keepalive: bool,
}

/// A receiver's verdict on our PING.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pong {
    pub(crate) accepted: bool,
    pub(crate) reason: String,
    pub(crate) hostname: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// Something a receiver said, and how many bytes it took.
pub(crate) type Received<T> = Result<Option<(T, usize)>, Error>;

/// Reads the chunk id of an acknowledgement; `None` until it is complete.
pub(crate) fn read_ack(bytes: &[u8]) -> Received<&[u8]> {
    received(bytes, "acknowledgement", |reader| {
        let mut ack = None;
        for _ in 0..reader.map()? {
            if reader.bytes()? == b"ack" {
                ack = Some(reader.bytes()?);
            } else {
                reader.skip()?;
            }
        }
        ack.ok_or(Fault::Invalid)
    })
}

/// Whether `bytes` begin like a HELO, so that a receiver wants a handshake; `None` while there are too
/// few to tell.
pub(crate) fn begins_like_helo(bytes: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(bytes);
    match reader.array().and_then(|_| reader.bytes()) {
        Ok(word) => Some(word == b"HELO"),
        Err(Fault::Invalid) => Some(false),
        Err(Fault::Incomplete) if bytes.len() >= RECEIVED_BYTES_MAX => Some(false),
        Err(Fault::Incomplete) => None,
    }
}

/// Reads a HELO; `None` until it is complete.
pub(crate) fn read_helo(bytes: &[u8]) -> Received<Helo> {
    received(bytes, "HELO", |reader| {
        if reader.array()? != 2 || reader.bytes()? != b"HELO" {
            return Err(Fault::Invalid);
        }
        let mut helo = Helo {
            nonce: Vec::new(),
            auth: Vec::new(),
            keepalive: true,
        };
        for _ in 0..reader.map()? {
            match reader.bytes()? {
                b"nonce" => reader.bytes()?.clone_into(&mut helo.nonce),
                b"auth" => reader.bytes()?.clone_into(&mut helo.auth),
                b"keepalive" => helo.keepalive = reader.boolean()?,
                _ => reader.skip()?,
            }
        }
        Ok(helo)
    })
}

/// Reads a PONG; `None` until it is complete.
pub(crate) fn read_pong(bytes: &[u8]) -> Received<Pong> {
    received(bytes, "PONG", |reader| {
        if reader.array()? != 5 || reader.bytes()? != b"PONG" {
            return Err(Fault::Invalid);
        }
        Ok(Pong {
            accepted: reader.boolean()?,
            reason: shorten(reader.bytes()?),
            hostname: reader.bytes()?.to_vec(),
            digest: reader.bytes()?.to_vec(),
        })
    })
}

/// Writes our answer to a HELO. `login` is user and password.
pub(crate) fn ping(
    helo: &Helo,
    hostname: &str,
    salt: &str,
    shared_key: &[u8],
    login: Option<(&str, &[u8])>,
) -> Vec<u8> {
    let key_digest = key_digest(salt, hostname.as_bytes(), &helo.nonce, shared_key);
    let (username, login_digest) = login.map_or_else(Default::default, |(username, password)| {
        let digest = sha512_hex(&[&helo.auth, username.as_bytes(), password]);
        (username, digest)
    });
    let mut ping = Vec::with_capacity(384);
    msgpack::push_array_header(&mut ping, 6);
    for text in ["PING", hostname, salt, &key_digest, username, &login_digest] {
        msgpack::push_str(&mut ping, text.as_bytes());
    }
    ping
}

/// What a side proves with that it knows the shared key.
pub(crate) fn key_digest(salt: &str, hostname: &[u8], nonce: &[u8], shared_key: &[u8]) -> String {
    sha512_hex(&[salt.as_bytes(), hostname, nonce, shared_key])
}

fn sha512_hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    const_hex::encode(hash.finalize())
}

fn received<'a, T>(
    bytes: &'a [u8],
    expected: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Received<T> {
    let mut reader = Reader::new(bytes);
    match read(&mut reader) {
        Ok(value) => Ok(Some((value, bytes.len() - reader.remaining()))),
        Err(Fault::Invalid) => Err(Error::Garbage { expected }),
        Err(Fault::Incomplete) if bytes.len() >= RECEIVED_BYTES_MAX => Err(Error::Oversized {
            max: RECEIVED_BYTES_MAX,
        }),
        Err(Fault::Incomplete) => Ok(None),
    }
}

/// A receiver's own words as they may stand in a log line.
fn shorten(words: &[u8]) -> String {
    String::from_utf8_lossy(words)
        .chars()
        .take(REASON_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
