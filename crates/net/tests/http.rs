//! The client and the server together, and each against a peer that misbehaves.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test panics where it fails"
)]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use net::server::Peer;
use net::{ClientSettings, Endpoint, HttpClient, Server, ServerSettings, body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn serve<H, F>(settings: ServerSettings, handler: H) -> Running
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), settings)
        .await
        .unwrap();
    let address = server.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(server.serve(handler, stop.clone()));
    Running {
        address,
        stop,
        task,
    }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task)
            .await
            .expect("the server ends")
            .unwrap();
    }
}

fn client(address: SocketAddr, settings: ClientSettings) -> HttpClient {
    let endpoint: Endpoint = format!("http://{address}/base").parse().unwrap();
    HttpClient::new(endpoint, settings)
}

async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    assert!(request.extensions().get::<Peer>().is_some());
    let path = request.uri().to_string();
    let headers = request.headers().clone();
    let mut pieces = body::Pieces::new(request.into_body(), &headers, 1 << 20).unwrap();
    let mut answer = path.into_bytes();
    while let Some(piece) = pieces.next().await.unwrap() {
        answer.extend_from_slice(&piece);
    }
    Response::builder()
        .status(StatusCode::ACCEPTED)
        .header("retry-after", "3")
        .body(Full::new(answer.into()))
        .unwrap()
}

#[tokio::test]
async fn a_request_and_its_answer() {
    let running = serve(ServerSettings::default(), echo).await;
    let client = client(running.address, ClientSettings::default());
    for _ in 0..3 {
        let body = Bytes::from_static(b" hello");
        let reply = client
            .send(Method::POST, "/x?y=z", HeaderMap::new(), body)
            .await
            .unwrap();
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        assert_eq!(reply.body, "/base/x?y=z hello");
        assert_eq!(reply.retry_after(), Some(Duration::from_secs(3)));
    }
    running.end().await;
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    const DATE: Option<&str> = Some("Mon, 23 Nov 2026 14:00:00 GMT");
    let wait = |after: &str, date: Option<&str>| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", after.parse().unwrap());
        if let Some(date) = date {
            headers.insert("date", date.parse().unwrap());
        }
        let reply = net::Reply {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers,
            body: Bytes::new(),
        };
        reply.retry_after()
    };
    for (after, seconds) in [
        ("7", Some(7)),
        ("999999", Some(3600)),
        ("Mon, 23 Nov 2026 14:00:42 GMT", Some(42)),
        // the two forms that are obsolete and still to be read
        ("Monday, 23-Nov-26 14:01:00 GMT", Some(60)),
        ("Mon Nov 23 14:02:00 2026", Some(120)),
        ("Tue, 24 Nov 2026 14:00:00 GMT", Some(3600)),
        ("Mon, 23 Nov 2026 13:00:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("Mon, 33 Nov 2026 14:00:00 GMT", None),
    ] {
        assert_eq!(
            wait(after, DATE),
            seconds.map(Duration::from_secs),
            "{after}"
        );
    }
    // without the server's clock ours has to do
    let soon = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(10));
    let waited = wait(&soon, None).unwrap();
    let around = Duration::from_mins(9)..=Duration::from_mins(10);
    assert!(around.contains(&waited), "{waited:?}");
    assert_eq!(
        wait("Mon, 23 Nov 2020 14:00:00 GMT", None),
        Some(Duration::ZERO)
    );
}

