"""moto's S3 with one create at a time: by itself it looks whether a key is there and writes it then, and loses races.

`python -m tests.moto_server` takes a port that is free and prints it.
"""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_one_at_a_time = threading.RLock()
_put_object = S3Response.put_object


def put_object(self: S3Response) -> Any:
    with _one_at_a_time:
        return _put_object(self)


if __name__ == "__main__":
    S3Response.put_object = put_object  # type: ignore[method-assign]
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()
