#!/usr/bin/env python3
"""Records a command on a terminal as an animated SVG: .github/record.py FILE.svg SECONDS=KEYS,... COMMAND...

    pip install pyte
    .github/record.py .github/live.svg 5=up,8=up,11=q target/release/urecho bench -c 1000 --rate 40k/s -d 60s --live
"""
import fcntl, html, os, pty, select, struct, sys, termios, time

import pyte

COLUMNS, ROWS, FRAME = 96, 20, 0.5  # of a second
WIDTH, HEIGHT = 8.4, 16.5  # of a character
KEYS = {"up": b"\x1b[A", "down": b"\x1b[B"}


def record(script, command):
    """The screen every half second, as rows of (text, is_bright), until the command ends."""
    presses = [(float(at), KEYS.get(key, key.encode())) for at, key in (one.split("=") for one in script.split(","))]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream, frames, began = pyte.ByteStream(screen), [], time.monotonic()
    while True:
        now = time.monotonic() - began
        while presses and presses[0][0] <= now:
            os.write(terminal, presses.pop(0)[1])
        if len(frames) * FRAME <= now:
            rows = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(ROWS)]
            frames.append([("".join(cell.data for cell in row), row[0].bold, row[1].fg) for row in rows])
        if select.select([terminal], [], [], 0.05)[0]:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # EIO: it has ended.
                part = b""
            if not part or b"\x1b[?1049l" in part:  # The report that follows is another picture.
                os.close(terminal)
                os.waitpid(pid, 0)
                return [frame for frame in frames if any(text.strip() for text, _, _ in frame)]
            stream.feed(part)


def svg(frames):
    """Every frame is a group, shown in its turn."""
    width, height, total = COLUMNS * WIDTH + 24, ROWS * HEIGHT + 24, len(frames) * FRAME
    share = 100 / len(frames)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="14">',
        f"<style>g{{visibility:hidden;animation:f {total}s steps(1) infinite}}@keyframes f{{0%{{visibility:visible}}"
        f"{share:.3f}%{{visibility:hidden}}}}text{{white-space:pre;fill:#ddd}}.b{{font-weight:bold}}.c{{fill:#4cc}}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="#181818"/>',
    ]
    for number, frame in enumerate(frames):
        parts.append(f'<g style="animation-delay:{number * FRAME}s">')
        for y, (text, bold, colour) in enumerate(frame):
            if text.strip():
                kind = "b" if bold else "c" if colour != "default" else ""
                length = f'textLength="{len(text.rstrip()) * WIDTH:.1f}"'
                text = html.escape(text.rstrip())
                parts.append(f'<text x="12" y="{y * HEIGHT + 26:.1f}" class="{kind}" {length} xml:space="preserve">{text}</text>')
        parts.append("</g>")
    return "\n".join(parts + ["</svg>\n"])


if __name__ == "__main__":
    picture = svg(record(sys.argv[2], sys.argv[3:]))
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(picture)
