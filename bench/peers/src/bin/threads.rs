//! Echo on blocking system calls: one thread per connection, the standard library only.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;

use urecho_peers::{ACCEPT_PAUSE, Options};

fn main() -> ExitCode {
    urecho_peers::run("threads", serve)
}

fn serve(options: Options) -> io::Result<()> {
    let listener = options.listen()?;
    let buffer_size = options.buffer_size();
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            // Builder, because thread::spawn panics at the limit on threads.
            thread::Builder::new().spawn(move || echo(stream, buffer_size))
        });
        // The error of a connection concerns its client only, which sees it: its thread is not joined.
        if let Err(error) = accepted {
            options.not_accepted(error);
            thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn echo(mut stream: TcpStream, buffer_size: usize) -> io::Result<()> {
    let mut buffer = vec![0; buffer_size];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read])?;
    }
}
