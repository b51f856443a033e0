use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// A server that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    address
}

/// Sends `text` and reads until the end, an error, or until as much has come back.
async fn talk(proxy: &FaultProxy, text: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut got = Vec::new();
    let exchange = async {
        stream.write_all(text).await?;
        while got.len() < text.len() {
            let mut chunk = [0; 64];
            match stream.read(&mut chunk).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => got.extend_from_slice(&chunk[..length]),
            }
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(LIMIT, exchange).await;
    (
        got,
        outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
    )
}

async fn proxy(fault: Fault, connections: Option<u32>) -> FaultProxy {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    proxy.plan(Plan { fault, connections });
    proxy
}

#[tokio::test]
async fn without_a_plan_every_byte_passes() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let text = vec![b'x'; 100_000];
    let (got, outcome) = talk(&proxy, &text).await;
    assert!(outcome.is_ok() && got == text);
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_close_falls_into_the_middle_of_the_answer_and_then_never_again() {
    let proxy = proxy(Fault::Close(Direction::ToClient, 3), Some(1)).await;
    let (got, outcome) = talk(&proxy, b"message").await;
    assert_eq!(
        (got.as_slice(), outcome.unwrap_err().kind()),
        (b"mes".as_slice(), io::ErrorKind::UnexpectedEof)
    );
    assert!(proxy.wait_for_faults(1, LIMIT).await);
    let (got, outcome) = talk(&proxy, b"message").await;
    assert!(outcome.is_ok() && got == b"message");
}

#[tokio::test]
async fn a_cut_resets_the_connection() {
    let proxy = proxy(Fault::Cut(Direction::ToServer, 4), None).await;
    let (_, outcome) = talk(&proxy, b"message").await;
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_stall_says_nothing_until_it_is_cut() {
    let proxy = proxy(Fault::Stall(Direction::ToClient, 2), None).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"message").await.unwrap();
    let mut got = [0; 2];
    stream.read_exact(&mut got).await.unwrap();
    assert!(proxy.wait_for_faults(1, LIMIT).await);
    assert_eq!(&got, b"me");
    proxy.cut_all();
    let ended = tokio::time::timeout(LIMIT, stream.read(&mut got))
        .await
        .unwrap();
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_refused_connection_carries_nothing() {
    let proxy = proxy(Fault::Refuse, None).await;
    let (got, outcome) = talk(&proxy, b"message").await;
    assert!(got.is_empty() && outcome.is_err());
}
