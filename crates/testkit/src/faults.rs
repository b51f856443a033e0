//! A TCP proxy that misbehaves on demand, byte by byte.
//!
//! It stands between a client and a server and passes bytes on until its [`Plan`] says otherwise. A
//! plan counts the bytes of each direction of each connection, so a fault falls into the middle of a
//! message, not between two.
//!
//! | fault | what the peers see |
//! |---|---|
//! | [`Fault::Close`] | the connection ends cleanly after that many bytes |
//! | [`Fault::Cut`] | the connection is reset after that many bytes |
//! | [`Fault::Stall`] | no byte more in that direction, the connection stays open |
//! | [`Fault::Refuse`] | every connection ends before its first byte |

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const CHUNK_BYTES: usize = 4096;

/// Which bytes a fault counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// What goes wrong on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The connection ends before its first byte.
    Refuse,
    /// The connection is closed after so many bytes of one direction.
    Close(Direction, u64),
    /// The connection is reset after so many bytes of one direction.
    Cut(Direction, u64),
    /// One direction passes so many bytes and then none, while the connection stays open.
    Stall(Direction, u64),
}

/// What happens to the connections that come from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What goes wrong.
    pub fault: Fault,
    /// On how many connections; the ones after them are sound. `None`: on all.
    pub connections: Option<u32>,
}

/// A running proxy; ends with all its connections when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<State>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct State {
    server: SocketAddr,
    plan: Mutex<Plan>,
    accepted: watch::Sender<u64>,
    faults: watch::Sender<u64>,
    epoch: Mutex<CancellationToken>,
    stop: CancellationToken,
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Closed,
    Cut,
}

impl FaultProxy {
    /// Listens on a free port of the loopback address and passes everything to `server`.
    ///
    /// # Errors
    /// What binding the port says.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let state = Arc::new(State {
            server,
            plan: Mutex::default(),
            accepted: watch::Sender::new(0),
            faults: watch::Sender::new(0),
            epoch: Mutex::new(stop.child_token()),
            stop: stop.clone(),
        });
        tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            _stop: stop.drop_guard(),
        })
    }

    /// Where clients connect to.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what happens to the connections that come from now on.
    pub fn plan(&self, plan: Plan) {
        *lock(&self.state.plan) = plan;
    }

    /// Resets every connection that is open now.
    pub fn cut_all(&self) {
        let fresh = self.state.stop.child_token();
        std::mem::replace(&mut *lock(&self.state.epoch), fresh).cancel();
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        *self.state.accepted.borrow()
    }

    /// Waits until `count` planned faults have happened; `false` if that takes longer than `limit`.
    pub async fn wait_for_faults(&self, count: u64, limit: Duration) -> bool {
        let mut faults = self.state.faults.subscribe();
        let reached = faults.wait_for(|seen| *seen >= count);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }
}

impl State {
    /// The fault of the connection that was just accepted.
    fn next_fault(&self) -> Fault {
        self.accepted.send_modify(|count| *count += 1);
        let mut plan = lock(&self.plan);
        match &mut plan.connections {
            Some(0) => Fault::None,
            Some(left) => {
                *left -= 1;
                plan.fault
            }
            None => plan.fault,
        }
    }

    fn happened(&self) {
        self.faults.send_modify(|count| *count += 1);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let client = tokio::select! {
            () = state.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = client else { return };
        let fault = state.next_fault();
        let epoch = lock(&state.epoch).clone();
        tokio::spawn(serve(client, fault, epoch, Arc::clone(&state)));
    }
}

async fn serve(client: TcpStream, fault: Fault, epoch: CancellationToken, state: Arc<State>) {
    if fault == Fault::Refuse {
        state.happened();
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(state.server).await else {
        return reset(&client);
    };
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut up = Pump::new(client_read, server_write, fault, Direction::ToServer);
    let mut down = Pump::new(server_read, client_write, fault, Direction::ToClient);
    let ending = tokio::select! {
        () = epoch.cancelled() => Ending::Cut,
        ended = async { tokio::try_join!(up.run(&state), down.run(&state)) } => {
            ended.err().unwrap_or(Ending::Closed)
        }
    };
    if ending == Ending::Cut {
        for pump in [up, down] {
            reset(pump.write.as_ref());
            // A write half says an orderly end when it is dropped; the reset has to be the first word.
            pump.write.forget();
        }
    }
}

/// Makes the drop of the socket send a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    // A socket that is gone already needs no reset.
    drop(stream.set_zero_linger());
}

/// One direction of a connection.
struct Pump {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    /// Bytes that pass before the fault, if it falls on this direction.
    left: Option<u64>,
    fault: Fault,
}

impl Pump {
    fn new(read: OwnedReadHalf, write: OwnedWriteHalf, fault: Fault, side: Direction) -> Self {
        let left = match fault {
            Fault::Close(on, bytes) | Fault::Cut(on, bytes) | Fault::Stall(on, bytes)
                if on == side =>
            {
                Some(bytes)
            }
            _ => None,
        };
        Self {
            read,
            write,
            left,
            fault,
        }
    }

    /// Passes bytes on until the reader has no more (`Ok`) or the connection has to end.
    async fn run(&mut self, state: &State) -> Result<(), Ending> {
        let mut chunk = [0; CHUNK_BYTES];
        loop {
            let length = self.read.read(&mut chunk).await.map_err(|_| Ending::Cut)?;
            if length == 0 {
                // The peer may be gone already; then there is nobody to tell.
                drop(self.write.shutdown().await);
                return Ok(());
            }
            let pass = self.left.map_or(length, |left| {
                usize::try_from(left).unwrap_or(length).min(length)
            });
            let bytes = chunk.get(..pass).unwrap_or_default();
            self.write.write_all(bytes).await.map_err(|_| Ending::Cut)?;
            if let Some(left) = &mut self.left {
                *left -= pass as u64;
                if *left == 0 {
                    return Err(self.strike(state).await);
                }
            }
        }
    }

    async fn strike(&self, state: &State) -> Ending {
        state.happened();
        match self.fault {
            Fault::Cut(..) => Ending::Cut,
            Fault::Stall(..) => std::future::pending().await,
            _ => Ending::Closed,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