#[tokio::test]
async fn an_answer_above_the_cap_is_refused() {
    let running = serve(ServerSettings::default(), echo).await;
    let settings = ClientSettings {
        reply_bytes_max: 10,
        ..ClientSettings::default()
    };
    let sent = client(running.address, settings)
        .send(Method::POST, "/long-enough", HeaderMap::new(), Bytes::new())
        .await;
    assert_eq!(sent.unwrap_err().label(), "body_too_long");
    running.end().await;
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = ClientSettings {
        request_timeout: Duration::from_millis(200),
        ..ClientSettings::default()
    };
    let client = client(listener.local_addr().unwrap(), settings);
    let sent = client
        .send(Method::GET, "/", HeaderMap::new(), Bytes::new())
        .await;
    let error = sent.unwrap_err();
    assert_eq!(error.label(), "timeout");
    assert!(error.to_string().contains("longer than 0.2 s"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_apart_from_a_broken_exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(listener.local_addr().unwrap(), ClientSettings::default());
    let closing = async { drop(listener.accept().await.unwrap()) };
    let sending = client.send(Method::GET, "/", HeaderMap::new(), Bytes::new());
    let (sent, ()) = tokio::join!(sending, closing);
    assert_eq!(sent.unwrap_err().label(), "closed");
    drop(listener);
    let sent = client
        .send(Method::GET, "/", HeaderMap::new(), Bytes::new())
        .await;
    assert_eq!(sent.unwrap_err().label(), "connect");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let settings = ServerSettings {
        header_timeout: Duration::from_millis(200),
        ..ServerSettings::default()
    };
    let running = serve(settings, echo).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("closed")
        .unwrap();
    running.end().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let settings = ServerSettings {
        connections_max: 1,
        ..ServerSettings::default()
    };
    let running = serve(settings, echo).await;
    let request = b"GET /a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut first = TcpStream::connect(running.address).await.unwrap();
    first.write_all(&request[..10]).await.unwrap();
    let mut second = TcpStream::connect(running.address).await.unwrap();
    second.write_all(request).await.unwrap();
    let early = timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "the first holds the only place");
    first.write_all(&request[10..]).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, first.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    timeout(PATIENCE, second.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        String::from_utf8(answer)
            .unwrap()
            .matches("202 Accepted")
            .count(),
        2
    );
    running.end().await;
}

#[tokio::test]
async fn a_stop_lets_running_requests_end_and_closes_idle_connections() {
    let (entered, mut handling) = mpsc::channel(1);
    let release = CancellationToken::new();
    let gate = release.clone();
    let running = serve(ServerSettings::default(), move |request| {
        let (entered, gate) = (entered.clone(), gate.clone());
        async move {
            entered.send(()).await.unwrap();
            gate.cancelled().await;
            echo(request).await
        }
    })
    .await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let client = client(running.address, ClientSettings::default());
    let sending = tokio::spawn(async move {
        client
            .send(Method::GET, "/late", HeaderMap::new(), Bytes::new())
            .await
    });
    handling.recv().await.unwrap();
    running.stop.cancel();
    timeout(PATIENCE, idle.read_to_end(&mut Vec::new()))
        .await
        .expect("idle ends")
        .unwrap();
    release.cancel();
    let reply = timeout(PATIENCE, sending).await.unwrap().unwrap().unwrap();
    assert_eq!(reply.body, "/base/late");
    running.end().await;
}

/// One request on a connection that is kept; the answer's head.
async fn ask(stream: &mut TcpStream) -> String {
    let request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = vec![0; 1024];
    let read = timeout(PATIENCE, stream.read(&mut answer)).await;
    answer.truncate(read.expect("an answer").unwrap());
    String::from_utf8(answer).unwrap()
}

async fn is_ended(stream: &mut TcpStream) -> bool {
    let mut more = [0; 1];
    let read = timeout(PATIENCE, stream.read(&mut more)).await;
    read.expect("it ends").is_ok_and(|read| read == 0)
}

#[tokio::test]
async fn who_leaves_ends_idle_connections_and_answers_new_ones_once() {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, ServerSettings::default()).await.unwrap();
    let address = server.local_addr().unwrap();
    let (leave, stop) = (CancellationToken::new(), CancellationToken::new());
    let answer = |_| async { Response::new(Full::new(Bytes::from_static(b"ok"))) };
    let served = server.serve_and_leave(answer, leave.clone(), stop.clone());
    let task = tokio::spawn(served);
    let mut idle = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        assert!(ask(&mut idle).await.contains("200 OK"));
    }
    leave.cancel();
    assert!(is_ended(&mut idle).await);
    for _ in 0..3 {
        let mut new = TcpStream::connect(address).await.unwrap();
        let answer = ask(&mut new).await;
        assert!(answer.contains("200 OK"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(is_ended(&mut new).await);
    }
    stop.cancel();
    timeout(PATIENCE, task)
        .await
        .expect("the server ends")
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
