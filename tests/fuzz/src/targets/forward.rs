//! What a forward receiver says.

use std::io;

use bytes::Bytes;
use out_forward::{Forward, ForwardSettings, Metrics};
use pipeline::output::{Answer, Batch, BatchId, Output as _};
use rmpv::Value as Packed;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::folder;
use crate::input::Input;
use crate::targets::runtime;

/// Stands in the input for the id of the chunk that was sent.
const CHUNK: &[u8; 24] = b"<the-chunk-that-is-sent>";

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (handshake, size) = (input.byte() & 1 == 1, usize::from(input.byte()) + 1);
    let said = input.rest();
    let answer = runtime::run(deliver(said, handshake, size));
    let Some((chunk, answer)) = answer else {
        return;
    };
    let said = with_chunk(said, &chunk);
    match answer {
        Answer::Delivered => {
            assert!(!handshake, "the receiver does not know the shared key");
            assert!(acknowledges(&said, &chunk), "{said:?}");
        }
        Answer::Retry { .. } => {}
        Answer::Items(_) | Answer::TooLarge => panic!("no receiver can say {answer:?}"),
    }
}

/// Delivers one batch to a receiver that says this; its answer, and the id the chunk had.
async fn deliver(said: &[u8], handshake: bool, size: usize) -> Option<(Vec<u8>, Answer)> {
    let listener = runtime::listener().await;
    let endpoint = listener.local_addr().unwrap().to_string();
    let folder = handshake.then(folder::new);
    let settings = ForwardSettings {
        shared_key_file: folder.as_ref().map(|folder| {
            let path = folder.path().join("key");
            std::fs::write(&path, "a key that nobody knows").unwrap();
            path
        }),
        ..ForwardSettings::new(endpoint.parse().unwrap())
    };
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let output = Forward::new(settings, metrics).unwrap();
    let (batches, batch_source) = mpsc::channel(1);
    let (answer_sink, mut answers) = mpsc::channel(4);
    let batch = Batch {
        id: BatchId(7),
        bytes: Bytes::from_static(&[0x92, 0, 0x80]),
        ends: vec![3],
    };
    batches.send(batch).await.unwrap();
    drop(batches);
    let running = output.run(batch_source, answer_sink, CancellationToken::new());
    let chunk = runtime::beside(Box::pin(running), |done| {
        receive(&listener, done, said, handshake, size)
    })
    .await;
    let (id, answer) = answers.recv().await.expect("each batch has an answer");
    assert_eq!(id, BatchId(7));
    assert!(answers.recv().await.is_none(), "each batch has one answer");
    assert!(
        chunk.is_ok() || answer != Answer::Delivered,
        "nobody has seen it"
    );
    Some((chunk.ok()?, answer))
}

/// One connection of the receiver; the id of the chunk that came, if one did.
async fn receive(
    listener: &TcpListener,
    done: CancellationToken,
    said: &[u8],
    handshake: bool,
    size: usize,
) -> io::Result<Vec<u8>> {
    let mut stream = runtime::accept(listener, &done).await?;
    let chunk = if handshake {
        CHUNK.to_vec()
    } else {
        read_chunk(&mut stream).await?
    };
    for part in with_chunk(said, &chunk).chunks(size) {
        if stream.write_all(part).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(chunk)
}

async fn read_chunk(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    const BEFORE: &[u8] = b"\xa5chunk\xb8";
    let mut message = Vec::new();
    loop {
        let found = message.windows(BEFORE.len()).position(|w| w == BEFORE);
        let id = found.and_then(|at| message.get(at + BEFORE.len()..at + BEFORE.len() + 24));
        // The message ends with its size: 1.
        if let Some(id) = id
            && message.ends_with(b"\xa4size\x01")
        {
            return Ok(id.to_vec());
        }
        if stream.read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn with_chunk(said: &[u8], chunk: &[u8]) -> Vec<u8> {
    let mut said = said.to_vec();
    let mut at = 0;
    while let Some(found) = said[at..].windows(24).position(|window| window == CHUNK) {
        said[at + found..at + found + 24].copy_from_slice(chunk);
        at += found + 24;
    }
    said
}

/// Whether the first thing that is said is an acknowledgement of this chunk.
fn acknowledges(said: &[u8], chunk: &[u8]) -> bool {
    let Ok(Packed::Map(pairs)) = rmpv::decode::read_value(&mut &said[..]) else {
        return false;
    };
    let bytes = |value: &Packed| value.as_slice().map(<[u8]>::to_vec);
    pairs.iter().any(|(key, value)| {
        bytes(key).is_some_and(|key| key == b"ack")
            && bytes(value).is_some_and(|value| value == chunk)
    })
}
