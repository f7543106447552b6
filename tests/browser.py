"""Pages in a headless Chromium: how wide they are, and pictures of them.

``python tests/browser.py site outputs/docs`` takes a picture of every page of a site at both widths, and says which of
them scroll sideways.
"""

import contextlib
import functools
import http.server
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

WIDTHS = (1400, 400)
"""Of a screen and of a telephone, in pixels."""
HEIGHT = 2400
"""Of pictures, in pixels."""
MEASURE = """<!doctype html><iframe></iframe><script type="module">
const frame = document.querySelector("iframe"), found = {};
for (const width of %s) for (const page of %s) {
  frame.width = width;
  await new Promise(done => { frame.onload = done; frame.src = page; });
  const seen = frame.contentDocument, wide = seen.scrollingElement.scrollWidth;
  if (wide > width) found[`${page} at ${width} px`] = `scrolls to ${wide} px`;
  for (const image of seen.images) if (!image.naturalWidth) found[`${page}: ${image.src}`] = "is not shown";
}
await fetch("result", { method: "POST", body: JSON.stringify(found) });
</script>"""
"""A page that shows others in a frame of each width, and tells what is wrong with them."""


def find() -> str | None:
    """The browser, if one is installed."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def opened(address: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A browser that shows a page, and is closed at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [str(find()), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", *options]
        process = subprocess.Popen([*command, address], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def dump(address: str, *options: str) -> str:
    """What a page has become when its scripts have run, as HTML."""
    with opened(address, "--virtual-time-budget=20000", "--dump-dom", *options) as process:
        return process.communicate(timeout=120)[0]


def problems(site: Path, pages: Sequence[str], widths: Sequence[int] = WIDTHS) -> dict[str, str]:
    """Pages that scroll sideways, and images that are not shown."""
    text = MEASURE % (json.dumps(list(widths)), json.dumps(list(pages)))
    with served(site, {"measure": text}) as (address, results), opened(f"{address}/measure"):
        found: dict[str, str] = json.loads(results.get(timeout=120))
        return found


def picture(site: Path, page: str, width: int, output: Path) -> None:
    """Takes a picture of a page; a frame in the browser's window, which has a least width, is as narrow as it needs."""
    text = (
        f'<!doctype html><style>* {{ margin: 0; border: 0 }}</style><iframe src="{page}" width={width} height={HEIGHT}>'
    )
    with served(site, {"frame": text}) as (address, _):
        size = f"--window-size={max(width, 500)},{HEIGHT}"
        dump(f"{address}/frame", size, "--hide-scrollbars", f"--screenshot={output}")


@contextlib.contextmanager
def served(site: Path, more: dict[str, str]) -> Iterator[tuple[str, queue.Queue[str]]]:
    """Serves a site, and further pages, on this machine; gives the address, and what pages send."""
    results: queue.Queue[str] = queue.Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            text = more.get(self.path.strip("/"))
            if text is None:
                super().do_GET()
            else:
                self.answer(text)

        def do_POST(self) -> None:
            results.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer("")

        def answer(self, text: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", results
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main(site: Path, output: Path) -> None:
    if find() is None:
        sys.exit("no browser was found: install Chromium, such as Debian's package chromium")
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "files" not in path.parts)
    output.mkdir(parents=True, exist_ok=True)
    for page in pages:
        for width in WIDTHS:
            picture(
                site, page, width, output.absolute() / f"{page.removesuffix('.html').replace('/', '-')}-{width}.png"
            )
    sys.stdout.write(f"{len(pages)} pages, each {WIDTHS[0]} and {WIDTHS[1]} px wide, are in {output}\n")
    if found := problems(site, pages):
        sys.exit("\n".join(f"{what} {how}" for what, how in found.items()))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
