//! A receiver of the forward protocol that stores before it acknowledges, and misbehaves on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rmpv::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::store::Store;

const READ_BYTES: usize = 256 * 1024;

/// How messages are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Stored, then acknowledged.
    #[default]
    Sound,
    /// Read, not stored, never answered.
    Silent,
    /// Not stored, and acknowledged under an id that nobody sent.
    Lying,
    /// Stored; half of the acknowledgement, then the end of the connection.
    Cut,
}

/// A running receiver; ends with the test.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    manner: Arc<Mutex<Manner>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            store: Store::default(),
            manner: Arc::default(),
        };
        let (store, manner) = (receiver.store.clone(), Arc::clone(&receiver.manner));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, store.clone(), Arc::clone(&manner)));
            }
        });
        receiver
    }

    /// Messages from now on are answered like this.
    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }
}

async fn serve(mut stream: TcpStream, store: Store, manner: Arc<Mutex<Manner>>) {
    let mut buffer = Vec::new();
    loop {
        let mut whole = 0;
        let mut rest = buffer.as_slice();
        while let Ok(value) = rmpv::decode::read_value(&mut rest) {
            whole = buffer.len() - rest.len();
            let manner = *manner.lock().unwrap_or_else(PoisonError::into_inner);
            if !answer(&mut stream, &store, &value, manner).await {
                return;
            }
        }
        // An attempt at a part of a message consumes it, too.
        buffer.drain(..whole);
        // Room for a large part of a message, so that few attempts are made at one.
        buffer.reserve(READ_BYTES);
        match stream.read_buf(&mut buffer).await {
            Ok(length) if length > 0 => {}
            _ => return,
        }
    }
}

/// Answers one message; false ends the connection.
async fn answer(stream: &mut TcpStream, store: &Store, message: &Value, manner: Manner) -> bool {
    let chunk = message[2]["chunk"].as_str().expect("an id").to_owned();
    if matches!(manner, Manner::Sound | Manner::Cut) {
        commit(store, message);
    }
    let said = match manner {
        Manner::Lying => "AAAAAAAAAAAAAAAAAAAAAA==",
        _ => &chunk,
    };
    let mut ack = b"\x81\xa3ack\xb8".to_vec();
    ack.extend_from_slice(said.as_bytes());
    match manner {
        Manner::Silent => true,
        Manner::Cut => {
            // The sender may be gone already.
            drop(stream.write_all(&ack[..ack.len() / 2]).await);
            false
        }
        Manner::Sound | Manner::Lying => stream.write_all(&ack).await.is_ok(),
    }
}

fn commit(store: &Store, message: &Value) {
    assert_eq!(message[0].as_str(), Some("emco.logs"));
    let mut entries = message[1].as_slice().expect("a packed forward");
    store.keep(entries);
    let mut count = 0;
    while !entries.is_empty() {
        let entry = rmpv::decode::read_value(&mut entries).expect("whole entries");
        let (kind, time) = entry[0].as_ext().expect("an event time");
        assert_eq!((kind, time.len()), (0, 8));
        let document = json(&entry[1]);
        let id = document["event.id"].as_str().expect("an id").to_owned();
        store.add(&id, document);
        count += 1;
    }
    assert_eq!(message[2]["size"].as_u64(), Some(count));
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Boolean(value) => (*value).into(),
        Value::Integer(value) => match (value.as_u64(), value.as_i64()) {
            (Some(value), _) => value.into(),
            (_, value) => value.into(),
        },
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().expect("strings are UTF-8").into(),
        Value::Array(values) => values.iter().map(json).collect(),
        Value::Map(members) => members
            .iter()
            .map(|(key, value)| {
                (
                    key.as_str().expect("keys are strings").to_owned(),
                    json(value),
                )
            })
            .collect(),
        other => panic!("no record has {other}"),
    }
}
