//! The answer to a bulk request.

use std::io;

use bytes::Bytes;
use out_elastic::{Elastic, ElasticSettings, Metrics};
use pipeline::output::{Answer, Batch, BatchId, ItemOutcome, Output as _};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::input::Input;
use crate::targets::runtime;

const ITEM: &[u8] = b"{\"create\":{}}\n{}\n";

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let status = input.one_of(&[200, 200, 200, 200, 201, 400, 401, 413, 429, 500, 503]);
    let items = usize::from(input.byte() % 3) + 1;
    let body = input.rest();
    match runtime::run(deliver(status, body, items)) {
        Answer::Delivered => assert_items(body, status, &vec![ItemOutcome::Delivered; items]),
        Answer::Items(outcomes) => {
            assert_eq!(outcomes.len(), items);
            if let [
                ItemOutcome::Rejected {
                    label: "too_large", ..
                },
            ] = outcomes[..]
            {
                assert_eq!(status, 413);
                return;
            }
            assert_items(body, status, &outcomes);
        }
        Answer::TooLarge => assert_eq!(status, 413),
        Answer::Retry { .. } => {}
    }
}

/// Delivers one batch to a server that answers so.
async fn deliver(status: u16, body: &[u8], items: usize) -> Answer {
    let listener = runtime::listener().await;
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
    let output = Elastic::new(ElasticSettings::new(endpoint.parse().unwrap()), metrics).unwrap();
    let (batches, batch_source) = mpsc::channel(1);
    let (answer_sink, mut answers) = mpsc::channel(4);
    let ends = (1..).map(|item| item * u32::try_from(ITEM.len()).unwrap());
    let batch = Batch {
        id: BatchId(7),
        bytes: Bytes::from(ITEM.repeat(items)),
        ends: ends.take(items).collect(),
    };
    batches.send(batch).await.unwrap();
    drop(batches);
    let running = output.run(batch_source, answer_sink, CancellationToken::new());
    let served = runtime::beside(Box::pin(running), |done| {
        serve(&listener, done, status, body)
    })
    .await;
    let (id, answer) = answers.recv().await.expect("each batch has an answer");
    assert_eq!(id, BatchId(7));
    assert!(answers.recv().await.is_none(), "each batch has one answer");
    assert!(
        served.is_ok() || matches!(answer, Answer::Retry { .. }),
        "nobody has seen it"
    );
    answer
}

/// Answers one request.
async fn serve(
    listener: &TcpListener,
    done: CancellationToken,
    status: u16,
    body: &[u8],
) -> io::Result<()> {
    let mut stream = runtime::accept(listener, &done).await?;
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut answer = format!(
        "HTTP/1.1 {status} said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).await
}

/// The request ends with the last item; before that come head and an empty line.
fn is_whole(request: &[u8]) -> bool {
    let head = request.windows(4).position(|window| window == b"\r\n\r\n");
    let Some(head) = head else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    request.len() - head - 4 >= length.unwrap_or(0)
}

/// Each outcome is what the server said of this item.
fn assert_items(body: &[u8], status: u16, outcomes: &[ItemOutcome]) {
    assert!(
        (200..300).contains(&status),
        "{status} says nothing of items"
    );
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        // What nobody reads of an answer may be valid JSON that cannot be held.
        let valid: Result<IgnoredAny, _> = serde_json::from_slice(body);
        return assert!(valid.is_ok(), "JSON");
    };
    let items = answer["items"].as_array().expect("a list of items");
    assert_eq!(items.len(), outcomes.len());
    for (item, outcome) in items.iter().zip(outcomes) {
        let actions = item.as_object().expect("an item names its action");
        assert_eq!(actions.len(), 1, "an item names one action");
        let result = actions.values().next().unwrap();
        let status = result["status"].as_u64().expect("an item has a status");
        let matches = match outcome {
            ItemOutcome::Delivered => matches!(status, 200 | 201),
            ItemOutcome::Duplicate => status == 409,
            ItemOutcome::Rejected { .. } => (400..500).contains(&status) && status != 429,
            ItemOutcome::Retry { .. } => !matches!(status, 200 | 201 | 409),
        };
        assert!(matches, "{status} became {outcome:?}");
    }
}
