//! The listening sockets. Addresses are written as in gRPC.

use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How many connections the kernel queues.
const BACKLOG: i32 = 1024;
/// Pause after a failed `accept`; usually the process has run out of file descriptors.
const AGAIN: Duration = Duration::from_millis(50);
const UNIX: &str = "unix:";

/// Bound sockets that do not listen yet.
pub struct Sockets(Vec<(Socket, bool)>);

impl Sockets {
    /// Binds `host:port`, with `SO_REUSEPORT`, or `unix:/path`. A host that resolves to several addresses gets a socket
    /// for each.
    pub fn to(addresses: Vec<String>) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for address in addresses {
            if let Some(path) = address.strip_prefix(UNIX) {
                sockets.push((bind_path(Path::new(path))?, true));
                continue;
            }
            for resolved in address.to_socket_addrs()? {
                sockets.push((bind_port(resolved)?, false));
            }
        }
        Ok(Self(sockets))
    }

    /// Starts to listen. Must be called inside the runtime that will accept the connections.
    pub fn listen(self) -> io::Result<Vec<Listener>> {
        self.0
            .into_iter()
            .map(|(socket, is_path)| {
                socket.listen(BACKLOG)?;
                Ok(if is_path {
                    Listener::Path(tokio::net::UnixListener::from_std(UnixListener::from(socket))?)
                } else {
                    Listener::Port(tokio::net::TcpListener::from_std(TcpListener::from(socket))?)
                })
            })
            .collect()
    }
}

fn bind_port(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // As in gRPC, `[::]` accepts IPv4 callers, too.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_path(path: &Path) -> io::Result<Socket> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a unix socket needs a path"));
    }
    // Left behind by a worker that was killed.
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// A listening socket.
pub enum Listener {
    Path(tokio::net::UnixListener),
    Port(tokio::net::TcpListener),
}

/// An accepted connection.
pub enum Connection {
    Path(tokio::net::UnixStream),
    Port(tokio::net::TcpStream),
}

impl Listener {
    /// Accepts the next connection.
    pub async fn accept(&self) -> Connection {
        loop {
            let taken = poll_fn(|context| match self {
                Listener::Path(listener) => listener.poll_accept(context).map_ok(|(path, _)| Connection::Path(path)),
                Listener::Port(listener) => listener.poll_accept(context).map_ok(|(port, _)| Connection::Port(port)),
            });
            match taken.await {
                Ok(connection) => return connection,
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}
