//! Echo on tokio: epoll, one thread, one task per connection.
//!
//! After the echo server on the front page of tokio's documentation.

use std::io;
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use urecho_peers::{ACCEPT_PAUSE, Options};

fn main() -> ExitCode {
    urecho_peers::run("tokio", serve)
}

fn serve(options: Options) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = options.listen()?;
        listener.set_nonblocking(true)?; // from_std requires it.
        accept(TcpListener::from_std(listener)?, &options).await
    })
}

async fn accept(listener: TcpListener, options: &Options) -> io::Result<()> {
    loop {
        match listener.accept().await {
            // The error of a connection concerns its client only, which sees it.
            Ok((stream, _)) => drop(tokio::spawn(echo(stream, options.buffer_size()))),
            Err(error) => {
                options.not_accepted(error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
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
    }
}
