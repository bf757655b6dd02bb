//! Puts a cluster at a distance: forwards TCP connections, and holds what they carry back for a while.
//!
//! `instantaudience-distance MICROSECONDS PORT...` listens on a free port of the loopback address for each port given,
//! prints these ports in one line, and forwards connections, in each direction that much later. It ends when its
//! standard input does.

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes that are read at once, and how many such pieces a direction may hold back.
const PIECE_BYTES: usize = 1 << 18;
const MOST_PIECES: usize = 1 << 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let delay = Duration::from_micros(arguments.next().ok_or("how many microseconds?")?.parse()?);
    let mut ports = Vec::new();
    for argument in arguments {
        let target: u16 = argument.parse()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        ports.push(listener.local_addr()?.port().to_string());
        thread::spawn(move || listen(&listener, target, delay));
    }
    println!("{}", ports.join(" "));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// Forwards all connections to a port. One that cannot be forwarded is closed.
fn listen(listener: &TcpListener, target: u16, delay: Duration) {
    for from in listener.incoming().flatten() {
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).and_then(|to| join(from, to, delay));
    }
}

fn join(one: TcpStream, other: TcpStream, delay: Duration) -> io::Result<()> {
    one.set_nodelay(true)?;
    other.set_nodelay(true)?;
    forward(one.try_clone()?, other.try_clone()?, delay);
    forward(other, one, delay);
    Ok(())
}

fn forward(from: TcpStream, to: TcpStream, delay: Duration) {
    let (sender, pieces) = sync_channel(MOST_PIECES);
    thread::spawn(move || take(from, &sender, delay));
    thread::spawn(move || give(to, &pieces));
}

/// Reads pieces until the connection ends, each with the time at which it is due.
fn take(mut from: TcpStream, pieces: &SyncSender<(Instant, Vec<u8>)>, delay: Duration) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if pieces.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes pieces when they are due, and closes the direction after the last one.
fn give(mut to: TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
