//! Echo on compio: io_uring, one thread, one task per connection, buffers lent to the kernel.
//!
//! Its epoll driver is not compiled in, so it has no fallback.

use std::io;
use std::process::ExitCode;

use compio::BufResult;
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use urecho_peers::{ACCEPT_PAUSE, Options, no_ring};

fn main() -> ExitCode {
    urecho_peers::run("compio", serve)
}

fn serve(options: Options) -> io::Result<()> {
    let mut proactor = ProactorBuilder::new();
    // Announces to the kernel what compio is: a runtime of one thread. It costs less than the default (see the README).
    proactor.single_issuer(true).defer_taskrun(true);
    let runtime = Runtime::builder().with_proactor(proactor).build();
    runtime.map_err(no_ring)?.block_on(async {
        let listener = TcpListener::from_std(options.listen()?)?;
        accept(listener, &options).await
    })
}

async fn accept(listener: TcpListener, options: &Options) -> io::Result<()> {
    loop {
        match listener.accept().await {
            // The error of a connection concerns its client only, which sees it.
            Ok((stream, _)) => compio::runtime::spawn(echo(stream, options.buffer_size())).detach(),
            Err(error) => {
                options.not_accepted(error);
                compio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn echo(mut stream: TcpStream, buffer_size: usize) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(buffer_size);
    loop {
        let BufResult(read, filled) = stream.read(buffer).await;
        if read? == 0 {
            return Ok(());
        }
        let BufResult(written, mut sent) = stream.write_all(filled).await;
        written?;
        sent.clear();
        buffer = sent;
    }
}
