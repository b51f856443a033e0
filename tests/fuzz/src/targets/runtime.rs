//! The runtime for targets that need one, made once a thread.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing of this has to wait for anything.
const BOUND: Duration = Duration::from_secs(8);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
}

/// A listener on an address of its own: closed connections keep their pair of ports for a minute, and
/// one address has not enough of them for thousands of connections a second.
pub(crate) async fn listener() -> TcpListener {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let address = Ipv4Addr::new(127, 77, high, low.max(1));
    TcpListener::bind((address, 0))
        .await
        .expect("loopback addresses can be listened on")
}

/// Runs `client` and its `server`, which is told when nobody will come any more.
pub(crate) async fn beside<F: Future>(
    client: impl Future<Output = ()>,
    server: impl FnOnce(CancellationToken) -> F,
) -> F::Output {
    let done = CancellationToken::new();
    let serving = server(done.clone());
    let ((), served) = tokio::join!(
        async {
            client.await;
            done.cancel();
        },
        serving
    );
    served
}

/// The connection of a client, or an error if none comes.
pub(crate) async fn accept(
    listener: &TcpListener,
    done: &CancellationToken,
) -> io::Result<TcpStream> {
    let (stream, _) = tokio::select! {
        accepted = listener.accept() => accepted?,
        () = done.cancelled() => return Err(io::ErrorKind::NotConnected.into()),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Runs `future` to its end.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| {
        runtime
            .block_on(async { timeout(BOUND, future).await })
            .expect("it ends")
    })
}
