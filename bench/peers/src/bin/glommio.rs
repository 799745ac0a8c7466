//! Echo on glommio: readiness through io_uring, one thread, one task per connection.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::process::ExitCode;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder, Placement};
use io_uring::IoUring;
use urecho_peers::{ACCEPT_PAUSE, Options, no_ring};

/// The default of monoio and compio. With glommio's own default of 128 it could submit less at once than they do.
const RING_ENTRIES: usize = 1024;

fn main() -> ExitCode {
    urecho_peers::run("glommio", serve)
}

fn serve(options: Options) -> io::Result<()> {
    // Checked first, because glommio panics where there is no io_uring.
    IoUring::new(1).map_err(no_ring)?;
    // Unbound: the caller chooses the CPU, as for all peers.
    let builder = LocalExecutorBuilder::new(Placement::Unbound).ring_depth(RING_ENTRIES);
    let executor = builder.make().map_err(explain)?;
    executor.run(async { accept(listen(&options)?, &options).await })
}

fn explain(error: GlommioError<()>) -> io::Error {
    io::Error::other(format!("no executor (it needs 512 KiB of `ulimit -l`): {error}"))
}

fn listen(options: &Options) -> io::Result<TcpListener> {
    let descriptor = options.listen()?.into_raw_fd();
    // Its own bind() offers neither a backlog nor options, and from_raw_fd is the only other constructor.
    // SAFETY: the descriptor is a listening TCP socket, and `into_raw_fd` has just given up its ownership.
    #[allow(unsafe_code)]
    Ok(unsafe { TcpListener::from_raw_fd(descriptor) })
}

async fn accept(listener: TcpListener, options: &Options) -> io::Result<()> {
    loop {
        match listener.accept().await {
            // The error of a connection concerns its client only, which sees it.
            Ok(stream) => drop(glommio::spawn_local(echo(stream, options.buffer_size())).detach()),
            Err(error) => {
                options.not_accepted(error);
                glommio::timer::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn echo(mut stream: TcpStream, buffer_size: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read]).await?;
        // Reads and writes that find the socket ready do not yield by themselves.
        glommio::yield_if_needed().await;
    }
}
