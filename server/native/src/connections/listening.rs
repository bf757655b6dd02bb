//! Where calls come in: addresses in gRPC's notation.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
/// After a connection could not be taken (there are no descriptors left, mostly), the next one is not tried at once.
const AGAIN: Duration = Duration::from_millis(50);
const UNIX: &str = "unix:";

/// Sockets that are bound; callers are let in once they listen.
pub struct Sockets(Vec<(Socket, bool)>);

impl Sockets {
    /// `host:port`, shared with others (`SO_REUSEPORT`), or `unix:/path`. A host may have several addresses.
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

    /// Let callers in. To be called in the runtime that is to serve them.
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
        // As gRPC does it: `[::]` takes callers of IPv4, too.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_path(path: &Path) -> io::Result<Socket> {
    if path.as_os_str().is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a unix socket needs a path"));
    }
    // A worker that was killed has left it there.
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    Ok(socket)
}

/// A socket that listens.
pub enum Listener {
    Path(tokio::net::UnixListener),
    Port(tokio::net::TcpListener),
}

/// A caller's connection.
pub enum Connection {
    Path(tokio::net::UnixStream),
    Port(tokio::net::TcpStream),
}

impl Listener {
    /// The next connection.
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
