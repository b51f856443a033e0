use std::convert::Infallible;

use flate2::write::GzEncoder;
use futures_util::stream;
use http::HeaderValue;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;

/// A body of these pieces.
fn body(pieces: &[&[u8]]) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
    let frames: Vec<_> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    StreamBody::new(stream::iter(frames))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn headers(encoding: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))])
}

async fn decoded(pieces: &[&[u8]], encoding: &'static str, max: u64) -> Result<Vec<u8>, Error> {
    let mut pieces = Pieces::new(body(pieces), &headers(encoding), max)?;
    let mut all = Vec::new();
    while let Some(piece) = pieces.next().await? {
        assert!(!piece.is_empty());
        assert!(piece.len() <= 4 << 20, "pieces stay small: {}", piece.len());
        all.extend_from_slice(&piece);
    }
    assert!(pieces.next().await?.is_none(), "the end stays the end");
    Ok(all)
}

#[tokio::test]
async fn a_body_is_read_whole_up_to_the_cap() {
    let whole = read_capped(body(&[b"one", b"", b" two"]), 7).await.unwrap();
    assert_eq!(whole, "one two");
    assert_eq!(read_capped(body(&[]), 0).await.unwrap(), "");
    let error = read_capped(body(&[b"one", b" two"]), 6).await.unwrap_err();
    assert!(matches!(error, Error::BodyTooLong { max: 6 }));
}

#[tokio::test]
async fn a_plain_body_passes_as_it_is() {
    assert_eq!(
        decoded(&[b"a", b"", b"bc"], "identity", 3).await.unwrap(),
        b"abc"
    );
    let error = decoded(&[b"a", b"bc"], "", 2).await.unwrap_err();
    assert_eq!(error.label(), "body_too_long");
}

#[tokio::test]
async fn a_compressed_body_comes_out_the_same_however_it_was_cut() {
    let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let packed = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
    for size in [1, 7, 1000, packed.len()] {
        let pieces: Vec<&[u8]> = packed.chunks(size).collect();
        let max = text.len() as u64;
        assert_eq!(
            decoded(&pieces, "gzip", max).await.unwrap(),
            text,
            "pieces of {size}"
        );
    }
}

#[tokio::test]
async fn a_bomb_is_stopped_at_the_cap() {
    let bomb = gzip(&vec![0; 64 << 20]);
    let error = decoded(&[&bomb], "gzip", 8 << 20).await.unwrap_err();
    assert!(matches!(error, Error::BodyTooLong { max } if max == 8 << 20));
}

#[tokio::test]
async fn what_is_not_compressed_as_it_says_is_refused() {
    let whole = gzip(b"some text that is long enough to be cut");
    for bytes in [
        b"plain text".as_slice(),
        &whole[..whole.len() - 9],
        &whole[..20],
    ] {
        let error = decoded(&[bytes], "gzip", 1000).await.unwrap_err();
        assert_eq!(error.label(), "encoding", "{bytes:?}");
    }
    let error = decoded(&[b""], "br", 1000).await.unwrap_err();
    assert_eq!(error.label(), "encoding");
}
