//! Names of Services, as DNS of a cluster has them: answered from what the API server says at that
//! moment. Enough for programs in pods that call Services by name; nothing outside is known.
//!
//! | question | answer |
//! |---|---|
//! | A of `<service>.<namespace>.svc.cluster.local` | its address; for a headless one, those of its ready pods |
//! | AAAA of it | none, without an error |
//! | anything else | no such name |

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::peers::kubernetes::Reader;

/// What names end with.
pub(super) const DOMAIN: &str = "cluster.local";

const PORT: u16 = 53;
/// How often it looks whether it shall end.
const PAUSE: Duration = Duration::from_millis(200);
const HEAD_BYTES: usize = 12;
const QUESTION_BYTES_MAX: usize = 512;
const ADDRESS: u16 = 1;
/// An answer, authoritative, to a question that asked for recursion or not.
const ANSWERED: u8 = 0x84;
const NO_SUCH_NAME: u8 = 3;
const FAILED: u8 = 2;
/// How long an answer may be kept, in seconds.
const KEPT_SECONDS: u32 = 1;

/// Answers until it goes away.
#[derive(Debug)]
pub(super) struct Names {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[expect(clippy::expect_used, reason = "a test panics where it fails")]
impl Names {
    /// Answers at `host` from what `reader` reads.
    pub(super) fn serve(host: Ipv4Addr, reader: Reader) -> Self {
        let socket = UdpSocket::bind((host, PORT)).expect("listen for questions");
        socket.set_read_timeout(Some(PAUSE)).expect("bound a read");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut question = [0; QUESTION_BYTES_MAX];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, who)) = socket.recv_from(&mut question) {
                    let question = question.get(..length).unwrap_or_default();
                    let answer = answer(question, |name| addresses(&reader, name));
                    // Who does not hear the answer asks again.
                    drop(answer.map(|answer| socket.send_to(&answer, who)));
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// What is known of a name.
#[derive(Debug, PartialEq)]
enum Known {
    Addresses(Vec<Ipv4Addr>),
    Nothing,
    /// The API server does not answer.
    Unknown,
}

/// The answer to one question, if it is one.
fn answer(question: &[u8], find: impl FnOnce(&str) -> Known) -> Option<Vec<u8>> {
    let (name, end) = name(question)?;
    let kind = question.get(end..end + 2)?;
    let kind = u16::from_be_bytes(kind.try_into().ok()?);
    let (addresses, code) = match find(&name) {
        Known::Addresses(addresses) if kind == ADDRESS => (addresses, 0),
        Known::Addresses(_) => (Vec::new(), 0),
        Known::Nothing => (Vec::new(), NO_SUCH_NAME),
        Known::Unknown => (Vec::new(), FAILED),
    };
    let count = u16::try_from(addresses.len()).ok()?;
    let mut answer = question.get(..2)?.to_vec();
    let wants_recursion = question.get(2)? & 1;
    answer.extend([ANSWERED | wants_recursion, 0x80 | code, 0, 1]);
    answer.extend(count.to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(question.get(HEAD_BYTES..end + 4)?);
    for address in addresses {
        // The name of the question.
        answer.extend([0xc0, 0x0c, 0, 1, 0, 1]);
        answer.extend(KEPT_SECONDS.to_be_bytes());
        answer.extend([0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// The name that is asked for, in small letters, and where it ends.
fn name(question: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (HEAD_BYTES, Vec::new());
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = question.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn addresses(reader: &Reader, name: &str) -> Known {
    let parts = name
        .strip_suffix(DOMAIN)
        .map(|name| name.trim_end_matches('.'));
    let parts: Vec<&str> = parts.unwrap_or_default().split('.').collect();
    let [service, namespace, "svc"] = parts.as_slice() else {
        return Known::Nothing;
    };
    let found = reader.ask(&format!(
        "/api/v1/namespaces/{namespace}/services/{service}"
    ));
    match (
        found.status,
        found
            .body
            .pointer("/spec/clusterIP")
            .and_then(Value::as_str),
    ) {
        (404, _) => Known::Nothing,
        (200, Some("None")) => endpoints(reader, namespace, service),
        (200, Some(address)) => Known::Addresses(address.parse().into_iter().collect()),
        _ => Known::Unknown,
    }
}

fn endpoints(reader: &Reader, namespace: &str, service: &str) -> Known {
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?\
         labelSelector=kubernetes.io%2Fservice-name%3D{service}"
    );
    let slices = reader.ask(&slices);
    if !slices.is_success() {
        return Known::Unknown;
    }
    let list = |value: &Value, name: &str| {
        let list = value.get(name).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let all = list(&slices.body, "items").into_iter();
    let endpoints = all.flat_map(|slice| list(&slice, "endpoints"));
    let ready = endpoints.filter(|endpoint| {
        let ready = endpoint.pointer("/conditions/ready");
        ready.and_then(Value::as_bool) != Some(false)
    });
    let addresses = ready.flat_map(|endpoint| list(&endpoint, "addresses"));
    let parsed = addresses.filter_map(|address| address.as_str()?.parse().ok());
    let parsed: Vec<Ipv4Addr> = parsed.collect();
    // A headless Service without a ready pod has no address: such a name is not there.
    if parsed.is_empty() {
        Known::Nothing
    } else {
        Known::Addresses(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03Hub\x01b\0\0\x01\0\x01";

    #[test]
    fn a_question_is_answered_with_every_address() {
        let addresses = vec![Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let given = answer(QUESTION, |name| {
            assert_eq!(name, "hub.b");
            Known::Addresses(addresses)
        });
        let mut expected =
            b"\x12\x34\x85\x80\0\x01\0\x02\0\0\0\0\x03Hub\x01b\0\0\x01\0\x01".to_vec();
        expected.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x0a\0\0\x01");
        expected.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x01\0\x04\x0a\0\0\x02");
        assert_eq!(given.unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_told_apart() {
        for (known, code) in [
            (Known::Nothing, 3),
            (Known::Unknown, 2),
            (Known::Addresses(Vec::new()), 0),
        ] {
            let given = answer(QUESTION, |_| known).unwrap();
            assert_eq!(given[3] & 15, code);
            assert_eq!(given[7], 0, "no addresses");
        }
    }

    #[test]
    fn what_is_no_question_gets_no_answer() {
        for length in 0..QUESTION.len() {
            let question = &QUESTION[..length];
            assert_eq!(answer(question, |_| Known::Nothing), None, "{length}");
        }
    }
}
