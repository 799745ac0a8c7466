//! Echo on glommio: readiness through io_uring, one thread, one task for each connection.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::process::ExitCode;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder, Placement};
use urecho_peers::{ACCEPT_PAUSE, Options};

fn main() -> ExitCode {
    urecho_peers::run("glommio", serve)
}

fn serve(options: Options) -> Result<(), GlommioError<()>> {
    // Unbound: whoever starts the peer chooses its CPU, as for all the others.
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(async { accept(listen(&options)?, &options).await })
}

fn listen(options: &Options) -> io::Result<TcpListener> {
    let descriptor = options.listen()?.into_raw_fd();
    // Its own bind() offers neither a backlog nor options, and from_raw_fd is the only other way in.
    // SAFETY: the descriptor is a listening TCP socket, and `into_raw_fd` has just given up the ownership of it.
    #[allow(unsafe_code)]
    Ok(unsafe { TcpListener::from_raw_fd(descriptor) })
}

async fn accept(listener: TcpListener, options: &Options) -> Result<(), GlommioError<()>> {
    loop {
        match listener.accept().await {
            // How a connection ends concerns its peer only, who knows.
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
