//! Bodies with limits: whole up to a cap, or decoded piece by piece.

use std::io::Write;

use bytes::{Buf, Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Body;

use crate::Error;

/// How much compressed input is decoded at a time, in bytes: at gzip's best ratio (1:1032) a piece
/// becomes 2 MiB, which is the most that [`Pieces::next`] returns at once.
const PIECE_BYTES: usize = 2048;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Reads a body to its end.
///
/// # Errors
/// [`Error::BodyTooLong`] as soon as more than `max` bytes came; [`Error::Body`] if it broke off.
pub async fn read_capped<B>(body: B, max: usize) -> Result<Bytes, Error>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(mut data) = next_data(&mut body).await? {
        let length = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.remaining();
        if length > max {
            return Err(Error::BodyTooLong { max });
        }
        match &first {
            None => first = Some(data.copy_to_bytes(data.remaining())),
            Some(_) => rest.extend_from_slice(&data.copy_to_bytes(data.remaining())),
        }
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// A body read piece by piece, decompressed on the way, so that bodies of any size pass through a
/// small buffer.
pub struct Pieces<B> {
    body: B,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    waiting: Bytes,
    left: u64,
    max: u64,
    ended: bool,
}

impl<B> Pieces<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads `body` as `headers` say it is encoded; at most `max` decoded bytes.
    ///
    /// # Errors
    /// [`Error::Encoding`] if `Content-Encoding` is neither `gzip` nor `identity`.
    pub fn new(body: B, headers: &HeaderMap, max: u64) -> Result<Self, Error> {
        let encoding = headers
            .get(header::CONTENT_ENCODING)
            .map(http::HeaderValue::as_bytes);
        let decoder = match encoding {
            None | Some(b"" | b"identity") => None,
            Some(b"gzip" | b"x-gzip") => Some(MultiGzDecoder::new(Vec::new())),
            Some(other) => {
                return Err(Error::Encoding(format!(
                    "content-encoding {:?} is not supported",
                    String::from_utf8_lossy(other)
                )));
            }
        };
        Ok(Self {
            body,
            decoder,
            waiting: Bytes::new(),
            left: max,
            max,
            ended: false,
        })
    }

    /// The next decoded bytes, never empty; `None` at the end.
    ///
    /// # Errors
    /// [`Error::BodyTooLong`], [`Error::Body`] or [`Error::Encoding`]; the body is of no use then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.waiting.is_empty() && !self.ended {
                match next_data(&mut self.body).await? {
                    Some(mut data) => self.waiting = data.copy_to_bytes(data.remaining()),
                    None => self.ended = true,
                }
            }
            let piece = self.decode()?;
            if !piece.is_empty() {
                return self.account(piece).map(Some);
            }
            if self.ended && self.waiting.is_empty() {
                return Ok(None);
            }
        }
    }

    fn decode(&mut self) -> Result<Bytes, Error> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(std::mem::take(&mut self.waiting));
        };
        let failed = |error: std::io::Error| Error::Encoding(error.to_string());
        let piece = self.waiting.split_to(self.waiting.len().min(PIECE_BYTES));
        decoder.write_all(&piece).map_err(failed)?;
        if self.ended && self.waiting.is_empty() {
            decoder.try_finish().map_err(failed)?;
        } else {
            decoder.flush().map_err(failed)?;
        }
        Ok(Bytes::from(std::mem::take(decoder.get_mut())))
    }

    fn account(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        self.left = self
            .left
            .checked_sub(piece.len() as u64)
            .ok_or(Error::BodyTooLong {
                max: usize::try_from(self.max).unwrap_or(usize::MAX),
            })?;
        Ok(piece)
    }
}

async fn next_data<B>(body: &mut B) -> Result<Option<B::Data>, Error>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Body(error.into()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
