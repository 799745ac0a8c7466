//! Echo on monoio: io_uring, one thread, one task per connection, buffers lent to the kernel.
//!
//! After monoio's own examples/echo.rs. Its epoll driver is not compiled in, so it has no fallback.

use std::io;
use std::process::ExitCode;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use urecho_peers::{ACCEPT_PAUSE, Options, no_ring};

fn main() -> ExitCode {
    urecho_peers::run("monoio", serve)
}

fn serve(options: Options) -> io::Result<()> {
    let builder = RuntimeBuilder::<IoUringDriver>::new().enable_timer();
    let mut runtime = builder.build().map_err(no_ring)?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(options.listen()?)?;
        accept(listener, &options).await
    })
}

async fn accept(listener: TcpListener, options: &Options) -> io::Result<()> {
    loop {
        match listener.accept().await {
            // The error of a connection concerns its client only, which sees it.
            Ok((stream, _)) => drop(monoio::spawn(echo(stream, options.buffer_size()))),
            Err(error) => {
                options.not_accepted(error);
                monoio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn echo(mut stream: TcpStream, buffer_size: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer_size);
    let mut result;
    loop {
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        (result, buffer) = stream.write_all(buffer).await;
        result?;
        buffer.clear();
    }
}
